// FileModel: what a file may contain. `current` is exact for the client that wrote it; after that
// client died every
// block may have any value it had since the last fsync, and the size any size since then.
#pragma once

#include <algorithm>
#include <cstddef>
#include <set>
#include <string>
#include <vector>

#include "common/base/buffer.h"
#include "common/base/units.h"

namespace cairn::sim {

class FileModel {
 public:
  using Content = std::vector<std::byte>;

  const Content& current() const { return current_; }

  // About to write: from here on the new values are legal too.
  void write(std::uint64_t offset, const Content& bytes) {
    change(std::max<std::uint64_t>(current_.size(), offset + bytes.size()), [&](Content& content) {
      std::ranges::copy(bytes, content.begin() + static_cast<std::ptrdiff_t>(offset));
    });
  }
  void truncate(std::uint64_t size) {
    change(size, [](Content&) {});
  }
  // An fsync returned: only the present state is legal.
  void synced() { adopt(current_); }
  // A new observer read this: it is the state from now on.
  void adopt(Content actual) {
    current_ = std::move(actual);
    versions_.assign(block_count(), {});
    for (std::uint64_t block = 0; block < block_count(); ++block)
      versions_[block].push_back(value(block));
    sizes_ = {current_.size()};
  }

  // After the writer died: "" if `actual` is legal, else what is wrong with it.
  std::string check(const Content& actual) const {
    if (!sizes_.contains(actual.size()))
      return "size " + std::to_string(actual.size()) + " was never legal";
    for (std::uint64_t block = 0; block * kBlockBytes < actual.size(); ++block) {
      const std::uint64_t begin = block * kBlockBytes;
      const std::uint64_t length = std::min(kBlockBytes, actual.size() - begin);
      const auto matches = [&](const Content& version) {
        return std::equal(version.begin(), version.begin() + static_cast<std::ptrdiff_t>(length),
                          actual.begin() + static_cast<std::ptrdiff_t>(begin));
      };
      const bool zero_is_legal = block >= versions_.size();
      if (zero_is_legal ? !matches(Content(kBlockBytes))
                        : !std::ranges::any_of(versions_[block], matches)) {
        return "block " + std::to_string(block) + " has none of its " +
               std::to_string(zero_is_legal ? 1 : versions_[block].size()) + " legal values";
      }
    }
    return {};
  }

 private:
  std::uint64_t block_count() const { return div_ceil(current_.size(), kBlockBytes); }
  Content value(std::uint64_t block) const {
    Content bytes(kBlockBytes);
    const std::uint64_t begin = block * kBlockBytes;
    const std::uint64_t length = std::min<std::uint64_t>(kBlockBytes, current_.size() - begin);
    std::copy_n(current_.begin() + static_cast<std::ptrdiff_t>(begin), length, bytes.begin());
    return bytes;
  }
  template <class Edit>
  void change(std::uint64_t size, Edit edit) {
    const Content before = current_;
    current_.resize(size);
    edit(current_);
    sizes_.insert(size);
    const std::uint64_t blocks = div_ceil(std::max(before.size(), current_.size()), kBlockBytes);
    if (versions_.size() < blocks) versions_.resize(blocks, {Content(kBlockBytes)});
    for (std::uint64_t block = 0; block < blocks; ++block) {
      Content now = block < block_count() ? value(block) : Content(kBlockBytes);
      if (versions_[block].back() != now) versions_[block].push_back(std::move(now));
    }
  }

  Content current_;
  std::vector<std::vector<Content>> versions_;
  std::set<std::uint64_t> sizes_{0};
};

}  // namespace cairn::sim
