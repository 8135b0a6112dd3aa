#include "admin/hwflush/writers.h"

#include <utility>

namespace cairn::admin::hwflush {

Writers::Writers(const TestDirectory* directory, Reporter* reporter, Options options,
                 std::function<void()> on_failure)
    : directory_(*directory),
      reporter_(*reporter),
      options_(options),
      on_failure_(std::move(on_failure)) {
  threads_.reserve(options_.threads);
  for (std::uint32_t thread = 0; thread < options_.threads; ++thread) {
    threads_.emplace_back([this, thread] { work(thread); });
  }
}

Writers::~Writers() { stop(); }

void Writers::stop() {
  stopping_ = true;
  threads_.clear();
}

Status Writers::failure() const {
  const std::lock_guard lock(mutex_);
  if (failure_.has_value()) return fail(*failure_);
  return {};
}

void Writers::work(std::uint32_t thread) {
  const Status ended = write_until_stopped(thread);
  if (ended.has_value()) return;
  stopping_ = true;
  {
    const std::lock_guard lock(mutex_);
    if (failure_.has_value()) return;
    failure_ = ended.error();
  }
  on_failure_();
}

Status Writers::write_until_stopped(std::uint32_t thread) {
  TRY(CounterFile file, CounterFile::open({.path = directory_.file_of(thread),
                                           .directory = directory_.id(),
                                           .thread = thread,
                                           .size = options_.file_bytes,
                                           .mode = options_.mode},
                                          directory_.counter_of(thread)));
  while (!stopping_) {
    TRY(const std::uint64_t counter, file.next());
    TRY_VOID(reporter_.tell({thread, counter}));
    ++told_;
  }
  return {};
}

}  // namespace cairn::admin::hwflush
