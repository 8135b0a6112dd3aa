#include "chunkserver/whereabouts.h"

#include <sys/statvfs.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "chunkserver/chunk_server.h"
#include "common/cluster/services_list.h"

namespace cairn::chunkserver {
namespace {

namespace fs = cairn::cluster;

std::string this_host() {
  std::array<char, 256> name = {};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "unknown";
  return name.data();
}

// As the cluster shows it: of this host, not of where the daemon was started.
std::string full_path(const std::string& directory) {
  std::error_code error;
  const std::filesystem::path full = std::filesystem::absolute(directory, error);
  return error ? directory : full.lexically_normal().string();
}

// Its cs.conf cannot be read; `why` says how that failed.
Result<Whereabouts> from_memory(const std::string& directory, const Error& why,
                                const std::string& version) {
  TRY(const std::optional<fs::KnownCs> known, fs::find_known_cs({}, directory));
  if (!known.has_value()) return fail(why);
  if (!known->service.registration.has_value()) {
    return fail(why.code(), why.message() + ". A chunk server was made there (CS " +
                                std::to_string(known->service.id.raw()) + " of cluster '" +
                                known->cluster +
                                "'), by a version that did not note what it is: mount its disk");
  }
  const fs::CsRegistration& registration = *known->service.registration;
  Whereabouts place;
  place.directory = directory;
  place.cluster = known->cluster;
  place.identity.set_cluster_id(registration.cluster_id.raw());
  place.identity.set_cs_id(known->service.id.raw());
  place.identity.set_repo_uuid(registration.repo_uuid);
  place.identity.set_host_id(registration.host_id.raw());
  place.identity.set_host(this_host());
  place.identity.set_tier(registration.tier);
  place.identity.set_version(version);
  place.identity.set_repository(full_path(directory));
  const bool absent = why.code() == Code::kNotFound || why.code() == Code::kNotDirectory;
  place.failure = absent
                      ? cluster::Failure{.text = "the repository " + directory +
                                                 " is not there: is its disk mounted?",
                                         .letter = 'R'}
                      : cluster::Failure{.text = "the repository cannot be read: " + why.message(),
                                         .letter = 'H'};
  return place;
}

// A filesystem that the kernel made read-only after an error stays so until it was checked.
bool is_read_only(const std::string& directory) {
  struct statvfs status = {};
  return ::statvfs(directory.c_str(), &status) == 0 && (status.f_flag & ST_RDONLY) != 0;
}

}  // namespace

Result<Whereabouts> look_around(const std::string& directory, const std::string& version) {
  Result<fs::CsRepository> repository = fs::CsRepository::load(directory);
  if (!repository.has_value()) {
    // A file that is there and is not ours is no matter of disks.
    if (repository.error().code() == Code::kCorrupt) return fail(std::move(repository).error());
    return from_memory(directory, repository.error(), version);
  }
  Whereabouts place;
  place.directory = directory;
  place.cluster = repository->cluster;
  place.identity = registration_of(*repository, full_path(directory), version);
  place.repository = std::move(*repository);
  if (is_read_only(directory)) {
    place.failure = cluster::Failure{
        .text = "the filesystem of " + directory +
                " is mounted read-only, as after an I/O error: look at the kernel's log (dmesg), "
                "check the disk, mount it again and restart the chunk server",
        .letter = 'H'};
  }
  return place;
}

Result<Whereabouts> look_again(const Whereabouts& missing, const std::string& version) {
  TRY(Whereabouts found, look_around(missing.directory, version));
  if (!found.repository.has_value()) {
    return fail(Code::kNotFound, "the repository is still not there");
  }
  if (found.identity.cs_id() != missing.identity.cs_id() ||
      found.identity.repo_uuid() != missing.identity.repo_uuid() ||
      found.identity.cluster_id() != missing.identity.cluster_id()) {
    return fail(Code::kRefusedForSafety,
                "the repository that is now at " + missing.directory + " is that of CS " +
                    std::to_string(found.identity.cs_id()) + " of cluster '" + found.cluster +
                    "', not of CS " + std::to_string(missing.identity.cs_id()) + " of cluster '" +
                    missing.cluster + "'");
  }
  return found;
}

std::string default_log(const Whereabouts& place) {
  if (!place.failure.has_value()) return place.directory + "/logs/log";
  if (std::getenv("JOURNAL_STREAM") != nullptr) return "journald";
  const char* const etc = std::getenv("CAIRN_ETC");
  const std::string directory =
      etc != nullptr && *etc != '\0' ? std::string(etc) + "/logs" : "/var/log/cairn";
  return directory + "/csd-" + std::to_string(place.identity.cs_id()) + ".log";
}

bool is_below(const std::string& file, const std::string& directory) {
  std::error_code error;
  const std::filesystem::path a = std::filesystem::weakly_canonical(file, error);
  const std::filesystem::path b = std::filesystem::weakly_canonical(directory, error);
  const std::filesystem::path relative = a.lexically_relative(b);
  return !relative.empty() && *relative.begin() != "..";
}

}  // namespace cairn::chunkserver
