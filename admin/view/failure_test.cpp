#include "admin/view/failure.h"

#include <gtest/gtest.h>

#include "admin/view/code_help.h"

namespace cairn::admin {
namespace {

TEST(Failure, SaysWhatWhyStateAndNext) {
  EXPECT_EQ(to_text({.code = Code::kNotAuthenticated,
                     .what = "cannot add a chunk server",
                     .why = "The MDS refused the password",
                     .state = {},
                     .next = "Type it again:  cairn auth-node"}),
            "error CAIRN-304: cannot add a chunk server.\n"
            "  The MDS refused the password.\n"
            "  Nothing was changed.\n"
            "  Type it again:  cairn auth-node\n");
}

TEST(Failure, TakesTheNextStepFromTheCodeWhenNoneIsGiven) {
  const auto made = failure("cannot see it", Error(Code::kOverloaded));
  EXPECT_EQ(to_text(made.error()),
            "error CAIRN-502: cannot see it.\n"
            "  overloaded.\n"
            "  Nothing was changed.\n"
            "  Repeat a little later.\n");
}

TEST(Failure, ATimeoutDoesNotClaimThatNothingChanged) {
  const auto made = failure("cannot set it", Error(Code::kTimeout, "no answer in 15 s"));
  EXPECT_NE(to_text(made.error()).find("It may have been done all the same."), std::string::npos);
  EXPECT_EQ(to_text(made.error()).find("Nothing was changed"), std::string::npos);
}

TEST(Failure, WithoutAMajorityItSaysWhatStillWorks) {
  const auto made = failure("cannot set it", Error(Code::kNoMajority, "2 of 3 MDS are down"));
  EXPECT_EQ(to_text(made.error()),
            "error CAIRN-307: cannot set it.\n"
            "  2 of 3 MDS are down.\n"
            "  Nothing was changed; mounts go on with what they hold leases for, and wait for the "
            "rest.\n"
            "  Start cairn-mdsd on the servers that are down (cairn list-services -M there), until "
            "more than half of all MDS run.\n");
}

TEST(Failure, ExitCodesAreThoseOfTheTable) {
  struct Case {
    Code code;
    int exit;
  };
  const Case cases[] = {
      {Code::kInternal, 1},        {Code::kUnsupported, 1}, {Code::kNotEmpty, 1},
      {Code::kInvalidArgument, 2}, {Code::kNotFound, 3},    {Code::kRefusedForSafety, 4},
      {Code::kUnavailable, 5},     {Code::kNoMajority, 5},  {Code::kNotAuthenticated, 6},
      {Code::kAccessDenied, 6},    {Code::kTimeout, 7},     {Code::kCancelled, 130},
  };
  for (const Case& c : cases) EXPECT_EQ(exit_code(c.code), c.exit) << code_name(c.code);
}

TEST(CodeHelp, EveryKnownCodeHasAPage) {
  int known = 0;
  for (unsigned raw = 0; raw < 1000; ++raw) {
    if (!is_known_code(raw)) continue;
    ++known;
    const CodeHelp* help = find_code_help(static_cast<Code>(raw));
    ASSERT_NE(help, nullptr) << raw;
    EXPECT_FALSE(help->meaning.empty());
    EXPECT_FALSE(help->next.empty());
  }
  EXPECT_GT(known, 40);
}

TEST(CodeHelp, LabelsAreReadInEverySpelling) {
  for (const char* text : {"CAIRN-305", "cairn-305", "305"}) {
    EXPECT_EQ(parse_code_label(text), Code::kWrongCluster) << text;
  }
  for (const char* text : {"", "CAIRN-", "CAIRN-9", "305x", "stat"}) {
    EXPECT_EQ(parse_code_label(text), std::nullopt) << text;
  }
  EXPECT_EQ(code_page(*find_code_help(Code::kBusy)).substr(0, 16), "CAIRN-213: busy\n");
}

}  // namespace
}  // namespace cairn::admin
