#include "chunkserver/store/direct_writes.h"

#include "common/base/check.h"
#include "common/runtime/completion.h"
#include "common/runtime/task_group.h"

namespace cairn::chunkserver::store {

struct DirectWrites::Flight {
  explicit Flight(runtime::Runtime& runtime) : done(runtime), returned(runtime), group(runtime) {}

  Buffer body;
  std::size_t left = 0;  // parts
  Status status;
  runtime::Completion<Status> done;    // or given up
  runtime::Completion<bool> returned;  // the device let go
  runtime::TaskGroup group;
};

DirectWrites::DirectWrites(runtime::Runtime& runtime, io::BlockDevice& device)
    : runtime_(runtime), device_(device), changed_(runtime) {}

DirectWrites::~DirectWrites() = default;

// It may outlive the object: nothing of that is touched here.
Task<void> DirectWrites::write_part(std::shared_ptr<Flight> flight, runtime::Runtime* runtime,
                                    io::BlockDevice* device, io::DeviceWrite write) {
  Status status = co_await device->write(write.offset, std::move(write.parts));
  if (!status.has_value() && flight->status.has_value()) flight->status = std::move(status);
  if (--flight->left != 0) co_return;
  flight->done.set(flight->status);
  flight->returned.set(true);
  // The group that runs this task is a part of the flight: it goes in a turn of its own.
  runtime->post([keep = std::move(flight)] {});
}

Task<Status> DirectWrites::write(std::vector<Extent> extents, Buffer body) {
  if (failure_.has_value()) co_return fail(*failure_);
  CHECK_EQ(body.size(), total_blocks(extents) * kBlockBytes);
  const auto flight = std::make_shared<Flight>(runtime_);
  flight->body = std::move(body);
  flight->left = extents.size();
  const auto place = flights_.insert(flights_.end(), flight);
  std::size_t at = 0;
  for (const Extent& extent : extents) {
    const std::size_t size = extent.count * kBlockBytes;
    const Bytes part = std::as_const(flight->body).span().subspan(at, size);
    io::DeviceWrite one{DiskOffset(extent.first * kBlockBytes), {part}};
    flight->group.spawn(write_part(flight, &runtime_, &device_, std::move(one)));
    at += size;
  }
  Status done = co_await flight->done.wait();
  if (!failure_.has_value()) flights_.erase(place);
  changed_.notify_all();
  co_return done;
}

void DirectWrites::abort(const Error& error) {
  if (failure_.has_value()) return;
  failure_ = error;
  for (const std::shared_ptr<Flight>& flight : flights_) flight->done.set(fail(error));
  changed_.notify_all();
}

Task<void> DirectWrites::stop() {
  while (!failure_.has_value() && !flights_.empty()) co_await changed_.wait();
  const Deadline until = runtime_.after(kStopGrace);
  while (!flights_.empty()) {
    const std::shared_ptr<Flight> flight = flights_.front();
    flights_.pop_front();
    const std::optional<bool> returned = co_await flight->returned.wait_until(until);
    static_cast<void>(returned);  // what still hangs keeps its memory by itself
  }
}

}  // namespace cairn::chunkserver::store
