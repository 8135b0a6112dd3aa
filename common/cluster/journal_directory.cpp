#include "common/cluster/journal_directory.h"

#include <unistd.h>

#include "common/cluster/durable_file.h"
#include "common/cluster/identity_file.h"

namespace cairn::cluster {
namespace {

constexpr std::uint64_t kFormat = 1;
constexpr const char* kKind = "journal-owner";

std::string owner_path(const std::string& directory) { return directory + "/" + kJournalOwnerFile; }

Result<JournalOwner> decode(const std::string& path, const std::string& content) {
  const Json json = Json::parse(content, nullptr, false);
  if (json.is_discarded() || !json.is_object()) {
    return fail(Code::kCorrupt, path + " is not a JSON object");
  }
  Fields fields(json);
  const std::uint64_t format = fields.number("format", UINT32_MAX);
  if (format != kFormat || fields.text("kind") != kKind) {
    return fail(Code::kCorrupt, path + " does not say whose journal this is");
  }
  JournalOwner owner;
  owner.cluster = fields.cluster();
  owner.cs_id = NodeId::from_raw(static_cast<std::uint32_t>(fields.number("cs_id", UINT32_MAX)));
  owner.repo_uuid = fields.id("repo_uuid");
  owner.repository = fields.text("repository");
  TRY_VOID(fields.check(path));
  return owner;
}

}  // namespace

std::string describe(const JournalOwner& owner) {
  const std::string id =
      owner.cs_id.valid() ? "CS " + std::to_string(owner.cs_id.raw()) : "a chunk server being made";
  return id + " of cluster '" + owner.cluster + "' (repository " + owner.repository + ")";
}

Result<std::optional<JournalOwner>> journal_owner(const std::string& directory) {
  const std::string path = owner_path(directory);
  const Result<std::string> content = read_small_file(path);
  if (!content.has_value()) {
    if (content.error().code() == Code::kNotFound) return std::nullopt;
    return fail(content.error());
  }
  TRY(JournalOwner owner, decode(path, *content));
  return std::optional<JournalOwner>(std::move(owner));
}

Status take_journal_directory(const std::string& directory, const JournalOwner& owner) {
  TRY_VOID(make_directories(directory, 0700));
  TRY(const std::optional<JournalOwner> present, journal_owner(directory));
  if (present.has_value() && *present == owner) return {};
  if (present.has_value() && present->repo_uuid != owner.repo_uuid) {
    return fail(Code::kBusy, directory + " holds the journal of " + describe(*present));
  }
  const std::string journal = directory + "/" + kJournalFile;
  if (!present.has_value() && ::access(journal.c_str(), F_OK) == 0) {
    return fail(Code::kBusy, journal + " is there, and nothing says whose journal it is");
  }
  const Json json = {{"format", kFormat},
                     {"kind", kKind},
                     {"cluster", owner.cluster},
                     {"cs_id", owner.cs_id.raw()},
                     {"repo_uuid", hex16(owner.repo_uuid)},
                     {"repository", owner.repository}};
  // Ours already, with other words: an id that is known now, a repository that was moved.
  if (present.has_value())
    return write_file_durably(owner_path(directory), identity_text(json), 0644);
  const Status created = create_file_durably(owner_path(directory), identity_text(json), 0644);
  if (created.has_value() || created.error().code() != Code::kExists) return created;
  // Somebody was quicker.
  TRY(const std::optional<JournalOwner> winner, journal_owner(directory));
  if (winner.has_value() && winner->repo_uuid == owner.repo_uuid) return {};
  return fail(Code::kBusy, directory + " was just taken by " +
                               (winner.has_value() ? describe(*winner) : "another chunk server"));
}

Status release_journal_directory(const std::string& directory, std::uint64_t repo_uuid) {
  TRY(const std::optional<JournalOwner> present, journal_owner(directory));
  if (!present.has_value() || present->repo_uuid != repo_uuid) return {};
  return remove_file_durably(owner_path(directory));
}

}  // namespace cairn::cluster
