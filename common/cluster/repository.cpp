#include "common/cluster/repository.h"

#include <filesystem>
#include <system_error>

#include "common/cluster/durable_file.h"

namespace cairn::cluster {
namespace {

// What does not count as content: what mkfs makes, and what is left of a durable write that was
// interrupted before it had its name.
bool is_nothing(const std::string& name) {
  return name == "lost+found" || name.starts_with("mds.conf.tmp.") ||
         name.starts_with("mds.joining.tmp.") || name.starts_with("cs.conf.tmp.");
}

}  // namespace

Result<bool> is_empty_directory(const std::string& directory, std::string_view except) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(directory, error);
  if (status.type() == std::filesystem::file_type::not_found) return true;
  if (error) return fail(system_error(error.value(), "look at", directory));
  if (status.type() != std::filesystem::file_type::directory) {
    return fail(Code::kNotDirectory, directory + " is not a directory");
  }
  std::filesystem::directory_iterator entries(directory, error);
  for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error)) {
    const std::string name = entries->path().filename().string();
    if (!is_nothing(name) && name != except) return false;
  }
  if (error) return fail(system_error(error.value(), "read", directory));
  return true;
}

}  // namespace cairn::cluster
