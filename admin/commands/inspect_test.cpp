// cairn inspect as the command does it: answers of both kinds, files that are written, refusals.
#include "admin/commands/inspect.h"

#include <signal.h>

#include <nlohmann/json.hpp>

#include "chunkserver/inspect/chunk_fixture.h"

namespace cairn::admin {
namespace {

namespace inspect_cs = chunkserver::inspect;
namespace testing_cs = chunkserver::testing;
using inspect_cs::ChunkWorld;
using inspect_cs::contents_of;
using inspect_cs::LiveStore;
using inspect_cs::TemporaryDirectory;
using nlohmann::json;

constexpr PieceId kPiece{ChunkId::from_raw(7), PieceIndex(1)};

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

Output run(const Inspect& options, bool as_json = false) {
  Globals globals;
  globals.json = as_json;
  Outcome<Output> output = inspect(globals, options);
  EXPECT_TRUE(output.has_value()) << to_text(output.error());
  return output.has_value() ? std::move(*output) : Output();
}
Failure refusal(const Inspect& options) {
  const Outcome<Output> output = inspect(Globals(), options);
  EXPECT_FALSE(output.has_value());
  return output.has_value() ? Failure() : output.error();
}

// A repository that was killed: one settled block, one op that nobody decided.
class InspectCommand : public testing::Test {
 protected:
  InspectCommand() {
    LiveStore live(temp_ / "live");
    put(live, {kPiece, 1, {{3, 1}}, {11}});
    live.settle(kPiece, testing_cs::op_id(1, 2));
    put(live, {kPiece, 2, {{5, 2}}, {12, 13}});
    put(live, {testing_cs::piece_id(8), 1, {{0, 1}}, {14}});
    live.leave(temp_ / "cs");
    options_.repositories = {temp_ / "cs"};
  }
  struct Put {
    PieceId piece;
    std::uint64_t seq;
    std::vector<chunkserver::store::BlockRange> blocks;
    std::vector<std::uint64_t> values;
  };
  static void put(LiveStore& live, Put op) {
    testing_cs::MadePrepare made = testing_cs::make_prepare(
        op.piece, 1, testing_cs::op_id(1, op.seq), std::move(op.blocks), std::move(op.values));
    made.request.facts = {.generator = 1,
                          .data = 4,
                          .parity = 2,
                          .cell_bytes = 1 << 20,
                          .inode = 42,
                          .chunk_index = 9};
    EXPECT_TRUE(live.put(std::move(made)).has_value());
  }
  static std::string block(std::uint64_t value) {
    Buffer bytes = Buffer::allocate(kBlockBytes);
    testing_cs::fill_block(bytes.span(), value);
    return std::string(as_text(bytes.span()));
  }
  // Where block 3 of kPiece lies.
  std::uint64_t disk_block() {
    Inspect one = options_;
    one.pieces = {"7.1"};
    return json::parse(run(one, true).text)["chosen"][0]["stored"][0]["disk"];
  }
  void damage() {
    const std::uint64_t at = disk_block() * kBlockBytes;
    { LiveStore(temp_ / "cs").close(); }  // brings it home
    std::fstream file(temp_ / "cs/data", std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>(at));
    file.write("damaged", 7);
  }

