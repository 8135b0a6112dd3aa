#include "tests/mount/memory_file_system.h"

#include <algorithm>

namespace cairn::tests {

namespace {

constexpr std::uint32_t kSetGroupId = 02000;

bool is_directory(const MemoryInode& inode) {
  return inode.attributes.type() == pb::TYPE_DIRECTORY;
}

void touch(MemoryInode& inode, std::int64_t now) {
  inode.attributes.set_mtime_ns(now);
  inode.attributes.set_ctime_ns(now);
}

}  // namespace

MemoryCluster::MemoryCluster(runtime::Runtime& runtime) : runtime_(runtime) {
  const std::shared_ptr<MemoryInode> root = add(pb::TYPE_DIRECTORY, 0755);
  root->parent = root->attributes.inode();
}

std::shared_ptr<MemoryInode> MemoryCluster::find(std::uint64_t inode) const {
  const auto it = inodes_.find(inode);
  return it == inodes_.end() ? nullptr : it->second;
}

std::shared_ptr<MemoryInode> MemoryCluster::add(pb::FileType type, std::uint32_t mode) {
  auto inode = std::make_shared<MemoryInode>(runtime_);
  pb::Attributes& attributes = inode->attributes;
  attributes.set_inode(next_++);
  attributes.set_type(type);
  attributes.set_mode(mode);
  attributes.set_nlink(type == pb::TYPE_DIRECTORY ? 2 : 1);
  attributes.set_atime_ns(now());
  attributes.set_mtime_ns(now());
  attributes.set_ctime_ns(now());
  inodes_.emplace(attributes.inode(), inode);
  return inode;
}

void MemoryCluster::purge(std::uint64_t inode) { inodes_.erase(inode); }

Task<Status> MemoryFileSystem::start() { co_return Status(); }
Task<Status> MemoryFileSystem::stop(Deadline) {
  freeze(false);
  co_return Status();
}

void MemoryFileSystem::freeze(bool frozen) {
  frozen_ = frozen;
  if (!frozen) thawed_.notify_all();
}

bool MemoryFileSystem::holds(const MemoryInode& inode, bool exclusive) const {
  if (inode.exclusive == this) return true;
  return !exclusive && inode.shared.contains(const_cast<MemoryFileSystem*>(this));
}

// The holder goes on serving its kernel under the lease, and invalidates again if it did.
Task<void> MemoryFileSystem::give_back(std::shared_ptr<MemoryInode> inode) {
  const std::uint64_t number = inode->attributes.inode();
  while (invalidate_) {
    const std::uint64_t before = served_[number];
    co_await invalidate_(InodeId::from_raw(number));
    if (served_[number] == before) break;
  }
  inode->shared.erase(this);
  if (inode->exclusive == this) inode->exclusive = nullptr;
}

Task<void> MemoryFileSystem::acquire(std::shared_ptr<MemoryInode> inode, bool exclusive) {
  while (frozen_) co_await thawed_.wait();
  const bool strong = exclusive || writers_.contains(inode->attributes.inode());
  while (!holds(*inode, strong)) {
    const runtime::Semaphore::Permit turn = co_await inode->turn.lock();
    if (holds(*inode, strong)) break;
    if (inode->exclusive != nullptr) co_await inode->exclusive->give_back(inode);
    while (strong && !inode->shared.empty()) {
      MemoryFileSystem* const holder = *inode->shared.begin();
      if (holder == this && inode->shared.size() == 1) break;
      MemoryFileSystem* const other = holder == this ? *std::next(inode->shared.begin()) : holder;
      co_await other->give_back(inode);
    }
    if (strong) {
      inode->shared.erase(this);
      inode->exclusive = this;
    } else {
      inode->shared.insert(this);
    }
  }
  ++served_[inode->attributes.inode()];
}

Task<Result<pb::Attributes>> MemoryFileSystem::lookup(InodeId parent, std::string name) {
  const std::shared_ptr<MemoryInode> directory = cluster_.find(parent.raw());
  if (directory == nullptr) co_return fail(Code::kStaleHandle);
  if (name.size() > 255) co_return fail(Code::kNameTooLong);
  if (name == "..") co_return cluster_.find(directory->parent)->attributes;
  const auto it = directory->names.find(name);
  if (it == directory->names.end()) co_return fail(Code::kNotFound);
  co_return cluster_.find(it->second)->attributes;
}

Task<Result<pb::Attributes>> MemoryFileSystem::get_attributes(InodeId inode) {
  const std::shared_ptr<MemoryInode> found = cluster_.find(inode.raw());
  if (found == nullptr) co_return fail(Code::kStaleHandle);
  co_return found->attributes;
}

Task<Result<pb::Attributes>> MemoryFileSystem::set_attributes(InodeId inode, pb::SetAttr change) {
  const std::shared_ptr<MemoryInode> found = cluster_.find(inode.raw());
  if (found == nullptr) co_return fail(Code::kStaleHandle);
  if (change.has_size()) co_await acquire(found, true);
  pb::Attributes& attributes = found->attributes;
  const std::int64_t now = cluster_.now();
  if (change.has_size()) {
    found->data.resize(change.size());
    attributes.set_size(change.size());
    attributes.set_blocks(
        std::min<std::uint64_t>(attributes.blocks(), (change.size() + 511) / 512));
    attributes.set_mtime_ns(now);
  }
  if (change.has_mode()) attributes.set_mode(change.mode());
  if (change.has_uid()) attributes.set_uid(change.uid());
  if (change.has_gid()) attributes.set_gid(change.gid());
  if (change.has_atime_ns()) attributes.set_atime_ns(change.atime_ns());
  if (change.has_mtime_ns()) attributes.set_mtime_ns(change.mtime_ns());
  attributes.set_ctime_ns(now);
  co_return attributes;
}

Task<Result<pb::Attributes>> MemoryFileSystem::extend(InodeId inode, ByteCount size) {
  const std::shared_ptr<MemoryInode> found = cluster_.find(inode.raw());
  if (found == nullptr) co_return fail(Code::kStaleHandle);
  co_await acquire(found, true);
  if (found->data.size() < size) found->data.resize(size);
  found->attributes.set_size(found->data.size());
  co_return found->attributes;
}

Task<Result<pb::Attributes>> MemoryFileSystem::make_node(pb::MakeNode request, bool open) {
  const std::shared_ptr<MemoryInode> directory = cluster_.find(request.parent());
  if (directory == nullptr || !is_directory(*directory)) co_return fail(Code::kNotFound);
  if (directory->attributes.nlink() == 0) co_return fail(Code::kNotFound);
  if (request.name().size() > 255) co_return fail(Code::kNameTooLong);
  if (directory->names.contains(request.name())) co_return fail(Code::kExists);
  const std::shared_ptr<MemoryInode> made = cluster_.add(request.type(), request.mode());
  pb::Attributes& attributes = made->attributes;
  attributes.set_uid(request.owner().uid());
  attributes.set_gid(request.owner().gid());
  attributes.set_rdev(request.rdev());
  if ((directory->attributes.mode() & kSetGroupId) != 0) {
    attributes.set_gid(directory->attributes.gid());
    if (is_directory(*made)) attributes.set_mode(attributes.mode() | kSetGroupId);
  }
  made->parent = request.parent();
  made->target = request.target();
  if (!made->target.empty()) attributes.set_size(made->target.size());
  directory->names[request.name()] = attributes.inode();
  if (is_directory(*made)) directory->attributes.set_nlink(directory->attributes.nlink() + 1);
  touch(*directory, cluster_.now());
  if (open) {
    ++made->opens;
    ++writers_[attributes.inode()];
  }
  co_return attributes;
}

Task<Result<pb::Attributes>> MemoryFileSystem::link(InodeId inode, InodeId parent,
                                                    std::string name) {
  const std::shared_ptr<MemoryInode> found = cluster_.find(inode.raw());
  const std::shared_ptr<MemoryInode> directory = cluster_.find(parent.raw());
  if (found == nullptr || directory == nullptr) co_return fail(Code::kNotFound);
  if (is_directory(*found)) co_return fail(Code::kNotPermitted);
  if (directory->names.contains(name)) co_return fail(Code::kExists);
  directory->names[name] = inode.raw();
  found->attributes.set_nlink(found->attributes.nlink() + 1);
  found->attributes.set_ctime_ns(cluster_.now());
  touch(*directory, cluster_.now());
  co_return found->attributes;
}

void MemoryFileSystem::unlink_inode(const std::shared_ptr<MemoryInode>& inode) {
  pb::Attributes& attributes = inode->attributes;
  attributes.set_nlink(is_directory(*inode) ? 0 : attributes.nlink() - 1);
  attributes.set_ctime_ns(cluster_.now());
  if (attributes.nlink() == 0 && inode->opens == 0) cluster_.purge(attributes.inode());
}

Task<Status> MemoryFileSystem::unlink(InodeId parent, std::string name, bool directory) {
  const std::shared_ptr<MemoryInode> from = cluster_.find(parent.raw());
  if (from == nullptr) co_return fail(Code::kNotFound);
  const auto it = from->names.find(name);
  if (it == from->names.end()) co_return fail(Code::kNotFound);
  const std::shared_ptr<MemoryInode> inode = cluster_.find(it->second);
  if (directory && !is_directory(*inode)) co_return fail(Code::kNotDirectory);
  if (!directory && is_directory(*inode)) co_return fail(Code::kIsDirectory);
  if (directory && !inode->names.empty()) co_return fail(Code::kNotEmpty);
  from->names.erase(it);
  if (directory) from->attributes.set_nlink(from->attributes.nlink() - 1);
  touch(*from, cluster_.now());
  unlink_inode(inode);
  co_return Status();
}

Task<Status> MemoryFileSystem::rename(pb::Rename request) {
  constexpr std::uint32_t kNoReplace = 1;
  constexpr std::uint32_t kExchange = 2;
  const std::shared_ptr<MemoryInode> from = cluster_.find(request.old_parent());
  const std::shared_ptr<MemoryInode> to = cluster_.find(request.new_parent());
  if (from == nullptr || to == nullptr) co_return fail(Code::kNotFound);
  if (request.new_name().size() > 255) co_return fail(Code::kNameTooLong);
  const auto source = from->names.find(request.old_name());
  if (source == from->names.end()) co_return fail(Code::kNotFound);
  const std::shared_ptr<MemoryInode> moved = cluster_.find(source->second);
  for (std::uint64_t at = request.new_parent(); is_directory(*moved);) {
    if (at == moved->attributes.inode()) co_return fail(Code::kInvalidArgument);
    const std::uint64_t up = cluster_.find(at)->parent;
    if (up == at) break;
    at = up;
  }
  const auto target = to->names.find(request.new_name());
  const std::shared_ptr<MemoryInode> over =
      target == to->names.end() ? nullptr : cluster_.find(target->second);
  if (over != nullptr && request.flags() == kNoReplace) co_return fail(Code::kExists);
  if (request.flags() == kExchange) {
    if (over == nullptr) co_return fail(Code::kNotFound);
    std::swap(source->second, target->second);
    std::swap(moved->parent, over->parent);
    co_return Status();
  }
  if (over == moved) co_return Status();
  if (over != nullptr) {
    if (is_directory(*over) && !is_directory(*moved)) co_return fail(Code::kIsDirectory);
    if (!is_directory(*over) && is_directory(*moved)) co_return fail(Code::kNotDirectory);
    if (!over->names.empty()) co_return fail(Code::kNotEmpty);
    if (is_directory(*over)) to->attributes.set_nlink(to->attributes.nlink() - 1);
  }
  from->names.erase(source);
  to->names[request.new_name()] = moved->attributes.inode();
  moved->parent = request.new_parent();
  if (is_directory(*moved)) {
    from->attributes.set_nlink(from->attributes.nlink() - 1);
    to->attributes.set_nlink(to->attributes.nlink() + 1);
  }
  touch(*from, cluster_.now());
  touch(*to, cluster_.now());
  moved->attributes.set_ctime_ns(cluster_.now());
  if (over != nullptr) unlink_inode(over);
  co_return Status();
}

Task<Result<std::string>> MemoryFileSystem::read_link(InodeId inode) {
  const std::shared_ptr<MemoryInode> found = cluster_.find(inode.raw());
  if (found == nullptr) co_return fail(Code::kStaleHandle);
  co_return found->target;
}

Task<Result<pb::ReadDirReply>> MemoryFileSystem::read_dir(pb::ReadDir request) {
  const std::shared_ptr<MemoryInode> found = cluster_.find(request.inode());
  if (found == nullptr) co_return fail(Code::kNotFound);
  pb::ReadDirReply reply;
  reply.set_parent(found->parent);
  auto it = found->names.upper_bound(request.after());
  for (; it != found->names.end(); ++it) {
    if (static_cast<std::uint32_t>(reply.entries_size()) == request.limit()) break;
    pb::ReadDirReply::Entry& entry = *reply.add_entries();
    entry.set_name(it->first);
    entry.set_inode(it->second);
    entry.set_type(cluster_.find(it->second)->attributes.type());
  }
  reply.set_end(it == found->names.end());
  co_return reply;
}

Task<Status> MemoryFileSystem::set_xattr(pb::SetXattr request) {
  constexpr std::uint32_t kCreate = 1;
  constexpr std::uint32_t kReplace = 2;
  const std::shared_ptr<MemoryInode> found = cluster_.find(request.inode());
  if (found == nullptr) co_return fail(Code::kStaleHandle);
  const bool there = found->xattrs.contains(request.name());
  if (there && request.flags() == kCreate) co_return fail(Code::kExists);
  if (!there && request.flags() == kReplace) co_return fail(Code::kNoAttribute);
  found->xattrs[request.name()] = request.value();
  found->attributes.set_ctime_ns(cluster_.now());
  co_return Status();
}

Task<Result<std::string>> MemoryFileSystem::get_xattr(InodeId inode, std::string name) {
  const std::shared_ptr<MemoryInode> found = cluster_.find(inode.raw());
  if (found == nullptr) co_return fail(Code::kStaleHandle);
  const auto it = found->xattrs.find(name);
  if (it == found->xattrs.end()) co_return fail(Code::kNoAttribute);
  co_return it->second;
}

Task<Result<std::vector<std::string>>> MemoryFileSystem::list_xattr(InodeId inode) {
  const std::shared_ptr<MemoryInode> found = cluster_.find(inode.raw());
  if (found == nullptr) co_return fail(Code::kStaleHandle);
  std::vector<std::string> names;
  for (const auto& [name, value] : found->xattrs) names.push_back(name);
  co_return names;
}

Task<Status> MemoryFileSystem::remove_xattr(InodeId inode, std::string name) {
  const std::shared_ptr<MemoryInode> found = cluster_.find(inode.raw());
  if (found == nullptr) co_return fail(Code::kStaleHandle);
  if (found->xattrs.erase(name) == 0) co_return fail(Code::kNoAttribute);
  co_return Status();
}

Task<Result<pb::StatFsReply>> MemoryFileSystem::stat_fs() {
  pb::StatFsReply reply;
  reply.set_total_bytes(1_TiB);
  reply.set_free_bytes(1_TiB / 2);
  reply.set_available_bytes(1_TiB / 2);
  reply.set_files(cluster_.file_count());
  co_return reply;
}

Task<Result<pb::Attributes>> MemoryFileSystem::open(InodeId inode, client::OpenMode mode) {
  const std::shared_ptr<MemoryInode> found = cluster_.find(inode.raw());
  if (found == nullptr) co_return fail(Code::kStaleHandle);
  ++found->opens;
  if (mode == client::OpenMode::kWrite) {
    ++writers_[inode.raw()];
    co_await acquire(found, true);
  }
  co_return found->attributes;
}

void MemoryFileSystem::release(InodeId inode, client::OpenMode mode) {
  if (mode == client::OpenMode::kWrite && --writers_[inode.raw()] == 0) {
    writers_.erase(inode.raw());
  }
  const std::shared_ptr<MemoryInode> found = cluster_.find(inode.raw());
  if (--found->opens == 0 && found->attributes.nlink() == 0) cluster_.purge(inode.raw());
}

Task<Result<std::vector<Buffer>>> MemoryFileSystem::read(InodeId inode, FileOffset offset,
                                                         ByteCount length) {
  const std::shared_ptr<MemoryInode> found = cluster_.find(inode.raw());
  if (found == nullptr) co_return fail(Code::kStaleHandle);
  co_await acquire(found, false);
  std::vector<Buffer> parts;
  if (offset.raw() < found->data.size()) {
    const std::string_view all = found->data;
    parts.push_back(Buffer::copy_of(as_bytes(all.substr(offset.raw(), length))));
  }
  co_return parts;
}

Task<Status> MemoryFileSystem::write(InodeId inode, FileOffset offset, Bytes bytes, bool append) {
  const std::shared_ptr<MemoryInode> found = cluster_.find(inode.raw());
  if (found == nullptr) co_return fail(Code::kStaleHandle);
  co_await acquire(found, true);
  const std::uint64_t at = append ? found->data.size() : offset.raw();
  if (found->data.size() < at + bytes.size()) found->data.resize(at + bytes.size());
  std::memcpy(found->data.data() + at, bytes.data(), bytes.size());
  found->attributes.set_size(found->data.size());
  // Holes take no space: count what was written, at most the whole file.
  found->attributes.set_blocks(std::min<std::uint64_t>(
      found->attributes.blocks() + (bytes.size() + 511) / 512, (found->data.size() + 511) / 512));
  touch(*found, cluster_.now());
  co_return Status();
}

Task<Status> MemoryFileSystem::fsync(InodeId) { co_return Status(); }
Task<Status> MemoryFileSystem::flush(InodeId) { co_return Status(); }

}  // namespace cairn::tests
