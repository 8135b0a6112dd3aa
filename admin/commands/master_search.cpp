#include "admin/commands/master_search.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace cairn::admin {
namespace {

constexpr const char* kHello = "/cairn.pb.Admin/Hello";

bool is_not_here(Code code) { return code == Code::kUnavailable || code == Code::kNotMaster; }

// gRPC's own words end with the system's reason: "...: Connection refused".
std::string reason_of(const Error& error) {
  if (error.code() == Code::kTimeout) return "no answer in time";
  const std::string& words = error.message();
  const std::size_t colon = words.rfind(": ");
  return colon == std::string::npos ? words : words.substr(colon + 2);
}

std::string joined(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : ", ") + part;
  return text;
}

}  // namespace

MasterSearch::MasterSearch(runtime::Runtime& runtime, const std::vector<net::Address>& addresses,
                           MakeCaller make_caller, Options options)
    : runtime_(runtime),
      make_caller_(std::move(make_caller)),
      options_(std::move(options)),
      tasks_(runtime) {
  for (const net::Address& address : addresses) {
    if (member_at(address) == nullptr) add_member(address);
  }
}

Task<void> MasterSearch::close() {
  for (const std::unique_ptr<Member>& member : members_) member->caller.reset();
  co_await tasks_.join();
}

MasterSearch::Member* MasterSearch::member_at(const net::Address& address) {
  const auto it = std::ranges::find_if(
      members_, [&address](const auto& member) { return member->address == address; });
  return it == members_.end() ? nullptr : it->get();
}

MasterSearch::Member* MasterSearch::add_member(const net::Address& address) {
  auto member = std::make_unique<Member>();
  member->address = address;
  member->caller = make_caller_(address);
  members_.push_back(std::move(member));
  return members_.back().get();
}

Task<void> MasterSearch::say_hello(Member* member, Deadline deadline) {
  pb::HelloRequest request;
  request.set_cluster(options_.cluster);
  std::string method = kHello;
  std::string bytes = request.SerializeAsString();
  Result<std::string> answer =
      co_await member->caller->call(std::move(method), std::move(bytes), deadline);
  member->asking = false;
  pb::HelloReply reply;
  if (!answer.has_value() && answer.error().code() == Code::kNotMaster) {
    member->hello = pb::HelloReply();  // it is there, and that is all it says
  } else if (!answer.has_value()) {
    member->hello = fail(std::move(answer).error());
  } else if (!reply.ParseFromString(*answer)) {
    member->hello = fail(Code::kProtocol, "what answers is no MDS");
  } else {
    member->hello = std::move(reply);
  }
  end_round_if_enough(*member);
}

void MasterSearch::end_round_if_enough(const Member& member) {
  if (!round_done_.has_value() || round_done_->is_set()) return;
  bool enough = std::ranges::none_of(members_, [](const auto& m) { return m->asking; });
  if (member.hello.has_value() && enough_ == Enough::kAnyAnswer) enough = true;
  if (member.hello.has_value() && enough_ == Enough::kAMaster) {
    const std::string& master = member.hello->master();
    enough = enough || (!master.empty() && !failed_.contains(master));
  }
  if (enough) round_done_->set({});
}

Task<void> MasterSearch::run_round(Enough enough, Deadline deadline) {
  if (members_.empty()) co_return;
  enough_ = enough;
  round_done_.emplace(runtime_);
  std::vector<Member*> idle;
  // One that still has not answered the round before is not asked twice.
  for (const std::unique_ptr<Member>& member : members_) {
    if (!member->asking) idle.push_back(member.get());
  }
  for (Member* member : idle) member->asking = true;
  for (Member* member : idle) tasks_.spawn(say_hello(member, deadline));
  runtime::Completion<Status> done = *round_done_;
  const std::optional<Status> in_time = co_await done.wait_until(deadline);
  if (in_time.has_value()) co_return;
  for (const std::unique_ptr<Member>& member : members_) {
    if (member->asking) member->hello = fail(Code::kTimeout, "no answer in time");
  }
}

std::vector<MasterSearch::Member*> MasterSearch::candidates() {
  std::vector<Member*> found;
  const auto put = [&found](Member* member) {
    if (std::ranges::find(found, member) == found.end()) found.push_back(member);
  };
  std::vector<std::string> named;
  for (const std::unique_ptr<Member>& member : members_) {
    if (member->hello.has_value()) named.push_back(member->hello->master());
  }
  for (const std::string& name : named) {
    const Result<net::Address> address = net::Address::parse(name);
    if (!address.has_value()) continue;  // it knows none
    Member* member = member_at(*address);
    put(member != nullptr ? member : add_member(*address));
  }
  for (const std::unique_ptr<Member>& member : members_) {
    if (member->hello.has_value()) put(member.get());
  }
  return found;
}