  TemporaryDirectory temp_;
  Inspect options_;
};

TEST_F(InspectCommand, TellsEverythingInTextAndJson) {
  options_.list_journal = options_.list_pieces = options_.check = true;
  const auto before = contents_of(temp_.path());
  const Output text = run(options_);
  EXPECT_EQ(text.exit_code, 0);
  for (const char* part : {"CS 1025 of cluster 'stor1'", "batch ", "prepare v1 op 1.2", "\n7.1 ",
                           "2 pieces, 4 blocks read, 0 damaged"}) {
    EXPECT_NE(text.text.find(part), std::string::npos) << part << "\n" << text.text;
  }
  const json all = json::parse(run(options_, true).text);
  EXPECT_EQ(all["schema"], 1);
  EXPECT_EQ(all["repository"]["cs"], 1025);
  EXPECT_EQ(all["repository"]["journal"]["bytes_only_here"], 4 * kBlockBytes);
  EXPECT_GE(all["batches"].size(), 3U);
  ASSERT_EQ(all["pieces"].size(), 2U);
  EXPECT_EQ(all["pieces"][0]["piece"], "7.1");
  EXPECT_EQ(all["pieces"][0]["inode"], 42);
  EXPECT_EQ(all["pieces"][0]["undecided_ops"], 1);
  EXPECT_EQ(all["pieces"][0]["ops"][0]["seq"], 2);
  EXPECT_EQ(all["checked"]["blocks"], 4);
  EXPECT_EQ(all["findings"], json::array());
  EXPECT_EQ(contents_of(temp_.path()), before);
}

TEST_F(InspectCommand, PrintsAsItGoesAndStopsWhenNobodyTakesIt) {
  options_.list_pieces = true;
  std::string printed;
  options_.print = [&printed](const std::string& text) {
    printed += text;
    return true;
  };
  EXPECT_EQ(run(options_).text, "");
  EXPECT_NE(printed.find("7.1"), std::string::npos);
  options_.print = [](const std::string&) { return false; };
  EXPECT_EQ(refusal(options_).code, Code::kDiskFailed);
}

TEST_F(InspectCommand, ADamagedBlockIsNamedAndTheOthersAreExtracted) {
  damage();
  options_.check = true;
  const Output text = run(options_);
  EXPECT_EQ(text.exit_code, 1);
  EXPECT_NE(text.text.find("piece 7.1: 1 blocks cannot be had (3): disk block"), std::string::npos)
      << text.text;
  options_.extract = temp_ / "out";
  const json all = json::parse(run(options_, true).text);
  EXPECT_EQ(all["findings"][0]["piece"], "7.1");
  EXPECT_EQ(all["findings"][0]["blocks"], json::parse(R"([{"first": 3, "count": 1}])"));
  EXPECT_EQ(read_file(temp_ / "out/7.1.data"),
            std::string(5 * kBlockBytes, '\0') + block(12) + block(13));
  const json facts = json::parse(read_file(temp_ / "out/7.1.json"));
  EXPECT_EQ(facts["missing_blocks"], 1);
  EXPECT_EQ(facts["missing"], json::parse(R"([{"first": 3, "count": 1}])"));
}

TEST_F(InspectCommand, ExtractsPiecesWithTheirFactsAndOverwritesNothing) {
  options_.extract = temp_ / "out";
  options_.pieces = {"7.1"};
  run(options_);
  EXPECT_EQ(read_file(temp_ / "out/7.1.data"), std::string(3 * kBlockBytes, '\0') + block(11) +
                                                   std::string(kBlockBytes, '\0') + block(12) +
                                                   block(13));
  const json facts = json::parse(read_file(temp_ / "out/7.1.json"));
  EXPECT_EQ(facts["inode"], 42);
  EXPECT_EQ(facts["chunk_index"], 9);
  EXPECT_EQ(facts["data"], 4);
  EXPECT_EQ(facts["undecided_ops"], 1);
  EXPECT_EQ(facts["missing_blocks"], 0);

  const auto before = contents_of(temp_ / "out");
  options_.pieces.clear();
  const Failure again = refusal(options_);
  EXPECT_EQ(again.code, Code::kExists);
  EXPECT_NE(to_text(again).find("--resume"), std::string::npos) << to_text(again);
  EXPECT_EQ(contents_of(temp_ / "out"), before);

  options_.resume = true;
  const Output rest = run(options_);
  EXPECT_NE(rest.text.find("1 pieces extracted"), std::string::npos) << rest.text;
  EXPECT_NE(rest.text.find("1 were there"), std::string::npos) << rest.text;
  EXPECT_EQ(read_file(temp_ / "out/8.0.data"), block(14));
  EXPECT_EQ(contents_of(temp_ / "out").size(), 4U);
}

TEST_F(InspectCommand, ResumeTakesNoPieceOfAnotherStateForDone) {
  options_.extract = temp_ / "out";
  run(options_);
  json facts = json::parse(read_file(temp_ / "out/7.1.json"));
  facts["version"] = 2;
  std::ofstream(temp_ / "out/7.1.json") << facts.dump();
  options_.resume = true;
  EXPECT_EQ(refusal(options_).code, Code::kExists);
  // Facts alone are of a run that was cut off.
  std::filesystem::remove(temp_ / "out/7.1.data");
  run(options_);
  EXPECT_EQ(json::parse(read_file(temp_ / "out/7.1.json"))["version"], 1);
}

TEST_F(InspectCommand, EndsInOrderWhenItIsInterrupted) {
  options_.extract = temp_ / "out";
  options_.on_progress = [](const std::string& line) {
    if (!line.empty()) ::raise(SIGINT);
  };
  const Failure stopped = refusal(options_);
  EXPECT_EQ(exit_code(stopped.code), 130);
  EXPECT_NE(to_text(stopped).find("--resume"), std::string::npos) << to_text(stopped);
  for (const auto& [path, crc] : contents_of(temp_ / "out")) {
    EXPECT_EQ(path.find("unfinished"), std::string::npos) << path;
  }
  options_.on_progress = nullptr;
  options_.resume = true;
  run(options_);
  EXPECT_EQ(read_file(temp_ / "out/8.0.data"), block(14));
}

TEST_F(InspectCommand, RefusesWhatMakesNoSense) {
  Inspect two = options_;
  two.repositories.push_back(temp_ / "live");
  EXPECT_EQ(exit_code(refusal(two).code), 2);
  Inspect both = options_;
  both.extract_files = temp_ / "out";
  both.check = true;
  EXPECT_EQ(exit_code(refusal(both).code), 2);
  Inspect name = options_;
  name.pieces = {"7"};
  EXPECT_EQ(exit_code(refusal(name).code), 2);
  name.pieces = {"9.0"};
  EXPECT_EQ(exit_code(refusal(name).code), 3);
  Inspect nowhere = options_;
  nowhere.repositories = {temp_ / "nowhere"};
  EXPECT_EQ(exit_code(refusal(nowhere).code), 3);
  EXPECT_FALSE(std::filesystem::exists(temp_ / "out"));
}

TEST_F(InspectCommand, SaysWhatToDoAboutALostJournal) {
  {
    LiveStore live(temp_ / "second", {.journal_directory = temp_ / "ssd"});
    put(live, {kPiece, 1, {{3, 1}}, {11}});
    live.commit();
    live.leave(temp_ / "lost");
  }
  std::filesystem::remove_all(temp_ / "ssd");
  options_.repositories = {temp_ / "lost"};
  const Failure lost = refusal(options_);
  EXPECT_EQ(lost.code, Code::kJournalFailed);
  EXPECT_NE(lost.next.find("--journal-directory DIR"), std::string::npos) << to_text(lost);
  EXPECT_NE(lost.next.find("--without-journal shows the 1 pieces"), std::string::npos)
      << to_text(lost);
  options_.without_journal = options_.check = true;
  const Output rest = run(options_);
  EXPECT_EQ(rest.exit_code, 0) << rest.text;
  EXPECT_NE(rest.text.find("is missing or old"), std::string::npos) << rest.text;
}

TEST(InspectFiles, PutsAFileTogetherFromThePiecesThatAreLeft) {
  ChunkWorld world(3, 2);
  std::string right(6 * kBlockBytes, '\0');
  for (std::uint64_t row = 0; row < 2; ++row) {
    world.write({.seq = row + 1}, row, 0b111);
    for (unsigned i = 0; i < 3; ++i) {
      const std::string_view bytes = as_text(world.block(row, i).span());
      right.replace((2 * i + row) * kBlockBytes, kBlockBytes, bytes);
    }
  }
  world.settle({.seq = 2});
  world.kill();
  Inspect options;
  options.extract_files = world.temp() / "out";
  for (const unsigned left : {1U, 3U, 4U}) options.repositories.push_back(world.repository(left));
  const Output whole = run(options);
  EXPECT_EQ(whole.exit_code, 0) << whole.text;
  EXPECT_TRUE(read_file(world.temp() / "out/inode-42") == right);
  const json facts = json::parse(read_file(world.temp() / "out/inode-42.json"));
  EXPECT_EQ(facts["whole"], true);
  EXPECT_EQ(facts["encoding"], "3+2");
  EXPECT_EQ(facts["bytes_up_to"], right.size());
  EXPECT_EQ(facts["lost"], json::array());

  // One less: what is there, and what is not.
  options.repositories.pop_back();
  EXPECT_EQ(refusal(options).code, Code::kExists);
  options.extract_files = world.temp() / "less";
  const json report = json::parse(run(options, true).text);
  EXPECT_EQ(report["files"][0]["whole"], false);
  EXPECT_EQ(report["extracted"]["lost_bytes"], 4 * kBlockBytes);
  std::string less = right;
  less.replace(0, 2 * kBlockBytes, 2 * kBlockBytes, '\0');
  less.replace(4 * kBlockBytes, 2 * kBlockBytes, 2 * kBlockBytes, '\0');
  EXPECT_TRUE(read_file(world.temp() / "less/inode-42") == less);
  const json lost = json::parse(read_file(world.temp() / "less/inode-42.json"))["lost"];
  EXPECT_EQ(lost,
            json::parse(R"([{"offset": 0, "bytes": 8192}, {"offset": 16384, "bytes": 8192}])"));

  options.inodes = {43};
  options.extract_files = world.temp() / "none";
  EXPECT_EQ(json::parse(run(options, true).text)["extracted"]["files"], 0);
}

TEST(InspectFiles, TellsChunksThatNobodyHasAndOlderOnesOfTheSamePlace) {
  ChunkWorld world(2, 1);
  const std::uint64_t chunk_bytes = 2 * 64_MiB;
  world.write({.seq = 1, .chunk_index = 0, .chunk = 1}, 0, 0b11);
  const std::string first(as_text(world.block(0, 0).span()));
  world.write({.seq = 1, .chunk_index = 3, .chunk = 5}, 0, 0b11);
  world.write({.seq = 1, .chunk_index = 3, .chunk = 6}, 0, 0b11);
  const std::string newest(as_text(world.block(0, 0).span()));
  world.kill();
  Inspect options;
  options.extract_files = world.temp() / "out";
  for (unsigned i = 0; i < 3; ++i) options.repositories.push_back(world.repository(i));
  run(options);
  const json facts = json::parse(read_file(world.temp() / "out/inode-42.json"));
  EXPECT_EQ(facts["absent_chunks"], json::parse(R"([{"first": 1, "count": 2}])"));
  EXPECT_EQ(facts["bytes_up_to"], 3 * chunk_bytes + 3 * kBlockBytes);
  bool names_the_older = false;
  for (const json& remark : facts["remarks"]) names_the_older |= remark["chunk"] == 5;
  EXPECT_TRUE(names_the_older) << facts["remarks"];
  std::ifstream file(world.temp() / "out/inode-42", std::ios::binary);
  std::string block(kBlockBytes, '\0');
  file.read(block.data(), kBlockBytes);
  EXPECT_EQ(block, first);
  file.seekg(static_cast<std::streamoff>(3 * chunk_bytes));
  file.read(block.data(), kBlockBytes);
  EXPECT_EQ(block, newest);
}

}  // namespace
}  // namespace cairn::admin
