// Log: lines for the person who runs the daemon. Passed through constructors, never global.
// Thread rule: any thread.
#pragma once

#include <fmt/format.h>

#include <memory>
#include <string>

namespace cairn::observe {

enum class Severity { kDebug, kInfo, kWarning, kError };

class Log {
 public:
  virtual ~Log() = default;
  virtual void write(Severity severity, const std::string& line) = 0;
  virtual bool enabled(Severity severity) const = 0;

  template <class... Args>
  void debug(fmt::format_string<Args...> format, Args&&... args) {
    if (enabled(Severity::kDebug))
      write(Severity::kDebug, fmt::format(format, std::forward<Args>(args)...));
  }
  template <class... Args>
  void info(fmt::format_string<Args...> format, Args&&... args) {
    write(Severity::kInfo, fmt::format(format, std::forward<Args>(args)...));
  }
  template <class... Args>
  void warning(fmt::format_string<Args...> format, Args&&... args) {
    write(Severity::kWarning, fmt::format(format, std::forward<Args>(args)...));
  }
  template <class... Args>
  void error(fmt::format_string<Args...> format, Args&&... args) {
    write(Severity::kError, fmt::format(format, std::forward<Args>(args)...));
  }
};

enum class LogTarget { kStderr, kFile, kJournald };
struct LogOptions {
  LogTarget target = LogTarget::kStderr;
  std::string file;  // kFile
  std::string name;  // "csd 1025": stands in every line
  Severity minimum = Severity::kInfo;
};
// spdlog behind it. Journald: lines with the "<priority>" prefix of sd-daemon(3) on stderr.
std::unique_ptr<Log> make_log(const LogOptions& options);
// For tests and the simulator.
std::unique_ptr<Log> make_null_log();

}  // namespace cairn::observe
