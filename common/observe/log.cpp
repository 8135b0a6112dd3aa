#include "common/observe/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace cairn::observe {
namespace {

spdlog::level::level_enum to_level(Severity severity) {
  switch (severity) {
    case Severity::kDebug:
      return spdlog::level::debug;
    case Severity::kInfo:
      return spdlog::level::info;
    case Severity::kWarning:
      return spdlog::level::warn;
    case Severity::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

class SpdLog final : public Log {
 public:
  explicit SpdLog(const LogOptions& options)
      : minimum_(options.minimum), journald_(options.target == LogTarget::kJournald) {
    std::shared_ptr<spdlog::sinks::sink> sink;
    if (options.target == LogTarget::kFile) {
      sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(options.file);
    } else {
      sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    }
    logger_ = std::make_shared<spdlog::logger>(options.name, std::move(sink));
    logger_->set_level(to_level(options.minimum));
    logger_->flush_on(spdlog::level::info);
    logger_->set_pattern(journald_ ? "%v" : "%Y-%m-%dT%H:%M:%S.%e %L [%n] %v");
  }

  void write(Severity severity, const std::string& line) override {
    if (!enabled(severity)) return;
    if (journald_) {
      constexpr int kPriority[] = {7, 6, 4, 3};
      logger_->log(to_level(severity), "<{}>[{}] {}", kPriority[static_cast<int>(severity)],
                   logger_->name(), line);
      return;
    }
    logger_->log(to_level(severity), "{}", line);
  }
  bool enabled(Severity severity) const override { return severity >= minimum_; }

 private:
  Severity minimum_;
  bool journald_;
  std::shared_ptr<spdlog::logger> logger_;
};

class NullLog final : public Log {
 public:
  void write(Severity, const std::string&) override {}
  bool enabled(Severity) const override { return false; }
};

}  // namespace

std::unique_ptr<Log> make_log(const LogOptions& options) {
  return std::make_unique<SpdLog>(options);
}
std::unique_ptr<Log> make_null_log() { return std::make_unique<NullLog>(); }

}  // namespace cairn::observe
