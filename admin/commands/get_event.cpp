#include "admin/commands/commands.h"
#include "admin/commands/mds_door.h"
#include "admin/commands/which_cluster.h"
#include "admin/view/stat_json.h"
#include "admin/view/stat_text.h"

namespace cairn::admin {
namespace {

constexpr std::uint32_t kPageEvents = 1000;
constexpr const char* kWhat = "cannot show the events";

Result<pb::EventsReply> ask_page(const MdsDoor& door, std::uint64_t after, std::uint32_t limit) {
  pb::EventsRequest request;
  request.set_after(after);
  request.set_limit(limit);
  return ask<pb::EventsReply>(door, "/cairn.pb.Admin/Events", request);
}

// The last `count` of all: the MDS gives them oldest first.
Result<pb::EventsReply> ask_newest(const MdsDoor& door, std::uint32_t count) {
  pb::EventsReply newest;
  std::uint64_t after = 0;
  while (true) {
    TRY(const pb::EventsReply page, ask_page(door, after, kPageEvents));
    newest.mutable_events()->MergeFrom(page.events());
    const int surplus = newest.events_size() - static_cast<int>(count);
    if (surplus > 0) newest.mutable_events()->DeleteSubrange(0, surplus);
    if (page.events().empty() || page.events().rbegin()->id() <= after) return newest;
    after = page.events().rbegin()->id();
  }
}

}  // namespace

Outcome<Output> get_event(const Globals& globals, const GetEvent& options) {
  const Outcome<std::string> cluster = choose_cluster(globals, kWhat);
  if (!cluster.has_value()) return std::unexpected(cluster.error());
  const Outcome<MdsDoor> door = open_door(globals, *cluster, kWhat);
  if (!door.has_value()) return std::unexpected(door.error());
  const auto reply = options.after == 0 ? ask_newest(*door, options.count)
                                        : ask_page(*door, options.after, options.count);
  if (!reply.has_value()) return failure(kWhat, reply.error());
  return Output{.text = globals.json ? events_json(reply->events()) : events_text(reply->events()),
                .warnings = {}};
}

}  // namespace cairn::admin