Task<Result<std::string>> MasterSearch::try_candidates(const std::string* method,
                                                       const std::string* request,
                                                       Deadline deadline) {
  Result<std::string> outcome = fail(Code::kNotMaster);
  failed_.clear();
  const std::vector<Member*> list = candidates();
  for (Member* candidate : list) {
    std::string name = *method;
    std::string bytes = *request;
    outcome = co_await candidate->caller->call(std::move(name), std::move(bytes), deadline);
    if (outcome.has_value() || !is_not_here(outcome.error().code())) co_return outcome;
    failed_.insert(candidate->address.to_string());
  }
  co_return fail(Code::kNotMaster);
}

Task<Result<std::string>> MasterSearch::ask(std::string method, std::string request,
                                            Deadline deadline) {
  const Instant began = runtime_.now();
  for (;;) {
    const Deadline hello = std::min(deadline, runtime_.after(options_.hello));
    co_await run_round(Enough::kAMaster, hello);
    Result<std::string> outcome = co_await try_candidates(&method, &request, deadline);
    const bool here = outcome.has_value() || !is_not_here(outcome.error().code());
    if (here) co_return outcome;
    if (answering() == 0) {
      std::optional<Error> refused = refusal();
      if (refused.has_value()) co_return fail(std::move(*refused));
      co_return fail(nobody_answers());
    }
    const Duration patience = most_are_down() ? options_.patience_minority : options_.patience;
    const Deadline end = std::min(deadline, began + patience);
    if (runtime_.now() + options_.pause >= end) co_return fail(nobody_is_master());
    co_await runtime::sleep_for(runtime_, options_.pause);
  }
}

Task<Result<pb::HelloReply>> MasterSearch::greet(Deadline deadline) {
  const Deadline hello = std::min(deadline, runtime_.after(options_.hello));
  co_await run_round(Enough::kAnyAnswer, hello);
  for (const std::unique_ptr<Member>& member : members_) {
    const bool says_who = member->hello.has_value() && member->hello->mds_id() != 0;
    if (says_who) co_return *member->hello;
  }
  if (answering() != 0) co_return fail(nobody_is_master());
  std::optional<Error> refused = refusal();
  if (refused.has_value()) co_return fail(std::move(*refused));
  co_return fail(nobody_answers());
}

std::size_t MasterSearch::answering() const {
  return static_cast<std::size_t>(
      std::ranges::count_if(members_, [](const auto& m) { return m->hello.has_value(); }));
}

std::optional<Error> MasterSearch::refusal() const {
  for (const std::unique_ptr<Member>& member : members_) {
    if (member->hello.has_value()) continue;
    const Code code = member->hello.error().code();
    const bool silent =
        code == Code::kUnavailable || code == Code::kTimeout || code == Code::kConnectionLost;
    if (!silent) return member->hello.error();
  }
  return std::nullopt;
}

bool MasterSearch::most_are_down() const {
  const auto down = std::ranges::count_if(members_, [](const auto& m) {
    return !m->hello.has_value() && m->hello.error().code() == Code::kUnavailable;
  });
  return static_cast<std::size_t>(down) * 2 > members_.size();
}

Error MasterSearch::nobody_answers() const {
  if (members_.empty()) return Error(Code::kUnavailable, "no address of an MDS is known");
  std::vector<std::string> places;
  std::vector<std::string> reasons;
  for (const std::unique_ptr<Member>& member : members_) {
    places.push_back(member->address.to_string());
    reasons.push_back(reason_of(member->hello.error()));
  }
  const bool same = std::ranges::all_of(
      reasons, [&reasons](const std::string& reason) { return reason == reasons.front(); });
  if (same) {
    return Error(Code::kUnavailable,
                 fmt::format("no MDS answers at {} ({})", joined(places), reasons.front()));
  }
  for (std::size_t i = 0; i < places.size(); ++i) places[i] += " (" + reasons[i] + ")";
  return Error(Code::kUnavailable, "no MDS answers at " + joined(places));
}

Error MasterSearch::nobody_is_master() const {
  std::vector<std::string> up;
  std::vector<std::string> down;
  for (const std::unique_ptr<Member>& member : members_) {
    const std::string place = member->address.to_string();
    if (member->hello.has_value()) {
      const std::uint32_t id = member->hello->mds_id();
      up.push_back(id == 0 ? place : fmt::format("MDS#{} at {}", id, place));
    } else {
      down.push_back(fmt::format("{} ({})", place, reason_of(member->hello.error())));
    }
  }
  if (down.empty()) {
    return Error(
        Code::kNoMajority,
        fmt::format("no MDS is the master: {} of {} answer ({}), but have not elected one; "
                    "they may not reach each other",
                    up.size(), members_.size(), joined(up)));
  }
  const bool minority = up.size() * 2 <= members_.size();
  return Error(Code::kNoMajority,
               fmt::format("{} of {} MDS are down: {}. Up: {}, {}", down.size(), members_.size(),
                           joined(down), joined(up),
                           minority ? "which is no majority" : "which have elected no master"));
}

}  // namespace cairn::admin
