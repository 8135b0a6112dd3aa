#include "admin/drive/run_program.h"

#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "admin/drive/file_descriptor.h"
#include "common/cluster/durable_file.h"

namespace cairn::admin {
namespace {

constexpr std::array kDirectories = {"/usr/sbin/", "/usr/bin/", "/sbin/", "/bin/"};

// Input and output go through files in memory: nobody waits for a pipe.
Result<FileDescriptor> memory_file(std::string_view content) {
  FileDescriptor file(::memfd_create("cairn", MFD_CLOEXEC));
  if (file.get() < 0) return fail(cluster::system_error(errno, "make", "a file in memory"));
  TRY_VOID(write_all_at(file.get(), as_bytes(content), 0, "a file in memory"));
  return file;
}

Result<std::string> content_of(const FileDescriptor& file) {
  std::string text(kProgramOutputBytesMax, '\0');
  TRY(const std::size_t got,
      read_all_at(file.get(), std::as_writable_bytes(std::span(text)), 0, "a file in memory"));
  text.resize(got);
  return text;
}

class SpawnActions {
 public:
  SpawnActions() { ::posix_spawn_file_actions_init(&actions_); }
  ~SpawnActions() { ::posix_spawn_file_actions_destroy(&actions_); }
  SpawnActions(const SpawnActions&) = delete;
  SpawnActions& operator=(const SpawnActions&) = delete;
  void give(const FileDescriptor& file, int as) {
    ::posix_spawn_file_actions_adddup2(&actions_, file.get(), as);
  }
  const posix_spawn_file_actions_t* get() const { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_ = {};
};

int exit_code_of(int status) {
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

}  // namespace

Result<std::string> find_program(const std::string& name) {
  for (const char* const directory : kDirectories) {
    std::string path = directory + name;
    if (::access(path.c_str(), X_OK) == 0) return path;
  }
  return fail(Code::kNotFound, "the program " + name + " is not installed");
}

Result<ProgramResult> run_program(std::vector<std::string> words, std::string_view input) {
  TRY(const std::string path, find_program(words.front()));
  TRY(const FileDescriptor in, memory_file(input));
  TRY(const FileDescriptor out, memory_file({}));
  TRY(const FileDescriptor errors, memory_file({}));
  SpawnActions actions;
  actions.give(in, STDIN_FILENO);
  actions.give(out, STDOUT_FILENO);
  actions.give(errors, STDERR_FILENO);
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  std::string search = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
  std::string language = "LC_ALL=C";
  char* environment[] = {search.data(), language.data(), nullptr};
  pid_t child = 0;
  const int error =
      ::posix_spawn(&child, path.c_str(), actions.get(), nullptr, arguments.data(), environment);
  if (error != 0) {
    return fail(Code::kInternal, cluster::system_error(error, "start", path).message());
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return fail(Code::kInternal, "cannot wait for " + path);
  }
  ProgramResult result;
  result.exit_code = exit_code_of(status);
  TRY(result.output, content_of(out));
  TRY(result.errors, content_of(errors));
  return result;
}

Result<std::string> run_checked(const std::vector<std::string>& words, std::string_view input) {
  TRY(ProgramResult result, run_program(words, input));
  if (result.exit_code == 0) return std::move(result.output);
  std::string said = result.errors.empty() ? result.output : result.errors;
  while (said.ends_with('\n')) said.pop_back();
  return fail(Code::kDiskFailed, joined(words) + " ended with exit code " +
                                     std::to_string(result.exit_code) +
                                     (said.empty() ? "" : ":\n" + said));
}

}  // namespace cairn::admin
