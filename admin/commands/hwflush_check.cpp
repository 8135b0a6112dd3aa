#include <fmt/format.h>

#include <algorithm>

#include "admin/commands/drive_commands.h"
#include "admin/commands/print_now.h"
#include "admin/hwflush/resolve.h"
#include "admin/hwflush/run_server.h"

namespace cairn::admin {
namespace {

constexpr const char* kWhat = "cannot check flushes";

Outcome<Output> wrong_usage(const std::string& why) {
  return failure({.code = Code::kInvalidArgument,
                  .what = kWhat,
                  .why = why,
                  .state = {},
                  .next = "See what it takes:  cairn help hwflush-check"});
}

Outcome<Output> listen(const HwflushCheck& options) {
  const Status ended = hwflush::run_server(
      {.at = {options.bind, options.port}, .state_file = options.state_file}, print_now);
  if (!ended.has_value()) return failure("cannot serve hwflush-check", ended.error());
  return Output{.text = options.state_file.empty()
                            ? "ended; the counters are forgotten (--state FILE keeps them)\n"
                            : "ended; the counters are in " + options.state_file + "\n",
                .warnings = {}};
}

Outcome<Output> device_lost_data(const hwflush::ClientEnd& end, const std::string& directory) {
  const bool known_place = end.by == hwflush::KnownBy::kPlace;
  return failure(
      {.code = Code::kDiskFailed,
       .what = known_place ? directory + " does not have what was under test there"
                           : "the device below " + directory + " lost data that it had flushed",
       .why = verdict(end.comparison, end.by),
       .state = "Nothing was written; device and server keep their counters",
       .next = known_place
                   ? "See what is mounted there and repeat. Another device, or emptied by hand:  "
                     "--new begins anew"
                   : "Do not use this device for chunk servers, journals or MDS: a power cut would "
                     "lose acknowledged writes.\nIf it has a switch for its volatile write cache, "
                     "turn that off (hdparm -W 0, nvme set-feature -f 6 -v 0)\nand test again with "
                     "--new."});
}

Outcome<Output> check_failed(const Error& error) {
  const bool gone = error.code() == Code::kConnectionLost || error.code() == Code::kTimeout ||
                    error.code() == Code::kUnavailable;
  if (!gone) return failure(kWhat, error, "What the server was told before still counts");
  return failure({.code = Code::kUnavailable,
                  .what = kWhat,
                  .why = "The server is gone: " + error.message(),
                  .state = "A power cut from now on proves nothing",
                  .next = "See that the server runs (cairn hwflush-check -l), and repeat."});
}

Outcome<Output> check(const HwflushCheck& options) {
  hwflush::ClientOptions client = options.client;
  // Said by -p, unless the server's own words say otherwise.
  const Result<net::Address> server = hwflush::split_server(client.server, options.port);
  if (!server.has_value()) return failure(kWhat, server.error());
  client.server = server->to_string();
  const Result<hwflush::ClientEnd> end = hwflush::run_client(client, print_now);
  if (!end.has_value()) return check_failed(end.error());
  if (!end->comparison.good()) return device_lost_data(*end, client.directory);
  const double seconds = std::max(end->seconds, 1e-9);
  return Output{
      .text = fmt::format("{} flushes in {:.1f} s ({:.0f} a second), all told to the server.\n"
                          "To check the device: run it again, cut the power while it runs, and "
                          "then run it once more.\n",
                          end->flushes, seconds, static_cast<double>(end->flushes) / seconds),
      .warnings = {}};
}

}  // namespace

Outcome<Output> hwflush_check(const Globals& /*globals*/, const HwflushCheck& options) {
  const bool is_client = !options.client.server.empty();
  if (options.listen == is_client) {
    return wrong_usage("Either -l (serve) or -s SERVER (test a device) is needed");
  }
  if (options.listen) {
    if (!options.client.directory.empty()) return wrong_usage("-d is for the client (-s)");
    return listen(options);
  }
  if (options.client.directory.empty()) return wrong_usage("-s needs -d DIR, on the device");
  if (!options.state_file.empty()) return wrong_usage("--state is for the server (-l)");
  return check(options);
}

}  // namespace cairn::admin
