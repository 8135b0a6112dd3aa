#include "common/daemon/process_identity.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace cairn::daemon {
namespace {

TEST(ProcessIdentity, KnowsItselfAsAlive) {
  const Result<std::string> self = process_identity();
  ASSERT_TRUE(self.has_value());
  EXPECT_TRUE(process_alive(*self));
}

TEST(ProcessIdentity, AnEndedChildIsDead) {
  int pipe_ends[2];
  ASSERT_EQ(::pipe(pipe_ends), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const std::string name = process_identity().value_or("");
    const bool written = ::write(pipe_ends[1], name.data(), name.size()) > 0;
    ::_exit(written ? 0 : 1);
  }
  std::string name(256, '\0');
  const ssize_t count = ::read(pipe_ends[0], name.data(), name.size());
  ASSERT_GT(count, 0);
  name.resize(static_cast<std::size_t>(count));
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_FALSE(process_alive(name));
  ::close(pipe_ends[0]);
  ::close(pipe_ends[1]);
}

TEST(ProcessIdentity, OtherBootIsDeadOtherNamespaceAndUnknownSpellingLive) {
  const std::string self = process_identity().value();
  const std::size_t space = self.rfind(' ');
  EXPECT_TRUE(process_alive(self.substr(0, space) + " 1"));
  EXPECT_FALSE(process_alive("1 1 00000000-0000-0000-0000-000000000000 1"));
  EXPECT_TRUE(process_alive("something else"));
}

}  // namespace
}  // namespace cairn::daemon
