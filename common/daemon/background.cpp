#include "common/daemon/background.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace cairn::daemon {
namespace {

constexpr char kGood = '+';
constexpr char kBad = '-';
constexpr char kBadWithCode = '!';  // then one byte: the exit code

std::unexpected<Error> cannot(const std::string& what) {
  return fail(Code::kUnavailable, "cannot " + what + ": " + std::strerror(errno));
}

std::string read_all(int pipe) {
  std::string bytes;
  char part[512];
  for (;;) {
    const ssize_t n = ::read(pipe, part, sizeof part);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return bytes;
    bytes.append(part, static_cast<std::size_t>(n));
  }
}

// The first process: waits for the report and is its exit code.
[[noreturn]] void wait_for_report(int pipe, pid_t middle, const std::string& name) {
  int status = 0;
  while (::waitpid(middle, &status, 0) < 0 && errno == EINTR) {
  }
  const std::string report = read_all(pipe);
  if (!report.empty() && report.front() == kGood) {
    if (report.size() > 1) std::fprintf(stderr, "%s: %s\n", name.c_str(), report.c_str() + 1);
    std::fflush(stderr);
    ::_exit(0);
  }
  if (report.size() > 1 && report.front() == kBadWithCode) {
    std::fprintf(stderr, "%s", report.c_str() + 2);
    std::fflush(stderr);
    ::_exit(static_cast<unsigned char>(report[1]));
  }
  const std::string why =
      report.empty() ? "ended before it was ready; its log tells more" : report.substr(1);
  std::fprintf(stderr, "%s: %s\n", name.c_str(), why.c_str());
  std::fflush(stderr);
  ::_exit(1);
}

}  // namespace

StartReport::~StartReport() {
  if (pipe_ >= 0) ::close(pipe_);
}

void StartReport::good(const std::string& remark) { finish(kGood + remark); }
void StartReport::bad(const std::string& message) { finish(kBad + message); }
void StartReport::bad(int exit_code, const std::string& message) {
  finish(std::string{kBadWithCode, static_cast<char>(exit_code)} + message);
}

void StartReport::finish(const std::string& bytes) {
  const int pipe = std::exchange(pipe_, -1);
  if (pipe < 0) return;
  std::size_t sent = 0;
  while (sent < bytes.size()) {
    const ssize_t n = ::write(pipe, bytes.data() + sent, bytes.size() - sent);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;  // the parent was killed: nobody waits for the report
    sent += static_cast<std::size_t>(n);
  }
  ::close(pipe);
}

Result<StartReport> go_to_background(const std::string& name) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return cannot("make a pipe");
  std::fflush(nullptr);  // else both processes would print what is buffered
  const pid_t middle = ::fork();
  if (middle < 0) {
    const auto error = cannot("fork");
    ::close(ends[0]);
    ::close(ends[1]);
    return error;
  }
  if (middle != 0) {
    ::close(ends[1]);
    wait_for_report(ends[0], middle, name);
  }
  ::close(ends[0]);
  StartReport report(ends[1]);
  // A session of its own, and then not its leader: no terminal can ever become ours again.
  const pid_t daemon = ::setsid() < 0 ? -1 : ::fork();
  if (daemon < 0) {
    report.bad(std::string("cannot go to the background: ") + std::strerror(errno));
    ::_exit(1);
  }
  if (daemon > 0) ::_exit(0);
  return report;
}

Status redirect_standard_streams(const std::string& log_file) {
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) return cannot("open /dev/null");
  bool good = ::dup2(null, STDIN_FILENO) >= 0 && ::dup2(null, STDOUT_FILENO) >= 0;
  if (null > STDERR_FILENO) ::close(null);
  if (!good) return cannot("redirect the standard streams");
  if (log_file.empty()) return {};
  const int log = ::open(log_file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
  if (log < 0) return cannot("open the log " + log_file);
  good = ::dup2(log, STDERR_FILENO) >= 0;
  if (log > STDERR_FILENO) ::close(log);
  if (!good) return cannot("redirect stderr to " + log_file);
  return {};
}

}  // namespace cairn::daemon
