#include "mds/master/conversions.h"

#include <gtest/gtest.h>

#include "mds/master/master_fixture.h"

namespace cairn::mds::master {
namespace {

using Client = FakeClient;

class ConversionsTest : public MasterTest {
 protected:
  void begin() {
    add_servers(4);
    set_root_encoding(1, 1, 1);
    writer_ = &client("writer");
  }
  // A settled file of one chunk with two replicas.
  std::uint64_t file(const std::string& name) {
    const pb::MakeNodeReply made = writer_->create(name);
    const std::uint64_t id = made.attributes().inode();
    EXPECT_EQ(writer_->mutate(Client::open_chunk(id, made.epoch(), 3))->error().code(), 0U);
    pb::RecallLease back;
    back.set_inode(id);
    back.set_epoch(made.epoch());
    EXPECT_EQ(writer_->mutate(Client::release(back, 5000))->error().code(), 0U);
    return id;
  }
  void queue(std::uint64_t id, unsigned data = 2, unsigned parity = 1) {
    pb::Command command;
    command.mutable_set_policy()->add_inodes(id);
    pb::Encoding* to = command.mutable_set_policy()->mutable_policy()->mutable_encoding();
    to->set_data(data);
    to->set_parity(parity);
    to->set_min(data);
    const pb::CommandReply done = run(std::move(command));
    master_->conversions().queued(done.set_policy().converting());
    runtime_.run_for(10ms);
  }
  std::uint64_t queued_file(const std::string& name) {
    const std::uint64_t id = file(name);
    queue(id);
    return id;
  }
  Client& converter(std::uint32_t cs) {
    clients_.push_back(std::make_unique<Client>(runtime_, group_, network_,
                                                "converter" + std::to_string(clients_.size())));
    Client& made = *clients_.back();
    made.converter = cs;
    made.connect();
    made.open();
    return made;
  }
  static pb::ClientRequest next_request(std::uint64_t inode) {
    pb::ClientRequest request;
    request.mutable_next_conversion()->set_inode(inode);
    return request;
  }
  // What it is told: 0 for nothing.
  static std::uint64_t ask(Client& c, pb::ClientRequest request) {
    const Answer answer = c.call(std::move(request));
    EXPECT_TRUE(answer.has_value()) << answer.error().to_string();
    return answer.has_value() ? answer->next_conversion().inode() : 0;
  }
  static std::uint64_t next(Client& c, std::uint64_t inode = 0) {
    return ask(c, next_request(inode));
  }
  static std::uint64_t failed(Client& c, std::uint64_t inode, Code code, const std::string& why) {
    pb::ClientRequest request = next_request(inode);
    request.mutable_next_conversion()->set_ended(true);
    fill_error(Error(code, why), request.mutable_next_conversion()->mutable_trouble());
    return ask(c, std::move(request));
  }
  static std::uint64_t done(Client& c, std::uint64_t inode) {
    pb::ClientRequest request = next_request(inode);
    request.mutable_next_conversion()->set_ended(true);
    return ask(c, std::move(request));
  }
  static pb::MakeNodeReply make_shadow(Client& c, std::uint64_t id) {
    pb::ClientRequest request;
    request.mutable_make_shadow()->set_inode(id);
    const Answer made = c.mutate(std::move(request));
    EXPECT_TRUE(made.has_value() && made->error().code() == 0) << made->error().message();
    return made->make_node();
  }
  // All steps of one file as a converter does them; the number of the shadow.
  std::uint64_t convert(Client& c, std::uint64_t id) {
    const pb::MakeNodeReply shadow = make_shadow(c, id);
    const std::uint64_t copy = shadow.attributes().inode();
    EXPECT_EQ(c.mutate(Client::open_chunk(copy, shadow.epoch(), 7))->error().code(), 0U);
    pb::RecallLease back;
    back.set_inode(copy);
    back.set_epoch(shadow.epoch());
    EXPECT_EQ(c.mutate(Client::release(back, 5000))->error().code(), 0U);
    const Answer locked = c.call(Client::acquire(id, pb::LEASE_EXCLUSIVE));
    EXPECT_TRUE(locked.has_value());
    pb::ClientRequest swap;
    swap.mutable_swap_data()->set_inode(id);
    swap.mutable_swap_data()->set_epoch(locked->acquire_lease().epoch());
    swap.mutable_swap_data()->set_shadow(copy);
    const Answer swapped = c.mutate(std::move(swap));
    EXPECT_EQ(swapped->error().code(), 0U) << swapped->error().message();
    back.set_inode(id);
    back.set_epoch(locked->acquire_lease().epoch());
    EXPECT_EQ(c.mutate(Client::release(back))->error().code(), 0U);
    return copy;
  }
  static void unpin(Client& c, std::uint64_t id) {
    pb::ClientRequest request;
    request.mutable_unpin()->add_inodes()->set_inode(id);
    request.mutable_unpin()->mutable_inodes(0)->set_pins(1);
    EXPECT_TRUE(c.call(std::move(request)).has_value());
  }
  bool exists(std::uint64_t id) {
    return state::queries::inode(tables_, InodeId::from_raw(id)).has_value();
  }
  void set_workers(unsigned count) {
    pb::Command command;
    pb::Setting* setting = command.mutable_set_config()->add_settings();
    setting->set_name("mds.convert.workers");
    setting->set_value(std::to_string(count));
    run(std::move(command));
  }
  pb::ConversionStat stat() { return master_->conversions().stat().value(); }
  std::size_t events_with(const std::string& words) {
    const auto events = state::queries::last_events(tables_, 1000).value();
    return static_cast<std::size_t>(std::ranges::count_if(events, [&](const pb::Event& event) {
      return event.message().find(words) != std::string::npos;
    }));
  }
  // So that no session of theirs ends.
  void run_for(Duration time, std::initializer_list<Client*> alive) {
    const Instant end = runtime_.now() + time;
    while (runtime_.now() < end) {
      runtime_.run_for(std::min<Duration>(1s, end - runtime_.now()));
      pb::ClientRequest request;
      request.mutable_keep_alive();
      for (Client* c : alive) EXPECT_TRUE(c->call(request).has_value());
    }
  }
  void restart_master() {
    stop();
    for (const auto& each : clients_) each->disconnect();
    start();
    register_servers();
  }
  static void come_back(Client& c, std::uint64_t pinned = 0) {
    c.connect();
    EXPECT_TRUE(c.open(c.session).reclaim());
    pb::ClientRequest request;
    request.mutable_reclaim();
    if (pinned != 0) {
      request.mutable_reclaim()->add_held()->set_inode(pinned);
      request.mutable_reclaim()->mutable_held(0)->set_pins(1);
    }
    EXPECT_TRUE(c.call(std::move(request)).has_value());
  }

