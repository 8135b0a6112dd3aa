#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "admin/commands/commands.h"
#include "admin/commands/mds_door.h"
#include "admin/commands/which_cluster.h"
#include "admin/view/attributes.h"
#include "admin/view/conversion_text.h"

namespace cairn::admin {
namespace {

constexpr int kExitPartly = 8;
constexpr Duration kPollFirst = 100ms;
constexpr Duration kPollMost = 1s;
constexpr const char* kMethod = "/cairn.pb.Admin/SetPolicy";

bool is_coded(const pb::Policy& policy) { return policy.encoding().data() > 1; }

Result<pb::GetPolicyReply> ask_policy(const MdsDoor& door, const std::string& path) {
  pb::GetPolicyRequest request;
  request.mutable_target()->set_path(path);
  return ask<pb::GetPolicyReply>(door, "/cairn.pb.Admin/GetPolicy", request);
}

std::string parent_of(const std::string& path) {
  const std::size_t slash = path.find_last_of('/');
  return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

// The guide: once encoding is on, a directory does not go back to replication. One that only
// inherited the encoding of the directory above has not chosen yet; a file with data is no
// directory.
Result<bool> goes_back(const MdsDoor& door, const pb::SetPolicyRequest& request) {
  if (!request.policy().has_encoding() || is_coded(request.policy())) return false;
  const std::string& path = request.target().path();
  TRY(const pb::GetPolicyReply present, ask_policy(door, path));
  if (!is_coded(present.policy()) || present.has_layout()) return false;
  if (path == "/") return true;
  TRY(const pb::GetPolicyReply above, ask_policy(door, parent_of(path)));
  return encoding_attribute(above.policy().encoding()) !=
         encoding_attribute(present.policy().encoding());
}

std::unexpected<Failure> refuse_to_go_back(const std::string& what, const std::string& path) {
  return failure(
      {.code = Code::kRefusedForSafety,
       .what = what,
       .why = "Encoding is on for '" + path + "': a directory does not go back to replication",
       .state = {},
       .next = "Other encodings are taken. To go back all the same, and convert what is there with "
               "-R:  cairn set-attr --convert ..."});
}

std::string summary(const pb::SetPolicyReply& reply) {
  std::string text =
      fmt::format("changed {} {}\n", reply.changed(),
                  reply.changed() == 1 ? "file or directory" : "files and directories");
  if (reply.converting() == 0) return text;
  return text + fmt::format(
                    "{} with data {} converted in the background, in use or not\n"
                    "See how far that is:  cairn stat\n"
                    "Pause it:             cairn set-config mds.convert.workers=0\n",
                    reply.converting() == 1 ? std::string("1 file")
                                            : fmt::format("{} files", reply.converting()),
                    reply.converting() == 1 ? "is" : "are");
}

// Until no file waits any more, of this command or another.
Result<pb::ConversionStat> follow(const SetAttr& options, const MdsDoor& door) {
  Duration poll = kPollFirst;
  for (;;) {
    TRY(const pb::StatReply stat,
        ask<pb::StatReply>(door, "/cairn.pb.Admin/Stat", pb::StatRequest()));
    const pb::ConversionStat& now = stat.conversions();
    if (now.waiting() == 0 || now.paused()) return now;
    if (options.on_progress) options.on_progress(conversion_progress(now));
    pause(poll);
    poll = std::min<Duration>(poll * 2, kPollMost);
  }
}

Outcome<Output> wait_for(const SetAttr& options, const MdsDoor& door, Output output) {
  const Result<pb::ConversionStat> end = follow(options, door);
  if (options.on_progress) options.on_progress("");
  if (!end.has_value()) {
    return failure("cannot follow the conversion", end.error(),
                   "The attributes are set, and the conversion goes on without this command",
                   "Look again:  cairn stat");
  }
  if (end->waiting() == 0) {
    output.text += "no file waits for conversion any more\n";
    return output;
  }
  output.exit_code = kExitPartly;
  output.warnings.push_back(
      fmt::format("conversion is paused (mds.convert.workers=0): {} files wait", end->waiting()));
  return output;
}

}  // namespace

Outcome<Output> set_attr(const Globals& globals, const SetAttr& options) {
  std::string what = "cannot set the attributes";
  const auto arguments = split_arguments(options.words, options.from_root);
  if (!arguments.has_value()) return failure(what, arguments.error());
  what += " of '" + arguments->path + "'";
  auto request = parse_attributes(arguments->attributes);
  if (!request.has_value()) return failure(what, request.error());
  const Outcome<PathInCluster> target =
      choose_path(globals, arguments->path, options.from_root, what);
  if (!target.has_value()) return std::unexpected(target.error());
  const Outcome<MdsDoor> door = open_door(globals, target->cluster, what);
  if (!door.has_value()) return std::unexpected(door.error());

  request->mutable_target()->set_path(target->path);
  request->set_recursive(options.recursive);
  request->set_keep_data(options.keep_data);
  if (!options.keep_data && !options.convert) {
    const Result<bool> back = goes_back(*door, *request);
    if (!back.has_value()) return failure(what, back.error());
    if (*back) return refuse_to_go_back(what, arguments->path);
  }
  const auto reply = ask<pb::SetPolicyReply>(*door, kMethod, *request);
  if (!reply.has_value()) return failure(what, reply.error());

  Output output;
  output.warnings.assign(reply->warnings().begin(), reply->warnings().end());
  if (reply->keep_layout() != 0) {
    output.warnings.push_back(fmt::format(
        "{} files have data already and keep their present encoding; new files get the new one",
        reply->keep_layout()));
  }
  output.text = summary(*reply);
  if (!options.wait || reply->converting() == 0) return output;
  return wait_for(options, *door, std::move(output));
}

}  // namespace cairn::admin
