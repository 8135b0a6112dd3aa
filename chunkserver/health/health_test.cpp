#include <gtest/gtest.h>

#include "chunkserver/health/timed_offload.h"
#include "chunkserver/health/trouble.h"
#include "chunkserver/health/watch.h"
#include "chunkserver/testing/virtual_loop.h"
#include "common/runtime/asio_runtime.h"

namespace cairn::chunkserver::health {
namespace {

TEST(Trouble, LetterIsThatOfTheGuide) {
  EXPECT_EQ(trouble_letter(Error(Code::kJournalFailed)), 'S');
  EXPECT_EQ(trouble_letter(Error(Code::kTimeout)), 'T');
  for (const Code code : {Code::kDiskFailed, Code::kCorrupt, Code::kReadOnly, Code::kNoSpace}) {
    EXPECT_EQ(trouble_letter(Error(code)), 'H');
  }
  const cluster::Failure failure = failure_of(Error(Code::kDiskFailed, "write: EIO"));
  EXPECT_EQ(failure.letter, 'H');
  EXPECT_NE(failure.text.find("write: EIO"), std::string::npos);
}

TEST(Trouble, FlagsStandInTheOrderOfTheGuideAndOnce) {
  EXPECT_EQ(flags_of({}), "");
  EXPECT_EQ(flags_of({.journal = true, .checks = true, .direct = true, .clean = true}), "JCDc");
  EXPECT_EQ(flags_of({.checks = true, .damaged = true}), "Ch");
  EXPECT_EQ(flags_of({.damaged = true, .drive_errors = true}), "hH");
  EXPECT_EQ(flags_of({.drive_errors = true, .trouble = 'H'}), "H");
  EXPECT_EQ(flags_of({.drive_errors = true, .trouble = 'T'}), "HT");
  EXPECT_EQ(flags_of({.journal = true, .trouble = 'S'}), "JS");
}

struct Watched {
  explicit Watched(testing::VirtualLoop& loop)
      : watch(loop,
              {{.name = "the drive of /cs1", .age = [this] { return drive; }},
               {.name = "the index", .age = [this] { return index; }, .patience = 4}},
              {.on_hang = [this](const Error& error) { hangs.push_back(error); },
               .on_relief = [this] { ++reliefs; }},
              {.limit = 30s, .period = 1s}) {
    watch.start();
  }
  Duration drive = {};
  Duration index = {};
  std::vector<Error> hangs;
  int reliefs = 0;
  Watch watch;
};

TEST(Watch, SaysOnceThatADriveHangsAndWhenItNoLongerDoes) {
  testing::VirtualLoop loop(1);
  Watched watched(loop);
  watched.drive = 30s;
  loop.run_for(5s);
  EXPECT_TRUE(watched.hangs.empty());
  watched.drive = 31s;
  loop.run_for(5s);
  ASSERT_EQ(watched.hangs.size(), 1U);
  EXPECT_EQ(watched.hangs[0].code(), Code::kTimeout);
  EXPECT_NE(watched.hangs[0].message().find("the drive of /cs1 has not answered for 31 s"),
            std::string::npos)
      << watched.hangs[0].message();
  EXPECT_EQ(watched.watch.oldest(), Duration(31s));
  watched.drive = {};
  loop.run_for(5s);
  EXPECT_EQ(watched.reliefs, 1);
  watched.drive = 40s;
  loop.run_for(5s);
  EXPECT_EQ(watched.hangs.size(), 2U);
  loop.run(watched.watch.stop());
}

TEST(Watch, TheIndexMayTakeLonger) {
  testing::VirtualLoop loop(1);
  Watched watched(loop);
  watched.index = 119s;
  loop.run_for(3s);
  EXPECT_TRUE(watched.hangs.empty());
  watched.index = 121s;
  loop.run_for(3s);
  EXPECT_EQ(watched.hangs.size(), 1U);
  loop.run(watched.watch.stop());
}

TEST(Watch, TakesNothingForHungThatWaitedWhileWeWereStopped) {
  testing::VirtualLoop loop(1);
  Watched watched(loop);
  loop.run_for(2s);
  watched.drive = 100s;
  loop.skip(100s);
  loop.run_for(500ms);
  EXPECT_TRUE(watched.hangs.empty());
  watched.drive = {};
  loop.run_for(3s);
  EXPECT_TRUE(watched.hangs.empty());
  watched.drive = 31s;
  loop.run_for(3s);
  EXPECT_EQ(watched.hangs.size(), 1U);
  loop.run(watched.watch.stop());
}

TEST(TimedOffload, KnowsItsOldestJob) {
  runtime::AsioRuntime loop;
  TimedOffload offload(loop, 1);
  struct Body {
    static Task<void> run(TimedOffload* offload, runtime::AsioRuntime* loop) {
      EXPECT_EQ(offload->oldest(), Duration{});
      Duration seen = {};
      runtime::TaskGroup group(*loop);
      io::Offload::Job job = []() -> Status { return fail(Code::kDiskFailed); };
      Task<Status> task = offload->run(std::move(job));
      struct Keep {
        static Task<void> run(Task<Status> task, Code* code) {
          const Status status = co_await task;
          *code = status.error().code();
        }
      };
      Code code = Code::kInternal;
      group.spawn(Keep::run(std::move(task), &code));
      co_await runtime::sleep_for(*loop, 2ms);
      seen = offload->oldest();
      co_await group.join();
      EXPECT_EQ(code, Code::kDiskFailed);
      EXPECT_LE(seen, Duration(10s));
      EXPECT_EQ(offload->oldest(), Duration{});
      loop->stop();
    }
  };
  runtime::TaskGroup group(loop);
  group.spawn(Body::run(&offload, &loop));
  loop.run();
}

}  // namespace
}  // namespace cairn::chunkserver::health
