#include "admin/view/cs_state.h"

#include <gtest/gtest.h>

#include "common/base/units.h"

namespace cairn::admin {
namespace {

using Json = cluster::control::Json;

Json journal(bool on, const std::string& directory, ByteCount bytes) {
  return {{"on", on},
          {"directory", directory},
          {"bytes", bytes},
          {"used_bytes", 3_MiB},
          {"backlog_bytes", 2_MiB},
          {"clean", false}};
}

Json a_state() {
  return {{"repository", "/cairn/cs1"},
          {"cluster", "stor1"},
          {"cs_id", 1025U},
          {"pid", 77U},
          {"running", true},
          {"serving", true},
          {"failure", ""},
          {"flag", ""},
          {"checksums", true},
          {"tune", "ssd"},
          {"address", "10.0.0.1:4000"},
          {"journal", journal(true, "/ssd/cs1", 2048_MiB)}};
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(CsState, ServingOneShowsItsJournalAndItsPlace) {
  const std::string text = cs_state_text(a_state());
  EXPECT_TRUE(has(text, "CS 1025 of cluster 'stor1' at /cairn/cs1\n")) << text;
  EXPECT_TRUE(has(text, "serves at 10.0.0.1:4000, process 77\n")) << text;
  EXPECT_TRUE(has(text, "a journal of 2048 MB at /ssd/cs1; 3MB used, 2MB not yet on the drive\n"))
      << text;
  EXPECT_TRUE(has(text, "verified on every read\n")) << text;
  EXPECT_TRUE(has(text, "not checked\n")) << text;
}

TEST(CsState, TroubleStoppedAndOddStatesAreTold) {
  Json state = a_state();
  state["failure"] = "disk failed (403): write: EIO";
  state["flag"] = "H";
  state["checksums"] = false;
  state["flush_check"] = {{"suspicious", true}, {"flushes_per_second", 90'000U}};
  state["journal"]["clean"] = true;
  const std::string text = cs_state_text(state);
  EXPECT_TRUE(has(text, "does not serve (flag H): disk failed (403): write: EIO\n")) << text;
  EXPECT_TRUE(has(text, "make-cs -S")) << text;
  EXPECT_TRUE(has(text, "SUSPICIOUS, 90000 flushes a second")) << text;
  EXPECT_TRUE(has(text, "clean: nothing to commit")) << text;
  state = a_state();
  state["running"] = false;
  EXPECT_TRUE(has(cs_state_text(state), "does not run\n"));
}

TEST(CsState, JournalsHaveOneSpelling) {
  Json state = a_state();
  EXPECT_EQ(cs_journal_text(state), "a journal of 2048 MB at /ssd/cs1");
  EXPECT_TRUE(cs_journal_on(state));
  EXPECT_EQ(cs_journal_directory(state), "/ssd/cs1");
  Json after = state;
  after["journal"] = journal(true, "", 64_MiB);
  EXPECT_EQ(cs_change_text(state, after),
            "CS 1025: a journal of 64 MB in the repository, before a journal of 2048 MB at "
            "/ssd/cs1\n");
  after["journal"]["on"] = false;
  EXPECT_EQ(cs_journal_text(after), "no journal");
  EXPECT_FALSE(cs_journal_on(after));
  EXPECT_EQ(cs_change_text(after, after), "CS 1025: no journal, as before\n");
}

TEST(CsState, AnswersOfOtherVersionsBreakNothing) {
  for (const Json& odd :
       {Json::object(), Json{{"journal", 3}}, Json{{"journal", {{"on", "yes"}, {"bytes", -1}}}},
        Json{{"cs_id", "x"}, {"failure", 7}, {"flush_check", Json::array()}}}) {
    EXPECT_FALSE(cs_state_text(odd).empty());
    EXPECT_FALSE(cs_journal_text(odd).empty());
    EXPECT_FALSE(cs_progress_text(odd).empty());
    EXPECT_FALSE(cs_change_text(odd, odd).empty());
    EXPECT_FALSE(cs_journal_on(odd));
  }
}

}  // namespace
}  // namespace cairn::admin