  Client* writer_ = nullptr;
};

TEST_F(ConversionsTest, OnlySessionsOfConvertersGetFiles) {
  begin();
  queued_file("x");
  const Answer answer = writer_->call(next_request(0));
  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(answer.error().code(), Code::kNotPermitted);
}

TEST_F(ConversionsTest, AFileIsConvertedAndItsOldDataRemoved) {
  begin();
  const std::uint64_t id = queued_file("x");
  EXPECT_EQ(stat().waiting(), 1U);
  Client& c = converter(1025);
  pb::ClientRequest ask_first = next_request(0);
  const Answer given = c.call(ask_first);
  ASSERT_TRUE(given.has_value());
  EXPECT_EQ(given->next_conversion().inode(), id);
  EXPECT_EQ(given->next_conversion().encoding().data(), 2U);
  pb::ClientRequest going = next_request(id);
  going.mutable_next_conversion()->set_bytes_done(1000);
  going.mutable_next_conversion()->set_bytes_total(5000);
  EXPECT_EQ(ask(c, going), id);
  const pb::ConversionStat during = stat();
  EXPECT_EQ(during.under_way(), 1U);
  ASSERT_EQ(during.files_size(), 1);
  EXPECT_EQ(during.files(0).worker(), "CS#1025");
  EXPECT_EQ(during.files(0).bytes_done(), 1000U);

  const std::uint64_t shadow = convert(c, id);
  EXPECT_EQ(stat().converted(), 1U);
  EXPECT_EQ(stat().waiting(), 0U);
  EXPECT_EQ(inode(id).layout().encoding().data(), 2U);
  EXPECT_EQ(inode(id).attributes().size(), 5000U);
  run_for(3s, {&c, writer_});
  EXPECT_TRUE(exists(shadow)) << "its converter has it pinned";
  EXPECT_EQ(next(c, id), id) << "it still cleans up";
  unpin(c, shadow);
  EXPECT_EQ(done(c, id), 0U);
  run_for(3s, {&c, writer_});
  EXPECT_FALSE(exists(shadow));
  EXPECT_EQ(stat().converted(), 1U);
  EXPECT_EQ(stat().bytes_converted(), 5000U);
  EXPECT_EQ(events_with("1 file with 0.0 MiB converted"), 1U);
}

TEST_F(ConversionsTest, AShadowIsNotPurgedBeforeItsConverterHasThePin) {
  begin();
  const std::uint64_t id = queued_file("x");
  Client& c = converter(1025);
  ASSERT_EQ(next(c), id);
  // Something to purge all the time, so that the purger looks at every turn.
  for (int i = 0; i < 20; ++i) {
    const std::uint64_t gone = writer_->create("gone").attributes().inode();
    unpin(*writer_, gone);
    pb::ClientRequest unlink;
    unlink.mutable_unlink()->set_parent(1);
    unlink.mutable_unlink()->set_name("gone");
    ASSERT_EQ(writer_->mutate(unlink)->error().code(), 0U);
    const std::uint64_t shadow = make_shadow(c, id).attributes().inode();
    run_for(1s, {&c, writer_});
    ASSERT_TRUE(exists(shadow));
    ASSERT_FALSE(exists(gone));
  }
}

TEST_F(ConversionsTest, AsManyFilesAtATimeAsThereShallBeWorkers) {
  begin();
  const std::uint64_t first = queued_file("1");
  runtime_.run_for(1s);
  const std::uint64_t second = queued_file("2");
  runtime_.run_for(1s);
  const std::uint64_t third = queued_file("3");
  Client& a = converter(1025);
  Client& b = converter(1026);
  Client& c = converter(1027);
  EXPECT_EQ(next(a), first);
  EXPECT_EQ(next(b), second);
  EXPECT_EQ(next(c), 0U);
  set_workers(3);
  EXPECT_EQ(next(c), third);
  set_workers(1);
  EXPECT_EQ(next(a, first), first);
  EXPECT_EQ(next(b, second), 0U);
  EXPECT_EQ(next(c, third), 0U);
  EXPECT_EQ(stat().under_way(), 1U);
  EXPECT_EQ(stat().waiting(), 3U);
}

TEST_F(ConversionsTest, WhatWasTakenBackIsNotExchangedAnyMore) {
  begin();
  const std::uint64_t id = queued_file("x");
  Client& c = converter(1025);
  ASSERT_EQ(next(c), id);
  set_workers(0);
  ASSERT_EQ(next(c, id), 0U);
  pb::ClientRequest swap;
  swap.mutable_swap_data()->set_inode(id);
  const Answer refused = c.mutate(swap);
  ASSERT_TRUE(refused.has_value());
  EXPECT_EQ(refused->error().code(), static_cast<std::uint32_t>(Code::kBusy));
  EXPECT_NE(refused->error().message().find("called off"), std::string::npos);
  EXPECT_EQ(stat().waiting(), 1U);
  EXPECT_EQ(inode(id).layout().encoding().data(), 1U);
}

TEST_F(ConversionsTest, APauseThatComesDuringTheExchangeComesTooLate) {
  begin();
  const std::uint64_t id = queued_file("x");
  Client& c = converter(1025);
  ASSERT_EQ(next(c), id);
  const pb::MakeNodeReply shadow = make_shadow(c, id);
  const std::uint64_t copy = shadow.attributes().inode();
  ASSERT_EQ(c.mutate(Client::open_chunk(copy, shadow.epoch(), 7))->error().code(), 0U);
  pb::RecallLease back;
  back.set_inode(copy);
  back.set_epoch(shadow.epoch());
  ASSERT_EQ(c.mutate(Client::release(back, 5000))->error().code(), 0U);
  const Answer locked = c.call(Client::acquire(id, pb::LEASE_EXCLUSIVE));
  set_workers(0);
  pb::ClientRequest swap;
  swap.mutable_swap_data()->set_inode(id);
  swap.mutable_swap_data()->set_epoch(locked->acquire_lease().epoch());
  swap.mutable_swap_data()->set_shadow(copy);
  Outcome<Answer> swapping = c.begin_mutation(swap);
  EXPECT_EQ(next(c, id), id);
  const Answer swapped = c.finish(swapping);
  ASSERT_TRUE(swapped.has_value());
  EXPECT_EQ(swapped->error().code(), 0U) << swapped->error().message();
  EXPECT_EQ(stat().converted(), 1U);
  EXPECT_EQ(stat().waiting(), 0U);
  // The same request again, as after a lost answer.
  --c.seq;
  EXPECT_EQ(c.mutate(swap)->error().code(), 0U);
  EXPECT_EQ(stat().converted(), 1U);
}

TEST_F(ConversionsTest, ARefusedExchangeLeavesTheFileToBeTriedAgain) {
  begin();
  const std::uint64_t id = queued_file("x");
  Client& c = converter(1025);
  ASSERT_EQ(next(c), id);
  pb::ClientRequest swap;
  swap.mutable_swap_data()->set_inode(id);
  EXPECT_NE(c.mutate(swap)->error().code(), 0U) << "it has no lease, nor a shadow";
  set_workers(0);
  EXPECT_EQ(next(c, id), 0U);
  EXPECT_EQ(stat().converted(), 0U);
}

TEST_F(ConversionsTest, APauseTakesTheFilesBackAndNobodyIsAskedToCome) {
  begin();
  const std::uint64_t id = queued_file("x");
  Client& c = converter(1025);
  ASSERT_EQ(next(c), id);
  set_workers(0);
  EXPECT_TRUE(stat().paused());
  EXPECT_EQ(next(c, id), 0U);
  EXPECT_EQ(next(c), 0U);
  for (std::uint32_t cs = 1025; cs < 1029; ++cs) EXPECT_FALSE(master_->conversions().wants(cs));
  EXPECT_EQ(stat().waiting(), 1U);
  set_workers(2);
  EXPECT_FALSE(stat().paused());
  EXPECT_TRUE(master_->conversions().wants(1025));
  EXPECT_EQ(next(c), id) << "a pause is no failure";
}

TEST_F(ConversionsTest, AFailureIsToldOnceAndTheFileTriedLater) {
  begin();
  const std::uint64_t id = queued_file("x");
  const std::uint64_t other = queued_file("y");
  Client& c = converter(1025);
  ASSERT_EQ(next(c), id);
  EXPECT_EQ(failed(c, id, Code::kNoSpace, "no place for a new chunk"), other);
  ASSERT_EQ(stat().files_size(), 2);
  EXPECT_EQ(stat().files(1).inode(), id);
  EXPECT_EQ(stat().files(1).trouble(), "no place for a new chunk (tried again in 5 s)");
  EXPECT_EQ(stat().waiting(), 2U);
  EXPECT_EQ(failed(c, other, Code::kBusy, "a writer has it"), 0U);
  run_for(4s, {&c, writer_});
  EXPECT_EQ(next(c), 0U);
  run_for(2s, {&c, writer_});
  EXPECT_EQ(next(c), id);
  EXPECT_EQ(failed(c, id, Code::kNoSpace, "no place for a new chunk"), other);
  run_for(3s, {&c, writer_});
  EXPECT_EQ(events_with("cannot be converted to encoding=2+1"), 1U);
  EXPECT_EQ(events_with(std::to_string(id) + " (inode) cannot be converted"), 1U);
}

TEST_F(ConversionsTest, ManyFailuresDoNotFillTheEvents) {
  begin();
  Client& c = converter(1025);
  for (int i = 0; i < 12; ++i) queued_file("x" + std::to_string(i));
  std::uint64_t id = next(c);
  for (int i = 0; i < 12; ++i) {
    ASSERT_NE(id, 0U);
    id = failed(c, id, Code::kNoSpace, "no place for a new chunk");
  }
  run_for(62s, {&c, writer_});
  EXPECT_EQ(events_with("(inode) cannot be converted"), Conversions::kEventsPerMinute);
  EXPECT_EQ(events_with("7 more files cannot be converted"), 1U);
}

TEST_F(ConversionsTest, TheEndOfASessionGivesItsFileBackAndItsShadowIsPurged) {
  begin();
  const std::uint64_t id = queued_file("x");
  Client& lost = converter(1025);
  ASSERT_EQ(next(lost), id);
  const std::uint64_t shadow = make_shadow(lost, id).attributes().inode();
  lost.disconnect();
  Client& c = converter(1026);
  run_for(kConverterLease - 2s, {&c, writer_});
  EXPECT_EQ(next(c), 0U) << "its session lives for a moment";
  EXPECT_TRUE(exists(shadow));
  // And then the pause after a failure.
  run_for(10s, {&c, writer_});
  EXPECT_FALSE(exists(shadow));
  EXPECT_EQ(next(c), id);
  EXPECT_EQ(inode(id).layout().encoding().data(), 1U);
  EXPECT_EQ(events_with("session"), 0U) << "no mount went away";
}

TEST_F(ConversionsTest, AFileThatGetsAnotherAimIsBegunAnew) {
  begin();
  const std::uint64_t id = queued_file("x");
  Client& c = converter(1025);
  ASSERT_EQ(next(c), id);
  queue(id, 3, 1);
  EXPECT_EQ(next(c, id), 0U);
  const Answer given = c.call(next_request(0));
  EXPECT_EQ(given->next_conversion().inode(), id);
  EXPECT_EQ(given->next_conversion().encoding().data(), 3U);
  queue(id, 1, 1);
  EXPECT_EQ(next(c, id), 0U) << "that is what it has";
  EXPECT_EQ(next(c), 0U);
  EXPECT_EQ(stat().waiting(), 0U);
}

TEST_F(ConversionsTest, AFileThatIsRemovedIsNotConverted) {
  begin();
  const std::uint64_t id = queued_file("x");
  Client& c = converter(1025);
  ASSERT_EQ(next(c), id);
  pb::ClientRequest unlink;
  unlink.mutable_unlink()->set_parent(1);
  unlink.mutable_unlink()->set_name("x");
  ASSERT_EQ(writer_->mutate(unlink)->error().code(), 0U);
  unpin(*writer_, id);
  run_for(3s, {&c, writer_});
  EXPECT_FALSE(exists(id));
  EXPECT_EQ(failed(c, id, Code::kNotFound, "there is no such file"), 0U);
  EXPECT_EQ(stat().waiting(), 0U);
  EXPECT_EQ(stat().files_size(), 0);
  run_for(3s, {&c, writer_});
  EXPECT_EQ(events_with("cannot be converted"), 0U);
}

TEST_F(ConversionsTest, ANewMasterLetsConvertersGoOn) {
  begin();
  const std::uint64_t first = queued_file("1");
  runtime_.run_for(1s);
  const std::uint64_t second = queued_file("2");
  Client& a = converter(1025);
  ASSERT_EQ(next(a), first);
  Client& idle = converter(1026);
  const std::uint64_t shadow = make_shadow(a, first).attributes().inode();
  restart_master();
  EXPECT_EQ(stat().waiting(), 2U);
  come_back(*writer_);
  come_back(idle);
  EXPECT_EQ(next(idle), 0U) << "a session of before has not said what it holds";
  come_back(a, shadow);
  EXPECT_EQ(next(idle), 0U) << "it has not said which file it has";
  runtime_.run_for(1s);
  EXPECT_EQ(stat().waiting(), 2U);
  EXPECT_EQ(next(a, first), first);
  EXPECT_EQ(next(idle), second);
  EXPECT_TRUE(exists(shadow));
  EXPECT_EQ(stat().under_way(), 2U);
}

TEST_F(ConversionsTest, ANewMasterWaitsForAnOldConverterOnlyForAWhile) {
  begin();
  const std::uint64_t id = queued_file("x");
  Client& silent = converter(1025);
  ASSERT_EQ(next(silent), id);
  restart_master();
  come_back(*writer_);
  come_back(silent);
  Client& c = converter(1026);
  EXPECT_EQ(next(c), 0U);
  run_for(Conversions::kSettleTime, {&c, writer_, &silent});
  EXPECT_EQ(next(c), id);
  EXPECT_EQ(next(silent, id), 0U) << "somebody else has it now";
}

TEST_F(ConversionsTest, AsksTheChunkServersWithTheLeastToDoToCome) {
  begin();
  for (int i = 0; i < 3; ++i) queued_file("x" + std::to_string(i));
  Conversions& conversions = master_->conversions();
  // 1025 and 1026 are busy.
  for (unsigned i = 0; i < 5; ++i) {
    runtime_.run_for(1s);
    for (std::uint32_t cs = 1025; cs < 1029; ++cs) {
      pb::CsStatistics statistics;
      statistics.set_bytes_written(cs < 1027 ? i * 100_MiB : 0);
      master_->cs_board().heartbeat(cs, statistics, {}, runtime_.now());
    }
  }
  EXPECT_FALSE(conversions.wants(1025));
  EXPECT_FALSE(conversions.wants(1026));
  EXPECT_TRUE(conversions.wants(1027));
  EXPECT_TRUE(conversions.wants(1028));
  EXPECT_FALSE(conversions.wants(1025));
  EXPECT_FALSE(conversions.wants(4711)) << "nobody knows it";
  // 1027 comes, 1028 does not: somebody else is asked.
  Client& c = converter(1027);
  EXPECT_NE(next(c), 0U);
  EXPECT_TRUE(conversions.wants(1027)) << "it goes on";
  for (int i = 0; i < 6; ++i) {
    run_for(1s, {&c, writer_});
    for (std::uint32_t cs = 1025; cs < 1029; ++cs) heartbeat(cs);
  }
  EXPECT_FALSE(conversions.wants(1028));
  EXPECT_TRUE(conversions.wants(1025) || conversions.wants(1026));
}

TEST_F(ConversionsTest, NobodyIsAskedToComeWhenThereIsNothingToDo) {
  begin();
  file("x");
  runtime_.run_for(2s);
  for (std::uint32_t cs = 1025; cs < 1029; ++cs) EXPECT_FALSE(master_->conversions().wants(cs));
  EXPECT_EQ(stat().waiting(), 0U);
}

}  // namespace
}  // namespace cairn::mds::master
