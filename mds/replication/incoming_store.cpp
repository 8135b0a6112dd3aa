#include "mds/replication/incoming_store.h"

#include <fmt/format.h>

#include "common/base/crc32c.h"
#include "mds/replication/snapshot_rules.h"

namespace cairn::mds::replication {
namespace {

constexpr std::string_view kMagic = "CRNINCO1";
constexpr std::size_t kHeaderBytes = 12;  // magic, CRC32C of the rest
constexpr ByteCount kManifestBytesMax = 16_MiB;
// So that the end of a file is not a flush of all of it at once.
constexpr ByteCount kSyncEveryBytes = 32_MiB;

std::string encode_manifest(const Snapshot& snapshot) {
  const std::string body = encode_snapshot(snapshot).SerializeAsString();
  std::string bytes(kMagic);
  bytes.resize(kHeaderBytes);
  store_le(reinterpret_cast<std::byte*>(bytes.data()) + kMagic.size(), crc32c(as_bytes(body)));
  return bytes + body;
}

Result<Snapshot> decode_manifest(std::string_view bytes) {
  if (bytes.size() < kHeaderBytes || !bytes.starts_with(kMagic)) {
    return fail(Code::kCorrupt, "the incoming manifest is none");
  }
  const auto crc = load_le<std::uint32_t>(as_bytes(bytes).data() + kMagic.size());
  bytes.remove_prefix(kHeaderBytes);
  pb::OpenSnapshotReply reply;
  if (crc32c(as_bytes(bytes)) != crc || !reply.ParseFromString(std::string(bytes))) {
    return fail(Code::kCorrupt, "the incoming manifest is damaged");
  }
  return decode_snapshot(reply);
}

}  // namespace

IncomingStore::IncomingStore(disk::Path repository, std::function<Result<ByteCount>()> free_bytes,
                             ByteCount reserve)
    : root_(std::move(repository) / "incoming"),
      free_bytes_(std::move(free_bytes)),
      reserve_(reserve) {}

Status IncomingStore::load() {
  if (!disk::exists(root_)) return {};
  const Status loaded = load_manifest();
  if (loaded.has_value()) return {};
  const Code code = loaded.error().code();
  if (code != Code::kNotFound && code != Code::kCorrupt) return loaded;
  return discard();
}

Status IncomingStore::load_manifest() {
  TRY(const std::string bytes, disk::read_whole(root_ / "manifest", kManifestBytesMax));
  TRY(snapshot_, decode_manifest(bytes));
  return measure();
}

Status IncomingStore::measure() {
  here_.clear();
  for (std::size_t i = 0; i < snapshot_->files.size(); ++i) {
    TRY(const ByteCount bytes, disk::size_of(path_of(i)));
    if (bytes > snapshot_->files[i].bytes) {
      return fail(Code::kCorrupt, path_of(i).string() + " is larger than it ever was");
    }
    here_.push_back(bytes);
  }
  return {};
}

Result<std::vector<ByteCount>> IncomingStore::begin(const Snapshot& snapshot) {
  TRY_VOID(check_snapshot(snapshot));
  const bool known = snapshot_.has_value() && *snapshot_ == snapshot;
  if (!known) {
    TRY_VOID(discard());
  }
  ByteCount here = 0;
  for (const ByteCount bytes : here_) here += bytes;
  TRY_VOID(check_space(total_bytes(snapshot) - here));
  if (!known) {
    const Status started = start_anew(snapshot);
    if (!started.has_value()) {
      ignore(discard(), "the reason is what failed first; the next life removes what is left");
      return fail(started.error());
    }
  }
  return here_;
}

Status IncomingStore::check_space(ByteCount bytes) const {
  TRY(const ByteCount free, free_bytes_());
  if (bytes <= free && free - bytes >= reserve_) return {};
  return fail(Code::kNoSpace,
              fmt::format("a snapshot needs {} MiB more and {} MiB to spare, {} MiB are free",
                          bytes >> 20, reserve_ >> 20, free >> 20));
}

Status IncomingStore::start_anew(const Snapshot& snapshot) {
  TRY_VOID(disk::make_directory(root_));
  TRY_VOID(disk::make_directory(directory()));
  for (const SnapshotFile& file : snapshot.files) {
    TRY_VOID(disk::create_empty(directory() / file.name));
  }
  TRY_VOID(disk::sync_directory(directory()));
  // Last: a manifest without its files is never seen.
  TRY_VOID(disk::write_whole(root_ / "manifest", encode_manifest(snapshot)));
  snapshot_ = snapshot;
  here_.assign(snapshot.files.size(), 0);
  unsynced_ = 0;
  return {};
}

Status IncomingStore::write(std::uint32_t file, ByteCount offset, std::string_view bytes) {
  if (!snapshot_.has_value() || file >= here_.size() || offset != here_[file] ||
      bytes.size() > snapshot_->files[file].bytes - offset) {
    return fail(Code::kInvalidArgument, "a part of a snapshot that does not fit what is here");
  }
  const bool complete = offset + bytes.size() == snapshot_->files[file].bytes;
  unsynced_ += bytes.size();
  const bool sync = complete || unsynced_ >= kSyncEveryBytes;
  TRY_VOID(disk::write_at(path_of(file), offset, bytes, sync));
  if (sync) unsynced_ = 0;
  here_[file] += bytes.size();
  return {};
}

Status IncomingStore::verify(const std::atomic<bool>& stop) const {
  if (!snapshot_.has_value()) return fail(Code::kNotFound, "no snapshot is coming in");
  for (std::size_t i = 0; i < here_.size(); ++i) {
    const SnapshotFile& file = snapshot_->files[i];
    if (here_[i] != file.bytes) {
      return fail(Code::kInvalidArgument, "the incoming snapshot is not complete");
    }
    TRY_VOID(disk::sync_file(path_of(i)));
    TRY(const std::uint32_t crc, disk::crc_of(path_of(i), file.bytes, stop));
    if (crc != file.crc32c) {
      return fail(Code::kCorrupt, fmt::format("{} of the incoming snapshot has checksum {:08x} "
                                              "instead of {:08x}",
                                              file.name, crc, file.crc32c));
    }
  }
  return disk::sync_directory(directory());
}

Status IncomingStore::discard() {
  snapshot_.reset();
  here_.clear();
  if (!disk::exists(root_)) return {};
  // First: files without their manifest are never gone on with.
  TRY_VOID(disk::remove_file(root_ / "manifest"));
  return disk::remove_tree(root_);
}

}  // namespace cairn::mds::replication
