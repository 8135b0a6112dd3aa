#include "client/fuse/directory_handle.h"

#include <algorithm>

namespace cairn::client::fuse {

void DirectoryHandle::rewind() {
  pages_.clear();
  complete_ = false;
  last_name_.clear();
  loaded_ = 0;
}

std::optional<std::size_t> DirectoryHandle::page_of(std::uint64_t index) const {
  const auto after = std::ranges::upper_bound(pages_, index, {}, &Page::first);
  if (after == pages_.begin()) return std::nullopt;
  const auto page = std::prev(after);
  if (index >= page->first + page->count) return std::nullopt;
  return static_cast<std::size_t>(page - pages_.begin());
}

const DirectoryHandle::Entry* DirectoryHandle::entry(std::uint64_t index) const {
  const std::optional<std::size_t> page = page_of(index);
  if (!page || !pages_[*page].in_memory) return nullptr;
  const std::size_t at = index - pages_[*page].first;
  // A page that was read anew may have become shorter.
  return at < pages_[*page].entries.size() ? &pages_[*page].entries[at] : nullptr;
}

Task<Status> DirectoryHandle::fetch(FileSystem* fs, std::size_t page) {
  pb::ReadDir request;
  request.set_inode(inode_.raw());
  request.set_after(pages_[page].after);
  request.set_limit(kPageEntries);
  Result<pb::ReadDirReply> reply = co_await fs->read_dir(std::move(request));
  if (!reply.has_value()) co_return fail(std::move(reply).error());

  Page& target = pages_[page];
  const bool newest = page + 1 == pages_.size() && target.count == 0;
  if (target.first == 0) {
    target.entries.push_back({".", inode_.raw(), pb::TYPE_DIRECTORY});
    const std::uint64_t parent = reply->parent() != 0 ? reply->parent() : inode_.raw();
    target.entries.push_back({"..", parent, pb::TYPE_DIRECTORY});
  }
  for (pb::ReadDirReply::Entry& entry : *reply->mutable_entries()) {
    if (newest) last_name_ = entry.name();
    target.entries.push_back({std::move(*entry.mutable_name()), entry.inode(), entry.type()});
  }
  if (newest) {
    target.count = target.entries.size();
    complete_ = reply->end() || reply->entries_size() == 0;
  }
  target.in_memory = true;
  ++loaded_;
  co_return Status();
}

void DirectoryHandle::drop_old_pages(std::size_t keep) {
  for (std::size_t i = 0; i < pages_.size() && loaded_ > kPagesKept; ++i) {
    if (i == keep || !pages_[i].in_memory) continue;
    pages_[i].entries = {};
    pages_[i].in_memory = false;
    --loaded_;
  }
}

Task<Result<bool>> DirectoryHandle::load(FileSystem* fs, std::uint64_t index) {
  while (true) {
    const std::optional<std::size_t> known = page_of(index);
    if (known && pages_[*known].in_memory) co_return true;
    std::size_t page = 0;
    if (known) {
      page = *known;
    } else {
      if (complete_) co_return false;
      const std::uint64_t first = pages_.empty() ? 0 : pages_.back().first + pages_.back().count;
      page = pages_.size();
      pages_.push_back({.first = first, .count = 0, .after = last_name_, .entries = {}});
    }
    const Status fetched = co_await fetch(fs, page);
    if (!fetched.has_value()) {
      if (!known) pages_.pop_back();
      co_return fail(fetched.error());
    }
    drop_old_pages(page);
  }
}

}  // namespace cairn::client::fuse
