#include "chunkserver/store/ring_device.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/base/check.h"

namespace cairn::chunkserver::store {
namespace {

constexpr std::uint64_t kZeroStepBlocks = 256;

std::string file_of(const RingPlace& place) {
  return fmt::format("{}/{}", place.directory, kRingFileName);
}

// First block of the ring on its device.
std::uint64_t base_of(const RingPlace& place) { return place.external() ? 1 : place.first; }

Task<Result<RingHeader>> read_header(io::BlockDevice* device) {
  Buffer block = Buffer::allocate(kBlockBytes);
  CO_TRY_VOID(co_await device->read(DiskOffset(0), block.span()));
  co_return decode_ring_header(std::as_const(block).span());
}

Task<Result<bool>> is_unused(io::BlockDevice* device) {
  if (device->size() < kBlockBytes) co_return true;
  Buffer block = Buffer::allocate(kBlockBytes);
  CO_TRY_VOID(co_await device->read(DiskOffset(0), block.span()));
  const Bytes bytes = std::as_const(block).span();
  co_return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

Task<Status> write_zeros(runtime::Runtime* runtime, io::BlockDevice* device, std::uint64_t first,
                         std::uint64_t count) {
  const Buffer zeros = Buffer::zeroed(kZeroStepBlocks * kBlockBytes);
  for (std::uint64_t done = 0; done < count; done += kZeroStepBlocks) {
    const std::uint64_t now = std::min(kZeroStepBlocks, count - done);
    std::vector<Bytes> parts{zeros.span().first(now * kBlockBytes)};
    CO_TRY_VOID(co_await device->write(DiskOffset((first + done) * kBlockBytes), std::move(parts)));
    // Requests go on meanwhile.
    co_await yield_turn(*runtime);
  }
  co_return Status();
}

// Opens the file for make_ring and refuses it when it may be somebody's.
Task<Result<std::unique_ptr<io::BlockDevice>>> take_file(RingPlace place, std::uint64_t store_id,
                                                         const OpenRing* open,
                                                         std::uint64_t in_use) {
  const std::string file = file_of(place);
  if (!*open) co_return fail(Code::kJournalFailed, "this server cannot open journal files");
  Result<std::unique_ptr<io::BlockDevice>> device = (*open)(place.directory, true);
  if (!device.has_value()) {
    co_return fail(Code::kJournalFailed, fmt::format("the journal {} cannot be made: {}", file,
                                                     device.error().message()));
  }
  Result<bool> unused = co_await is_unused(device->get());
  if (!unused.has_value()) {
    co_return fail(Code::kJournalFailed, fmt::format("the journal {} cannot be read: {}", file,
                                                     unused.error().message()));
  }
  if (!*unused) {
    const Result<RingHeader> header = co_await read_header(device->get());
    if (!header.has_value() || header->store_id != store_id) {
      co_return fail(Code::kJournalFailed,
                     fmt::format("{} is there already and {}; give another directory, or remove it "
                                 "if nobody needs it",
                                 file,
                                 header.has_value() ? "belongs to another chunk server"
                                                    : header.error().message()));
    }
    if (in_use != 0 && header->ring == in_use) {
      co_return fail(Code::kInvalidArgument, fmt::format("{} is the journal in use", file));
    }
  }
  co_return device;
}

}  // namespace

RingDevice::RingDevice(io::BlockDevice& data, RingPlace place, std::unique_ptr<io::BlockDevice> own)
    : data_(data), place_(std::move(place)), own_(std::move(own)) {
  CHECK_EQ(place_.external(), own_ != nullptr);
}

std::string RingDevice::name() const {
  if (own_ == nullptr) return "the journal in the data file";
  return "the journal " + file_of(place_);
}

Error RingDevice::damage(const std::string& what) const {
  if (own_ == nullptr) return Error(Code::kCorrupt, fmt::format("{}: {}", name(), what));
  return Error(Code::kJournalFailed,
               fmt::format("{}: {}; bring the right file back, or drop this chunk server from the "
                           "cluster: its pieces are rebuilt from others",
                           name(), what));
}

Status RingDevice::translate(Status status) const {
  if (status.has_value() || own_ == nullptr) return status;
  return fail(Code::kJournalFailed, fmt::format("{}: {}", name(), status.error().message()));
}

Task<Status> RingDevice::read(std::uint64_t block, MutableBytes into) {
  CHECK_LE(block + into.size() / kBlockBytes, place_.blocks);
  const DiskOffset offset((base_of(place_) + block) * kBlockBytes);
  Status status = co_await device().read(offset, into);
  co_return translate(std::move(status));
}

io::DeviceWrite RingDevice::write_of(std::uint64_t block, std::vector<Bytes> parts) const {
  CHECK_LE(block + io::total_bytes(parts) / kBlockBytes, place_.blocks);
  return {DiskOffset((base_of(place_) + block) * kBlockBytes), std::move(parts)};
}

Task<Status> RingDevice::write_durably(std::vector<io::DeviceWrite> writes) {
  Status status = co_await device().write_durably(std::move(writes));
  co_return translate(std::move(status));
}

Task<Status> RingDevice::write_through(io::DeviceWrite write) {
  Status status = co_await device().write_through(std::move(write));
  co_return translate(std::move(status));
}

Task<Status> RingDevice::flush() {
  Status status = co_await device().flush();
  co_return translate(std::move(status));
}

Task<Result<std::unique_ptr<RingDevice>>> open_ring(io::BlockDevice* data, RingPlace place,
                                                    std::uint64_t store_id, const OpenRing* open) {
  if (!place.external()) {
    auto inside = std::make_unique<RingDevice>(*data, place, nullptr);
    if (data->size() / kBlockBytes < place.first + place.blocks) {
      co_return fail(inside->damage("the data file is shorter than its journal"));
    }
    co_return std::move(inside);
  }
  const std::string file = file_of(place);
  if (!*open) co_return fail(Code::kJournalFailed, "this server cannot open journal files");
  Result<std::unique_ptr<io::BlockDevice>> own = (*open)(place.directory, false);
  if (!own.has_value()) {
    co_return fail(
        Code::kJournalFailed,
        fmt::format("the journal {} cannot be opened: {}; bring its drive back, or drop this chunk "
                    "server from the cluster: its pieces are rebuilt from others",
                    file, own.error().message()));
  }
  auto outside = std::make_unique<RingDevice>(*data, place, std::move(*own));
  if (outside->device().size() < (place.blocks + 1) * kBlockBytes) {
    co_return fail(outside->damage(fmt::format("it has {} bytes, not {}", outside->device().size(),
                                               (place.blocks + 1) * kBlockBytes)));
  }
  const Result<RingHeader> header = co_await read_header(&outside->device());
  if (!header.has_value()) co_return fail(outside->damage(header.error().message()));
  if (header->store_id != store_id) {
    co_return fail(outside->damage("it belongs to another chunk server"));
  }
  if (header->ring != place.id || header->blocks != place.blocks) {
    co_return fail(outside->damage("it is another journal than the one of the last start"));
  }
  co_return std::move(outside);
}

namespace {

// Zeros and header, durable. The file of a ring is large enough when this begins.
Task<Status> fill_ring(runtime::Runtime* runtime, RingDevice* ring, std::uint64_t store_id) {
  const RingPlace& place = ring->place();
  io::BlockDevice* device = &ring->device();
  if (!place.external()) {
    CO_TRY_VOID(co_await write_zeros(runtime, device, place.first, place.blocks));
    co_return co_await device->flush();
  }
  // The header last: without it the file is an unfinished one.
  CO_TRY_VOID(co_await write_zeros(runtime, device, 0, place.blocks + 1));
  CO_TRY_VOID(co_await device->flush());
  const Buffer header = encode(RingHeader{place.id, store_id, place.blocks});
  std::vector<io::DeviceWrite> writes;
  writes.push_back({DiskOffset(0), {header.span()}});
  Status status = co_await device->write_durably(std::move(writes));
  co_return status;
}

}  // namespace

Task<Result<std::unique_ptr<RingDevice>>> make_ring(runtime::Runtime* runtime,
                                                    io::BlockDevice* data, RingPlace place,
                                                    std::uint64_t store_id, const OpenRing* open,
                                                    std::uint64_t in_use) {
  const Status sane = check_place(place);
  if (!sane.has_value()) co_return fail(Code::kInvalidArgument, sane.error().message());
  std::unique_ptr<io::BlockDevice> own;
  if (place.external()) {
    Result<std::unique_ptr<io::BlockDevice>> taken =
        co_await take_file(place, store_id, open, in_use);
    if (!taken.has_value()) co_return fail(taken.error());
    own = std::move(*taken);
    const Status grown = co_await own->grow((place.blocks + 1) * kBlockBytes);
    if (!grown.has_value()) {
      const Code code =
          grown.error().code() == Code::kNoSpace ? Code::kNoSpace : Code::kJournalFailed;
      co_return fail(code, fmt::format("the journal {} cannot be made: {}", file_of(place),
                                       grown.error().message()));
    }
  } else {
    CHECK_GE(data->size() / kBlockBytes, place.first + place.blocks);
  }
  const bool external = place.external();
  auto ring = std::make_unique<RingDevice>(*data, std::move(place), std::move(own));
  const Status filled = co_await fill_ring(runtime, ring.get(), store_id);
  if (!filled.has_value()) {
    co_return fail(external ? Code::kJournalFailed : filled.error().code(),
                   fmt::format("{} cannot be made: {}", ring->name(), filled.error().message()));
  }
  co_return std::move(ring);
}

Task<Status> remove_old_ring(RingPlace place, std::uint64_t store_id, const OpenRing* open,
                             const RemoveRing* remove) {
  CHECK(place.external());
  if (!*open || !*remove) {
    co_return fail(Code::kUnsupported, "this server cannot remove journal files");
  }
  {
    Result<std::unique_ptr<io::BlockDevice>> file = (*open)(place.directory, false);
    if (!file.has_value() && file.error().code() == Code::kNotFound) co_return Status();
    if (!file.has_value()) co_return fail(file.error());
    if ((*file)->size() < kBlockBytes) co_return Status();
    Buffer block = Buffer::allocate(kBlockBytes);
    CO_TRY_VOID(co_await (*file)->read(DiskOffset(0), block.span()));
    const Result<RingHeader> header = decode_ring_header(std::as_const(block).span());
    // Not that ring any more: nothing of ours is there.
    const bool ours = header.has_value() && header->store_id == store_id;
    if (!ours || header->ring != place.id) co_return Status();
  }
  co_return (*remove)(place.directory);
}

}  // namespace cairn::chunkserver::store
