#include "admin/commands/password.h"

#include <fcntl.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>

#include "common/base/check.h"

namespace cairn::admin {
namespace {

constexpr std::size_t kPasswordBytesMax = 1024;
constexpr char kCtrlC = 3;
constexpr char kCtrlD = 4;

// /dev/tty without echo; Ctrl-C arrives as a character, so that the echo comes back in any case.
class SilentTerminal {
 public:
  SilentTerminal() : fd_(::open("/dev/tty", O_RDWR | O_CLOEXEC)) {
    if (fd_ < 0 || ::tcgetattr(fd_, &before_) != 0) return;
    termios silent = before_;
    silent.c_lflag &= ~static_cast<tcflag_t>(ECHO | ISIG);
    silent_ = ::tcsetattr(fd_, TCSAFLUSH, &silent) == 0;
  }
  ~SilentTerminal() {
    if (silent_) ::tcsetattr(fd_, TCSAFLUSH, &before_);
    if (fd_ >= 0) ::close(fd_);
  }
  SilentTerminal(const SilentTerminal&) = delete;
  SilentTerminal& operator=(const SilentTerminal&) = delete;
  bool ready() const { return silent_; }
  int fd() const { return fd_; }

 private:
  int fd_;
  termios before_ = {};
  bool silent_ = false;
};

Result<std::string> read_line(int fd) {
  std::string line;
  while (true) {
    char c = 0;
    const ssize_t got = ::read(fd, &c, 1);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(Code::kInvalidArgument, "the password could not be read");
    if (got == 0 || c == '\n' || c == kCtrlD) return line;
    if (c == kCtrlC) return fail(Code::kCancelled, "interrupted at the password");
    if (line.size() == kPasswordBytesMax) {
      return fail(Code::kInvalidArgument, "the password is longer than 1024 bytes");
    }
    line += c;
  }
}

void say(int fd, std::string_view text) {
  // If the prompt cannot be shown, the read that follows fails and says so.
  [[maybe_unused]] const ssize_t written = ::write(fd, text.data(), text.size());
}

Result<std::string> ask(const SilentTerminal& terminal, std::string_view prompt) {
  say(terminal.fd(), prompt);
  Result<std::string> line = read_line(terminal.fd());
  say(terminal.fd(), "\n");
  return line;
}

Result<std::string> ask_on_terminal(Repeat repeat) {
  const SilentTerminal terminal;
  if (!terminal.ready()) {
    return fail(Code::kInvalidArgument,
                "there is no terminal to ask for the password: use -P and "
                "write it to standard input");
  }
  TRY(std::string password, ask(terminal, "Please enter password for cluster: "));
  if (repeat == Repeat::kTwice) {
    TRY(const std::string again, ask(terminal, "Please repeat the password: "));
    if (again != password) return fail(Code::kInvalidArgument, "the two passwords differ");
  }
  return password;
}

}  // namespace

Result<std::string> read_password(PasswordFrom from, Repeat repeat) {
  CHECK(from != PasswordFrom::kNowhere);
  Result<std::string> password =
      from == PasswordFrom::kTerminal ? ask_on_terminal(repeat) : read_line(STDIN_FILENO);
  if (password.has_value() && password->empty()) {
    return fail(Code::kInvalidArgument, "the password is empty");
  }
  return password;
}

}  // namespace cairn::admin
