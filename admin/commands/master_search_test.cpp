#include "admin/commands/master_search.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <utility>

#include "common/runtime/asio_runtime.h"

namespace cairn::admin {
namespace {

// What one MDS of the scene does.
struct Actor {
  enum class Manner { kDown, kHangs, kUp };
  Manner manner = Manner::kUp;
  std::uint32_t id = 0;
  std::string master;            // named in Hello
  Code stat = Code::kNotMaster;  // kInternal: it answers "done by MDS#id"
  int hellos = 0;
  int stats = 0;
  // Called before each answer: how the scene goes on.
  std::function<void(Actor*)> turn;
};
using Scene = std::map<std::string, Actor>;

class FakeCaller final : public rpc::Caller {
 public:
  FakeCaller(runtime::Runtime& runtime, Actor* actor)
      : gone_(std::make_shared<runtime::Completion<Status>>(runtime)), actor_(actor) {}
  // Like a GrpcCaller: what is under way ends.
  ~FakeCaller() override { gone_->set({}); }

  Task<Result<std::string>> call(std::string method, std::string, Deadline deadline) override {
    return answer(actor_, gone_, std::move(method), deadline);
  }

 private:
  static Task<Result<std::string>> answer(Actor* actor,
                                          std::shared_ptr<runtime::Completion<Status>> gone,
                                          std::string method, Deadline deadline) {
    const bool hello = method == "/cairn.pb.Admin/Hello";
    ++(hello ? actor->hellos : actor->stats);
    if (actor->turn) actor->turn(actor);
    if (actor->manner == Actor::Manner::kDown) {
      co_return fail(Code::kUnavailable, "failed to connect: Connection refused");
    }
    if (actor->manner == Actor::Manner::kHangs) {
      const std::optional<Status> cancelled = co_await gone->wait_until(deadline);
      co_return fail(cancelled.has_value() ? Code::kCancelled : Code::kTimeout);
    }
    if (!hello && actor->stat != Code::kInternal) co_return fail(actor->stat, "not me");
    if (!hello) co_return "done by MDS#" + std::to_string(actor->id);
    pb::HelloReply reply;
    reply.set_mds_id(actor->id);
    reply.set_master(actor->master);
    co_return reply.SerializeAsString();
  }

