// LineReader: lines from a Stream.
//
// Errors: kProtocol (a line longer than the limit, or none in time), kConnectionLost, kCancelled
//         (the other end closed between two lines).
#pragma once

#include <string>

#include "common/net/stream.h"
#include "common/runtime/completion.h"

namespace cairn::chunkserver::control {

class LineReader {
 public:
  LineReader(net::Stream& stream, std::size_t line_max) : stream_(stream), line_max_(line_max) {}

  // Without the line break.
  Task<Result<std::string>> next() {
    for (;;) {
      const std::size_t end = pending_.find('\n', searched_);
      if (end != std::string::npos) {
        std::string line = pending_.substr(0, end);
        pending_.erase(0, end + 1);
        searched_ = 0;
        if (line.size() > line_max_) co_return fail(Code::kProtocol, "the line is too long");
        co_return line;
      }
      searched_ = pending_.size();
      if (pending_.size() > line_max_) co_return fail(Code::kProtocol, "the line is too long");
      std::byte part[4096];
      const Result<std::size_t> got = co_await stream_.read_some(MutableBytes(part));
      if (!got.has_value()) co_return fail(got.error());
      if (*got == 0) co_return fail(Code::kCancelled, "the other end has closed");
      pending_.append(reinterpret_cast<const char*>(part), *got);
    }
  }

 private:
  net::Stream& stream_;
  std::size_t line_max_;
  std::string pending_;
  std::size_t searched_ = 0;
};

}  // namespace cairn::chunkserver::control
