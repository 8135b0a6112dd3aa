#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "admin/commands/commands.h"
#include "admin/commands/mds_door.h"
#include "admin/commands/which_cluster.h"
#include "admin/view/scrub_text.h"

namespace cairn::admin {
namespace {

constexpr int kExitPartly = 8;
constexpr Duration kPollFirst = 100ms;
constexpr Duration kPollMost = 1s;

Result<pb::ScrubReply> ask_status(const MdsDoor& door, std::uint64_t job) {
  pb::ScrubStatusRequest request;
  request.set_job(job);
  return ask<pb::ScrubReply>(door, "/cairn.pb.Admin/ScrubStatus", request);
}

std::string shown(const Globals& globals, const pb::ScrubReply& scrub) {
  return globals.json ? scrub_json(scrub) : scrub_text(scrub);
}

// 0: none was named.
Outcome<std::uint64_t> parse_job(const std::string& text, const std::string& what) {
  std::uint64_t job = 0;
  if (text.empty()) return job;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), job);
  if (error != std::errc{} || end != text.data() + text.size() || job == 0) {
    return failure({.code = Code::kInvalidArgument,
                    .what = what,
                    .why = "'" + text + "' is not the number of a scrub",
                    .state = {},
                    .next = "See those there are:  cairn scrub status"});
  }
  return job;
}

// A job is the memory of one master: the next one does not know it.
Outcome<Output> lost(const Globals& globals, const pb::ScrubReply& last) {
  Output output{.text = shown(globals, last), .warnings = {}, .exit_code = kExitPartly};
  output.warnings.push_back(fmt::format(
      "the master of the cluster changed, which ended scrub {}; repeat it:  cairn scrub now",
      last.job()));
  return output;
}

// Looks at it until it is done; the last that was seen is in `scrub` whatever happens.
Status follow(const ScrubNow& options, const MdsDoor& door, pb::ScrubReply* scrub) {
  Duration poll = kPollFirst;
  while (!scrub->done()) {
    if (options.on_progress) options.on_progress(scrub_progress(*scrub));
    pause(poll);
    poll = std::min<Duration>(poll * 2, kPollMost);
    TRY(*scrub, ask_status(door, scrub->job()));
  }
  return {};
}

Outcome<Output> wait_for(const Globals& globals, const ScrubNow& options, const MdsDoor& door,
                         pb::ScrubReply scrub) {
  const Status followed = follow(options, door, &scrub);
  if (options.on_progress) options.on_progress("");
  if (followed.has_value()) {
    return Output{
        .text = shown(globals, scrub), .warnings = {}, .exit_code = scrub_exit_code(scrub)};
  }
  if (followed.error().code() == Code::kNotFound) return lost(globals, scrub);
  return failure("cannot follow the scrub of '" + options.path + "'", followed.error(),
                 "It may go on without this command",
                 fmt::format("Look again:  cairn scrub status {}", scrub.job()));
}

}  // namespace

Outcome<Output> scrub_now(const Globals& globals, const ScrubNow& options) {
  const std::string what = "cannot scrub '" + options.path + "'";
  const Outcome<PathInCluster> target = choose_path(globals, options.path, options.from_root, what);
  if (!target.has_value()) return std::unexpected(target.error());
  const Outcome<MdsDoor> door = open_door(globals, target->cluster, what);
  if (!door.has_value()) return std::unexpected(door.error());
  pb::ScrubRequest request;
  request.set_cluster(target->cluster);
  request.mutable_target()->set_path(target->path);
  Result<pb::ScrubReply> begun = ask<pb::ScrubReply>(*door, "/cairn.pb.Admin/Scrub", request);
  if (!begun.has_value()) return failure(what, begun.error());
  if (options.wait) return wait_for(globals, options, *door, std::move(*begun));
  return Output{.text = globals.json ? scrub_json(*begun)
                                     : fmt::format("scrub {} of '{}' has begun\n"
                                                   "See it:  cairn scrub status {}\n",
                                                   begun->job(), begun->target(), begun->job()),
                .warnings = {}};
}

Outcome<Output> scrub_status(const Globals& globals, const ScrubStatus& options) {
  const std::string what = "cannot show the scrubs";
  const Outcome<std::uint64_t> job = parse_job(options.job, what);
  if (!job.has_value()) return std::unexpected(job.error());
  const Outcome<std::string> cluster = choose_cluster(globals, what);
  if (!cluster.has_value()) return std::unexpected(cluster.error());
  const Outcome<MdsDoor> door = open_door(globals, *cluster, what);
  if (!door.has_value()) return std::unexpected(door.error());
  const Result<pb::ScrubReply> asked = ask_status(*door, *job);
  const bool none = !asked.has_value() && asked.error().code() == Code::kNotFound;
  if (!asked.has_value() && !(none && *job == 0)) {
    return failure(what, asked.error(), {}, none ? "See those there are:  cairn scrub status" : "");
  }
  if (*job != 0) {
    return Output{
        .text = shown(globals, *asked), .warnings = {}, .exit_code = scrub_exit_code(*asked)};
  }
  std::vector<pb::ScrubReply> all;
  if (asked.has_value()) {
    for (const std::uint64_t known : asked->jobs()) {
      Result<pb::ScrubReply> one = ask_status(*door, known);
      if (one.has_value()) {
        all.push_back(std::move(*one));
      } else if (one.error().code() != Code::kNotFound) {
        return failure(what, one.error());
      }
    }
  }
  return Output{.text = globals.json ? scrub_list_json(all) : scrub_list(all), .warnings = {}};
}

}  // namespace cairn::admin
