#include "client/core/master_finder.h"

#include <algorithm>
#include <utility>

#include "common/base/arrival_set.h"
#include "proto/data_plane.pb.h"
#include "proto/mds_client.pb.h"

namespace cairn::client {

namespace {
constexpr Duration kConnectTimeout = 500ms;  // with the handshake
constexpr Duration kAskTimeout = 1s;
constexpr Duration kStagger = 20ms;  // the likely ones first
constexpr Duration kAgainFirst = 100ms;
constexpr Duration kAgainMost = 1s;
}  // namespace

struct MasterFinder::Search {
  Search(runtime::Runtime& runtime, Instant start) : changed(runtime), began(start) {}
  Event changed;
  const Instant began;
  bool over = false;
  ChannelPtr found;
  std::optional<net::Address> pointed_to;
  std::set<net::Address> scouted;
  ArrivalSet<ChannelPtr> channels;  // of scouts at work
};

struct MasterFinder::Scout {
  net::Address to;
  Instant due;       // when it asks next
  Instant earliest;  // when it may ask, pointed to or not
  ChannelPtr channel;
};

MasterFinder::MasterFinder(runtime::Runtime& runtime, net::Network& network,
                           net::Credentials credentials, MasterList& list, Hooks hooks)
    : runtime_(runtime),
      network_(network),
      credentials_(std::move(credentials)),
      list_(list),
      hooks_(std::move(hooks)),
      tasks_(runtime) {}

MasterFinder::~MasterFinder() = default;

void MasterFinder::wake() {
  if (search_ != nullptr) search_->changed.notify_all();
}

Task<void> MasterFinder::stop() {
  stopping_ = true;
  wake();
  co_await tasks_.join();
}

Task<MasterFinder::ChannelPtr> MasterFinder::find(std::function<bool()> wanted) {
  CHECK(search_ == nullptr);
  const auto search = std::make_shared<Search>(runtime_, runtime_.now());
  search_ = search;
  Duration delay{};
  for (const net::Address& address : list_.all()) {
    send_scout(search, address, runtime_.after(delay));
    delay += kStagger;
  }
  while (search->found == nullptr && !stopping_ && wanted()) {
    co_await search->changed.wait_until(Instant::infinite());
  }
  search->over = true;
  for (const ChannelPtr& channel : search->channels) {
    if (channel != search->found) channel->close();
  }
  search->changed.notify_all();
  search_.reset();
  co_return search->found;
}

void MasterFinder::send_scout(const std::shared_ptr<Search>& search, const net::Address& to,
                              Instant start) {
  if (search->scouted.size() >= kScoutsMax || !search->scouted.insert(to).second) return;
  tasks_.spawn(run_scout(this, search, to, start));
}

// Often at first: an election takes a second or two and the budget of a failover is three.
Instant MasterFinder::next_turn(const Search& search) {
  const Duration waited = runtime_.now() - search.began;
  const Duration pause = std::clamp<Duration>(waited / 10, kAgainFirst, kAgainMost);
  const auto half = static_cast<std::uint64_t>(pause.count() / 2);
  return runtime_.after(Duration(static_cast<std::int64_t>(half + runtime_.random() % half)));
}

Task<void> MasterFinder::wait_turn(runtime::Runtime* runtime, Search* search, Scout* scout) {
  while (!search->over) {
    const bool pointed_to = search->pointed_to == scout->to;
    const Instant until = pointed_to ? std::min(scout->due, scout->earliest) : scout->due;
    if (runtime->now() >= until) break;
    co_await search->changed.wait_until(until);
  }
  if (search->pointed_to == scout->to) search->pointed_to.reset();
}

Task<void> MasterFinder::run_scout(MasterFinder* self, std::shared_ptr<Search> search,
                                   net::Address to, Instant start) {
  Scout scout{.to = std::move(to), .due = start, .earliest = self->runtime_.now(), .channel = {}};
  for (;;) {
    co_await wait_turn(&self->runtime_, search.get(), &scout);
    if (search->over) break;
    scout.earliest = self->runtime_.after(kAgainFirst / 2);
    co_await self->ask_once(search.get(), &scout);
    scout.due = self->next_turn(*search);
  }
  const ChannelPtr channel = std::move(scout.channel);
  if (channel != nullptr && channel != search->found) {
    search->channels.erase(channel);
    co_await retire(channel);
  }
}

Task<void> MasterFinder::ask_once(Search* search, Scout* scout) {
  if (scout->channel != nullptr && !scout->channel->is_open()) {
    const ChannelPtr old = std::exchange(scout->channel, nullptr);
    search->channels.erase(old);
    co_await retire(old);
  }
  if (scout->channel == nullptr) {
    Result<ChannelPtr> connected = co_await connect(scout->to);
    if (!connected.has_value()) {
      if (!search->over) hooks_.on_failed(scout->to, connected.error());
      co_return;
    }
    scout->channel = std::move(*connected);
    search->channels.insert(scout->channel);
    if (search->over) co_return;
  }
  const Opinion opinion = co_await ask(scout->channel);
  if (search->over) co_return;
  believe(*search, *scout, opinion);
}

void MasterFinder::believe(Search& search, Scout& scout, const Opinion& opinion) {
  if (opinion.kind == Opinion::Kind::kMaster && scout.channel->is_open()) {
    search.found = scout.channel;
    search.over = true;
    search.changed.notify_all();
    return;
  }
  hooks_.on_failed(scout.to, opinion.error);
  if (opinion.kind != Opinion::Kind::kNotMaster) {
    scout.channel->close();
    return;
  }
  const std::optional<net::Address> master = list_.point_to(opinion.master);
  if (!master.has_value()) return;
  // It became the master after this channel was made, which it made to turn us away.
  if (*master == scout.to) scout.channel->close();
  search.pointed_to = master;
  if (search_.get() == &search) send_scout(search_, *master, runtime_.now());
  search.changed.notify_all();
}

Task<Result<MasterFinder::ChannelPtr>> MasterFinder::connect(net::Address to) {
  const Deadline deadline = runtime_.after(kConnectTimeout);
  Result<std::unique_ptr<net::Channel>> connected = co_await net::connect_channel(
      runtime_, network_, std::move(to), credentials_, hooks_.serve, deadline);
  if (!connected.has_value()) co_return fail(std::move(connected).error());
  const ChannelPtr channel(std::move(*connected));
  channel->on_close(hooks_.on_close);
  co_return channel;
}

// A keep-alive of no session: harmless, answered from memory, and only a master knows that there is
// no such session.
Task<MasterFinder::Opinion> MasterFinder::ask(ChannelPtr channel) {
  pb::ClientRequest request;
  request.mutable_keep_alive();
  net::Payload payload;
  payload.meta = request.SerializeAsString();
  const Deadline deadline = runtime_.after(kAskTimeout);
  const Result<net::Payload> answer =
      co_await channel->call(pb::OP_CLIENT_REQUEST, std::move(payload), deadline);
  Opinion opinion;
  Code code{0};
  if (!answer.has_value()) {
    code = answer.error().code();
    opinion.error = answer.error();
  } else {
    pb::ClientReply reply;
    if (!reply.ParseFromString(answer->meta)) {
      opinion.error = Error(Code::kProtocol, "bad ClientReply");
      co_return opinion;
    }
    code = static_cast<Code>(reply.error().code());
    opinion.master = reply.master();
    opinion.error = Error(code, reply.error().message());
  }
  if (code == Code::kNotMaster) opinion.kind = Opinion::Kind::kNotMaster;
  if (code == Code{0} || code == Code::kSessionGone) opinion.kind = Opinion::Kind::kMaster;
  co_return opinion;
}

Task<void> MasterFinder::retire(ChannelPtr channel) {
  channel->close();
  co_await channel->closed();
}

}  // namespace cairn::client