  std::shared_ptr<runtime::Completion<Status>> gone_;
  Actor* actor_;
};

struct Asked {
  Result<std::string> answer = fail(Code::kInternal);
  Duration took{};
};

struct Run {
  Run(Scene* scene, const std::vector<std::string>& list)
      : search(runtime, addresses(list),
               [this, scene](const net::Address& at) -> std::unique_ptr<rpc::Caller> {
                 return std::make_unique<FakeCaller>(runtime, &(*scene)[at.to_string()]);
               },
               {.cluster = "stor1",
                .hello = 500ms,
                .pause = 5ms,
                .patience = 1500ms,
                .patience_minority = 60ms}) {}
  static std::vector<net::Address> addresses(const std::vector<std::string>& list) {
    std::vector<net::Address> all;
    for (const std::string& text : list) all.push_back(net::Address::parse(text).value());
    return all;
  }
  runtime::AsioRuntime runtime;
  MasterSearch search;
  Asked asked;
  Result<pb::HelloReply> hello = fail(Code::kInternal);
};

Task<void> ask_once(Run* run) {
  const Instant began = run->runtime.now();
  const Deadline deadline = began + 3s;
  std::string method = "/cairn.pb.Admin/Stat";
  std::string request = "x";
  Result<std::string> answer =
      co_await run->search.ask(std::move(method), std::move(request), deadline);
  run->asked.answer = std::move(answer);
  run->asked.took = run->runtime.now() - began;
  co_await run->search.close();
  run->runtime.post([run] { run->runtime.stop(); });
}
Task<void> greet_once(Run* run) {
  const Deadline deadline = run->runtime.after(3s);
  Result<pb::HelloReply> hello = co_await run->search.greet(deadline);
  run->hello = std::move(hello);
  co_await run->search.close();
  run->runtime.post([run] { run->runtime.stop(); });
}

Asked ask(Scene* scene, const std::vector<std::string>& list) {
  Run run(scene, list);
  runtime::TaskGroup group(run.runtime);
  run.runtime.post([&] { group.spawn(ask_once(&run)); });
  run.runtime.run();
  return std::move(run.asked);
}
Result<pb::HelloReply> greet(Scene* scene, const std::vector<std::string>& list) {
  Run run(scene, list);
  runtime::TaskGroup group(run.runtime);
  run.runtime.post([&] { group.spawn(greet_once(&run)); });
  run.runtime.run();
  return std::move(run.hello);
}

const std::string kA = "10.0.0.1:2510";
const std::string kB = "10.0.0.2:2510";
const std::string kC = "10.0.0.3:2510";
const std::vector<std::string> kAll = {kA, kB, kC};

Scene three(const std::string& master) {
  Scene scene;
  std::uint32_t id = 0;
  for (const std::string& place : kAll) {
    scene[place].id = ++id;
    scene[place].master = master;
    if (place == master) scene[place].stat = Code::kInternal;
  }
  return scene;
}

TEST(MasterSearch, AsksTheMasterOnlyWhereverItIs) {
  for (const std::string& master : kAll) {
    Scene scene = three(master);
    const Asked asked = ask(&scene, kAll);
    EXPECT_EQ(asked.answer.value(), "done by MDS#" + std::to_string(scene[master].id));
    for (const std::string& place : kAll) EXPECT_EQ(scene[place].stats, place == master ? 1 : 0);
  }
}

TEST(MasterSearch, FollowsAMasterThatIsNotInTheList) {
  Scene scene = three(kC);
  EXPECT_EQ(ask(&scene, {kA}).answer.value(), "done by MDS#3");
}

TEST(MasterSearch, OneThatHangsCostsNothing) {
  Scene scene = three(kB);
  scene[kA].manner = Actor::Manner::kHangs;
  const Asked asked = ask(&scene, kAll);
  EXPECT_EQ(asked.answer.value(), "done by MDS#2");
  EXPECT_LT(asked.took, Duration(450ms));
}

TEST(MasterSearch, AsksWhoAnswersWhenNobodyNamesAMaster) {
  // As a server from before there were groups.
  Scene scene;
  scene[kA].id = 1;
  scene[kA].stat = Code::kInternal;
  EXPECT_EQ(ask(&scene, {kA}).answer.value(), "done by MDS#1");
}

TEST(MasterSearch, RidesOutAnElection) {
  Scene scene = three(kA);
  scene[kA].manner = Actor::Manner::kDown;
  // For a while the others name the dead one, then nobody, then themselves.
  scene[kB].turn = [](Actor* actor) {
    if (actor->hellos == 4) actor->master.clear();
    if (actor->hellos == 8) {
      actor->master = kB;
      actor->stat = Code::kInternal;
    }
  };
  const Asked asked = ask(&scene, kAll);
  EXPECT_EQ(asked.answer.value(), "done by MDS#2");
  EXPECT_EQ(scene[kB].hellos, 8);
}

TEST(MasterSearch, WhatMayHaveBeenDoneIsNotSentAgain) {
  for (const Code code : {Code::kConnectionLost, Code::kTimeout, Code::kRefusedForSafety}) {
    Scene scene = three(kA);
    scene[kA].stat = code;
    EXPECT_EQ(ask(&scene, kAll).answer.error().code(), code);
    EXPECT_EQ(scene[kA].stats + scene[kB].stats + scene[kC].stats, 1);
  }
}

TEST(MasterSearch, SaysThatNobodyAnswersAtOnce) {
  Scene scene = three("");
  for (auto& [place, actor] : scene) actor.manner = Actor::Manner::kDown;
  Asked asked = ask(&scene, kAll);
  EXPECT_EQ(asked.answer.error().code(), Code::kUnavailable);
  EXPECT_EQ(asked.answer.error().message(),
            "no MDS answers at 10.0.0.1:2510, 10.0.0.2:2510, 10.0.0.3:2510 (Connection refused)");
  for (const std::string& place : kAll) EXPECT_EQ(scene[place].hellos, 1);
  scene[kB].manner = Actor::Manner::kHangs;
  asked = ask(&scene, {kA, kB});
  EXPECT_EQ(asked.answer.error().message(),
            "no MDS answers at 10.0.0.1:2510 (Connection refused), 10.0.0.2:2510 (no answer in "
            "time)");
}

TEST(MasterSearch, NamesThoseThatAreDownWithoutAMajority) {
  Scene scene = three("");
  scene[kB].manner = Actor::Manner::kDown;
  scene[kC].manner = Actor::Manner::kDown;
  const Asked asked = ask(&scene, kAll);
  ASSERT_FALSE(asked.answer.has_value());
  EXPECT_EQ(asked.answer.error().code(), Code::kNoMajority);
  EXPECT_EQ(asked.answer.error().message(),
            "2 of 3 MDS are down: 10.0.0.2:2510 (Connection refused), 10.0.0.3:2510 (Connection "
            "refused). Up: MDS#1 at 10.0.0.1:2510, which is no majority");
  // No election can come of it: not the whole patience.
  EXPECT_LT(asked.took, Duration(1400ms));
}

TEST(MasterSearch, SaysWhenAllAnswerAndNoneIsElected) {
  Scene scene = three("");
  const Asked asked = ask(&scene, kAll);
  ASSERT_FALSE(asked.answer.has_value());
  EXPECT_EQ(asked.answer.error().code(), Code::kNoMajority);
  EXPECT_NE(asked.answer.error().message().find("3 of 3 answer"), std::string::npos)
      << asked.answer.error().message();
  EXPECT_GT(asked.took, Duration(1400ms));
}

TEST(MasterSearch, GreetsWhoeverAnswersFirst) {
  Scene scene = three("");
  scene[kA].manner = Actor::Manner::kDown;
  scene[kB].manner = Actor::Manner::kHangs;
  const Result<pb::HelloReply> hello = greet(&scene, kAll);
  ASSERT_TRUE(hello.has_value()) << hello.error().to_string();
  EXPECT_EQ(hello->mds_id(), 3U);
  scene[kC].manner = Actor::Manner::kDown;
  EXPECT_EQ(greet(&scene, kAll).error().code(), Code::kUnavailable);
}

}  // namespace
}  // namespace cairn::admin
