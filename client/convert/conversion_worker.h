// ConversionWorker: brings files into another encoding, one after the other, as a client session of
// its own (docs/protocols/conversion.md).
//
// Owns:     the mount it works through; the file it has.
// Promises: a file that is not converted stays as it is. It tells the master every second how far
//           it is, and obeys: another answer than the file it has, or none, ends its work on it.
//           What it copied for nothing is given back with its pin, or with the session.
// Requires: the loop of `runtime`; options.converter is set. run() once; its task ends before this
//           dies, and then co_await stop(). Everything it is given outlives it.
// Limits:   options.cache_bytes, and kUnitsAtOnce units of kUnitBytes that are being read.
// Errors:   of run(): the session could not be opened, or the master refuses to name a file.
//           Troubles of a file are told to the master, who tries it again later.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "client/core/event.h"
#include "client/core/file_system.h"
#include "common/runtime/task_group.h"

namespace cairn::client {
class Mount;
}

namespace cairn::client::convert {

class FileConverter;

class ConversionWorker {
 public:
  struct Stats {
    std::uint64_t converted = 0;     // files
    std::uint64_t failed = 0;        // files that were given back with a reason
    std::uint64_t given_up = 0;      // because the master said so, or interrupt()
    std::uint64_t bytes_copied = 0;  // of all of them
    std::uint64_t inode = 0;         // the one it has; 0: none
  };

  ConversionWorker(runtime::Runtime& runtime, net::Network& network, observe::Log& log,
                   Options options);
  ~ConversionWorker();
  ConversionWorker(const ConversionWorker&) = delete;
  ConversionWorker& operator=(const ConversionWorker&) = delete;

  // Opens a session and converts what the master names, until it names nothing more.
  Task<Status> run();
  // run() ends soon: the file it has stays as it is. Also before run(), and again.
  void interrupt();
  // Interrupts, and waits for run() to end.
  Task<void> stop();

  Stats stats() const;

 private:
  Task<Result<bool>> serve();
  pb::NextConversion report() const;
  Task<void> work(FileConverter* file);
  void forget_file();
  Task<void> give_up();
  Task<void> cut_off();
  Task<void> stop_mount();

  runtime::Runtime& runtime_;
  net::Network& network_;
  observe::Log& log_;
  const Options options_;
  std::unique_ptr<Mount> mount_;
  std::unique_ptr<FileConverter> file_;  // the one it has
  std::optional<Status> ended_;          // how the work on it ended, not told yet
  Event changed_;
  runtime::TaskGroup tasks_;
  bool running_ = false;
  bool interrupted_ = false;
  bool stopping_mount_ = false;
  Stats stats_;
};

}  // namespace cairn::client::convert
