#include "common/cluster/journal_directory.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace cairn::cluster {
namespace {

class JournalDirectory : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "cairn-journal-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root_ = name;
    place_ = root_ + "/ssd/cs1";
  }
  void TearDown() override { std::filesystem::remove_all(root_); }
  std::string root_;
  std::string place_;
};

JournalOwner owner(std::uint64_t uuid) {
  return {.cluster = "stor1",
          .cs_id = NodeId::from_raw(1025),
          .repo_uuid = uuid,
          .repository = "/cairn/cs1"};
}

TEST_F(JournalDirectory, IsNobodysUntilItIsTaken) {
  EXPECT_FALSE(journal_owner(place_).value().has_value());
  ASSERT_TRUE(take_journal_directory(place_, owner(1)).has_value());
  EXPECT_EQ(journal_owner(place_).value().value(), owner(1));
  // Again: the same, and the words may change.
  EXPECT_TRUE(take_journal_directory(place_, owner(1)).has_value());
  JournalOwner moved = owner(1);
  moved.repository = "/elsewhere/cs1";
  EXPECT_TRUE(take_journal_directory(place_, moved).has_value());
  EXPECT_EQ(journal_owner(place_).value().value(), moved);
}

TEST_F(JournalDirectory, OfAnotherIsRefusedWithItsName) {
  ASSERT_TRUE(take_journal_directory(place_, owner(1)).has_value());
  const Status second = take_journal_directory(place_, owner(2));
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().code(), Code::kBusy);
  EXPECT_NE(second.error().message().find("CS 1025 of cluster 'stor1' (repository /cairn/cs1)"),
            std::string::npos)
      << second.error().message();
  EXPECT_EQ(journal_owner(place_).value().value(), owner(1));
}

TEST_F(JournalDirectory, JournalOfNobodyIsRefused) {
  std::filesystem::create_directories(place_);
  std::ofstream(place_ + "/" + kJournalFile) << "x";
  EXPECT_EQ(take_journal_directory(place_, owner(1)).error().code(), Code::kBusy);
}

TEST_F(JournalDirectory, IsReleasedOnlyByItsOwner) {
  ASSERT_TRUE(take_journal_directory(place_, owner(1)).has_value());
  EXPECT_TRUE(release_journal_directory(place_, 2).has_value());
  EXPECT_TRUE(journal_owner(place_).value().has_value());
  EXPECT_TRUE(release_journal_directory(place_, 1).has_value());
  EXPECT_TRUE(release_journal_directory(place_, 1).has_value());
  EXPECT_TRUE(release_journal_directory(root_ + "/never", 1).has_value());
  EXPECT_TRUE(take_journal_directory(place_, owner(2)).has_value());
}

TEST_F(JournalDirectory, DamagedOwnerIsNobodysToTake) {
  std::filesystem::create_directories(place_);
  for (const char* content : {"", "{}", "[1]", "{\"format\": 1, \"kind\": \"journal-owner\"}",
                              "{\"format\": 9, \"kind\": \"journal-owner\"}"}) {
    std::ofstream(place_ + "/" + kJournalOwnerFile) << content;
    EXPECT_EQ(journal_owner(place_).error().code(), Code::kCorrupt) << content;
    EXPECT_EQ(take_journal_directory(place_, owner(1)).error().code(), Code::kCorrupt) << content;
  }
}

TEST_F(JournalDirectory, OneOfManyAtOnceGetsIt) {
  constexpr int kMany = 8;
  for (int i = 1; i <= kMany; ++i) {
    if (::fork() != 0) continue;
    const Status mine = take_journal_directory(place_, owner(static_cast<std::uint64_t>(i)));
    ::_exit(mine.has_value() ? 1 : 0);
  }
  int winners = 0;
  for (int i = 0; i < kMany; ++i) {
    int status = 0;
    ASSERT_GT(::wait(&status), 0);
    winners += WEXITSTATUS(status);
  }
  EXPECT_EQ(winners, 1);
}

}  // namespace
}  // namespace cairn::cluster
