#include "admin/commands/cs_control.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

namespace cairn::admin {
namespace {

constexpr const char* kDaemon = "cairn-csd";
// Above what the chunk server itself grants a request; then it answers that it goes on.
constexpr int kGraceMs = 30'000;
constexpr int kOpenMs = 3'600'000;

std::unexpected<Error> failed(const std::string& what) {
  return fail(Code::kUnavailable, what + ": " + std::strerror(errno));
}

// Beside this program, where a build and an installation have it; else wherever PATH says.
std::string daemon_path() {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::string beside = (self.parent_path() / kDaemon).string();
  return !error && ::access(beside.c_str(), X_OK) == 0 ? beside : kDaemon;
}

[[noreturn]] void become_daemon(const std::string& path, const std::string& repository,
                                int socket) {
  const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
  ::dup2(socket, STDIN_FILENO);
  ::dup2(nowhere, STDOUT_FILENO);
  ::dup2(nowhere, STDERR_FILENO);  // what it has to say comes through the socket
  ::execlp(path.c_str(), kDaemon, "-r", repository.c_str(), "--offline", nullptr);
  const std::string line =
      control::failure_line(Error(Code::kNotFound, "the program cairn-csd cannot be started: " +
                                                       std::string(std::strerror(errno))));
  const ssize_t sent = ::send(STDIN_FILENO, line.data(), line.size(), MSG_NOSIGNAL);
  ::_exit(sent > 0 ? 1 : 2);
}

int timeout_ms(const control::Request& request) {
  std::chrono::seconds timeout = std::chrono::seconds(60);
  if (const auto* journal = std::get_if<control::JournalRequest>(&request)) {
    timeout = journal->timeout;
  }
  if (const auto* commit = std::get_if<control::CommitRequest>(&request)) timeout = commit->timeout;
  const auto ms = std::chrono::milliseconds(timeout).count();
  return static_cast<int>(std::min<std::int64_t>(ms, INT32_MAX - kGraceMs));
}

}  // namespace

Result<CsControl> CsControl::open(const std::string& repository) {
  Result<cluster::Socket> door = cluster::connect_to_control(repository);
  if (door.has_value()) return CsControl(std::move(*door), -1);
  if (door.error().code() != Code::kNotFound) return fail(std::move(door).error());
  int ends[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return failed("make a socket");
  }
  cluster::Socket ours(ends[0]);
  const cluster::Socket theirs(ends[1]);
  const std::string path = daemon_path();
  const pid_t child = ::fork();
  if (child < 0) return failed("start cairn-csd");
  if (child == 0) become_daemon(path, repository, theirs.get());
  return CsControl(std::move(ours), child);
}

CsControl::CsControl(CsControl&& other) noexcept
    : socket_(std::move(other.socket_)),
      child_(std::exchange(other.child_, -1)),
      pending_(std::move(other.pending_)) {}

CsControl::~CsControl() { finish(); }

void CsControl::finish() {
  socket_ = cluster::Socket();
  if (child_ < 0) return;
  int status = 0;
  while (::waitpid(child_, &status, 0) < 0 && errno == EINTR) {
  }
  child_ = -1;
}

Result<std::string> CsControl::read_line(int milliseconds) {
  for (;;) {
    const std::size_t end = pending_.find('\n');
    if (end != std::string::npos) {
      std::string line = pending_.substr(0, end);
      pending_.erase(0, end + 1);
      return line;
    }
    if (pending_.size() > control::kControlLineMax) {
      return fail(Code::kProtocol, "the chunk server's answer is too long");
    }
    pollfd waiting{.fd = socket_.get(), .events = POLLIN, .revents = 0};
    const int ready = ::poll(&waiting, 1, milliseconds);
    if (ready < 0 && errno == EINTR) continue;
    if (ready < 0) return failed("wait for the chunk server");
    if (ready == 0) return fail(Code::kTimeout, "the chunk server does not answer");
    char part[4096];
    const ssize_t got = ::recv(socket_.get(), part, sizeof part, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      return fail(Code::kConnectionLost, "the chunk server ended while it was asked");
    }
    pending_.append(part, static_cast<std::size_t>(got));
  }
}

Result<control::Json> CsControl::ask(const control::Request& request,
                                     const OnProgress& on_progress) {
  const std::string line = control::encode(request);
  std::size_t sent = 0;
  while (sent < line.size()) {
    const ssize_t n = ::send(socket_.get(), line.data() + sent, line.size() - sent, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) break;  // it may have said why before it went
    sent += static_cast<std::size_t>(n);
  }
  // A store with a long journal takes its time to open.
  const int wait = std::max(timeout_ms(request), running() ? 0 : kOpenMs) + kGraceMs;
  for (;;) {
    TRY(const std::string answer_line, read_line(wait));
    TRY(const control::Answer answer, control::parse_answer(answer_line));
    if (answer.last) return answer.content;
    if (on_progress) on_progress(answer.content);
  }
}

}  // namespace cairn::admin
