// Any command is answered: commands with random fields and from random bytes never crash the
// machine or break the tables; and the same log gives the same tables, one by one, in batches, or
// twice.
#include <gtest/gtest.h>

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <google/protobuf/stubs/logging.h>

#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <vector>

#include "common/base/prng.h"
#include "common/kv/overlay.h"
#include "mds/state/invariants.h"
#include "mds/state/testing/cluster.h"

namespace cairn::mds::state {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using testing::Cluster;

// Fills messages by reflection, mostly with small numbers that mean something.
class Filler {
 public:
  explicit Filler(Prng& prng) : prng_(prng) {}

  void fill(Message& message, int depth) {
    const auto* descriptor = message.GetDescriptor();
    // One member of each oneof at most; the rest each with even odds.
    for (int i = 0; i < descriptor->real_oneof_decl_count(); ++i) {
      const auto* oneof = descriptor->oneof_decl(i);
      const auto pick = prng_.below(static_cast<std::uint64_t>(oneof->field_count()));
      set(message, *oneof->field(static_cast<int>(pick)), depth);
    }
    for (int i = 0; i < descriptor->field_count(); ++i) {
      const FieldDescriptor* field = descriptor->field(i);
      if (field->real_containing_oneof() == nullptr && prng_.chance(800)) {
        set(message, *field, depth);
      }
    }
  }

 private:
  std::uint64_t number() {
    const std::uint64_t dice = prng_.below(100);
    if (dice < 70) return prng_.below(8);
    if (dice < 80) return 1025 + prng_.below(8);
    if (dice < 90) return prng_.below(1ULL << 33);
    if (dice < 95) return UINT64_MAX - prng_.below(3);
    return prng_.next();
  }
  std::string text() {
    if (prng_.chance(20)) return std::string(prng_.below(70'000), 'x');
    std::string bytes;
    const std::uint64_t size = prng_.chance(100) ? prng_.below(6) : 1;
    for (std::uint64_t i = 0; i < size; ++i) {
      const std::uint64_t byte = prng_.chance(100) ? prng_.below(256) : 'a' + prng_.below(3);
      bytes.push_back(static_cast<char>(byte));
    }
    return bytes;
  }
  void set(Message& message, const FieldDescriptor& field, int depth) {
    const Reflection& r = *message.GetReflection();
    const std::uint64_t times = field.is_repeated() ? prng_.below(7) : 1;
    for (std::uint64_t i = 0; i < times; ++i) {
      if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        if (depth == 0) continue;
        Message* child = field.is_repeated() ? r.AddMessage(&message, &field)
                                             : r.MutableMessage(&message, &field);
        fill(*child, depth - 1);
      } else {
        set_scalar(message, field);
      }
    }
  }
  void set_scalar(Message& message, const FieldDescriptor& f) {
    const Reflection& r = *message.GetReflection();
    const std::uint64_t n = number();
    const bool many = f.is_repeated();
    switch (f.cpp_type()) {
      case FieldDescriptor::CPPTYPE_UINT64:
        many ? r.AddUInt64(&message, &f, n) : r.SetUInt64(&message, &f, n);
        break;
      case FieldDescriptor::CPPTYPE_UINT32:
        r.SetUInt32(&message, &f, static_cast<std::uint32_t>(n));
        break;
      case FieldDescriptor::CPPTYPE_INT64:
        r.SetInt64(&message, &f, static_cast<std::int64_t>(n));
        break;
      case FieldDescriptor::CPPTYPE_BOOL:
        r.SetBool(&message, &f, n % 2 == 1);
        break;
      case FieldDescriptor::CPPTYPE_ENUM:
        r.SetEnumValue(&message, &f, static_cast<int>(n % 10));
        break;
      case FieldDescriptor::CPPTYPE_STRING:
        many ? r.AddString(&message, &f, text()) : r.SetString(&message, &f, text());
        break;
      default:
        break;
    }
  }

  Prng& prng_;
};

// Puts sense into what chance alone would rarely hit: sessions and sequences that exist.
void steer(Prng& prng, pb::Command& command, std::uint64_t step, const kv::Reader& tables) {
  command.set_time_ns(static_cast<std::int64_t>(step));
  if (command.op_case() != pb::Command::kClient || prng.chance(100)) return;
  const auto sessions = queries::sessions(tables);
  ASSERT_TRUE(sessions.has_value());
  if (sessions->empty()) {
    command.mutable_open_session();
    return;
  }
  pb::ClientMutation& mutation = *command.mutable_client();
  pb::ClientRequest& request = *mutation.mutable_request();
  request.set_session(sessions->at(prng.below(sessions->size())).id());
  request.set_seq(5 + step - prng.below(4));
  request.set_answered_below(step - prng.below(std::min<std::uint64_t>(step, 20)));
  if (prng.chance(700)) {
    mutation.clear_placement();
    for (std::uint32_t i = 0; i < 6; ++i) {
      pb::Placement& placement = *mutation.add_placement();
      placement.set_piece(i);
      placement.set_cs_id(1025 + i);
    }
    if (request.op_case() != pb::ClientRequest::kOpenChunk) return;
    request.mutable_open_chunk()->set_touch(static_cast<std::uint32_t>(prng.below(64)));
  }
}

// The right epoch for what needs one, most of the time.
void steer_epoch(Prng& prng, pb::Command& command, const kv::Reader& tables) {
  if (command.op_case() != pb::Command::kClient || prng.chance(200)) return;
  pb::ClientRequest& request = *command.mutable_client()->mutable_request();
  const auto held = queries::exclusive_leases(tables, SessionId::from_raw(request.session()));
  if (!held.has_value() || held->empty()) return;
  const InodeId id = held->at(prng.below(held->size()));
  const auto inode = queries::inode(tables, id);
  ASSERT_TRUE(inode.has_value());
  const std::uint64_t epoch = inode->lease_epoch();
  const auto aim = [&](auto* op) {
    op->set_inode(id.raw());
    op->set_epoch(epoch);
  };
  if (request.has_open_chunk()) aim(request.mutable_open_chunk());
  if (request.has_commit_file()) aim(request.mutable_commit_file());
  if (request.has_set_attr()) aim(request.mutable_set_attr());
  if (request.has_release_lease()) aim(request.mutable_release_lease());
  if (request.has_drop_pieces()) aim(request.mutable_drop_pieces());
  if (request.has_close_chunk()) aim(request.mutable_close_chunk());
  const auto open = queries::open_chunks(tables, id);
  if (!open.has_value() || open->empty()) return;
  if (request.has_drop_pieces()) {
    request.mutable_drop_pieces()->set_chunk(open->front().id());
    request.mutable_drop_pieces()->set_version(open->front().version());
  }
  if (request.has_close_chunk()) request.mutable_close_chunk()->set_chunk(open->front().id());
}

void steer_recovery(Prng& prng, pb::Command& command, const kv::Reader& tables) {
  if (!command.has_finish_recovery() && !command.has_begin_recovery()) return;
  if (prng.chance(200)) return;
  const auto inodes = queries::inodes_with_open_chunks(tables, InodeId(), 5);
  if (!inodes.has_value() || inodes->empty()) return;
  const auto open = queries::open_chunks(tables, inodes->at(prng.below(inodes->size())));
  ASSERT_TRUE(open.has_value());
  if (command.has_begin_recovery()) {
    command.mutable_begin_recovery()->set_chunk(open->front().id());
    return;
  }
  pb::FinishRecovery& finish = *command.mutable_finish_recovery();
  finish.set_chunk(open->front().id());
  finish.set_version(open->front().version());
}

// Repairs of what is missing, some of it at places that exist.
void steer_repair(Prng& prng, pb::Command& command, const kv::Reader& tables) {
  if (!command.has_place_piece() && !command.has_finish_repair()) return;
  const auto degraded = queries::degraded_chunks(tables, ChunkId(), 20);
  ASSERT_TRUE(degraded.has_value());
  if (degraded->empty() || prng.chance(200)) return;
  const pb::Chunk& chunk = degraded->at(prng.below(degraded->size()));
  for (const pb::Piece& piece : chunk.pieces()) {
    if (piece.state() != pb::PIECE_MISSING) continue;
    const auto aim = [&](auto* op, std::uint64_t cs) {
      op->set_chunk(chunk.id());
      op->set_version(chunk.version());
      op->set_piece(piece.index());
      op->set_cs_id(static_cast<std::uint32_t>(cs));
    };
    if (command.has_place_piece()) aim(command.mutable_place_piece(), 1025 + prng.below(8));
    if (command.has_finish_repair()) aim(command.mutable_finish_repair(), piece.cs_id());
  }
}

// Files with data and encodings of six pieces, which with_servers() has places for.
void steer_policy(Prng& prng, pb::SetPolicyCommand& op, std::uint64_t inodes) {
  constexpr std::array<std::array<std::uint32_t, 3>, 3> kEncodings = {
      {{4, 2, 5}, {1, 5, 1}, {1, 5, 4}}};
  const auto& [data, parity, min] = kEncodings[prng.below(kEncodings.size())];
  op.Clear();
  for (int i = 0; i < 4; ++i) op.add_inodes(2 + prng.below(inodes));
  op.mutable_policy()->mutable_encoding()->set_data(data);
  op.mutable_policy()->mutable_encoding()->set_parity(parity);
  op.mutable_policy()->mutable_encoding()->set_min(min);
  op.set_keep_data(prng.chance(200));
}

std::vector<pb::InodeRecord> shadows(const kv::Reader& tables) {
  std::vector<pb::InodeRecord> found;
  const auto orphans = queries::orphans(tables, InodeId(), 1000);
  for (const InodeId id : orphans.value_or(std::vector<InodeId>())) {
    const auto inode = queries::inode(tables, id);
    if (inode.has_value() && inode->shadow_of() != 0) found.push_back(*inode);
  }
  return found;
}

// What leads to an exchange: files are queued, get shadows of their size, and are held by one who
// exchanges them.
void steer_conversion(Prng& prng, pb::Command& command, const kv::Reader& tables) {
  if (prng.chance(200)) return;
  if (command.has_set_policy()) {
    const auto counters = queries::counters(tables);
    ASSERT_TRUE(counters.has_value());
    steer_policy(prng, *command.mutable_set_policy(), counters->next_inode());
    return;
  }
  const bool mutates = command.op_case() == pb::Command::kClient;
  const pb::ClientRequest::OpCase op = command.client().request().op_case();
  if (mutates && op == pb::ClientRequest::kMakeShadow) {
    const auto rows = queries::conversions(tables, InodeId(), 1000);
    if (!rows.has_value() || rows->empty()) return;
    const InodeId id = rows->at(prng.below(rows->size())).inode;
    command.mutable_client()->mutable_request()->mutable_make_shadow()->set_inode(id.raw());
  }
  const bool releases = mutates && op == pb::ClientRequest::kReleaseLease && prng.chance(500);
  const bool swaps = mutates && op == pb::ClientRequest::kSwapData;
  if (!releases && !swaps && !command.has_grant_lease()) return;
  const std::vector<pb::InodeRecord> known = shadows(tables);
  if (known.empty()) return;
  const pb::InodeRecord& shadow = known[prng.below(known.size())];
  const auto source = queries::inode(tables, InodeId::from_raw(shadow.shadow_of()));
  if (!source.has_value()) return;
  if (command.has_grant_lease()) {
    command.mutable_grant_lease()->set_inode(shadow.shadow_of());
    return;
  }
  pb::ClientRequest& request = *command.mutable_client()->mutable_request();
  if (releases && shadow.lease_session() != 0) {
    request.set_session(shadow.lease_session());
    pb::ReleaseLease& release = *request.mutable_release_lease();
    release.set_inode(shadow.attributes().inode());
    release.set_epoch(shadow.lease_epoch());
    release.mutable_update()->set_size(source->attributes().size());
    release.set_unsettled(prng.chance(100));
  }
  if (!swaps) return;
  if (source->lease_session() != 0) request.set_session(source->lease_session());
  request.mutable_swap_data()->set_inode(shadow.shadow_of());
  request.mutable_swap_data()->set_epoch(source->lease_epoch());
  request.mutable_swap_data()->set_shadow(shadow.attributes().inode());
}

// A mutation chance alone would get through: of any kind, mostly in the root or on what is there.
void fill_mutation(Prng& prng, pb::ClientRequest& request, const kv::Reader& tables) {
  constexpr std::array kOps = {17, 17, 22, 23, 23, 24, 25, 26, 28, 31,
                               41, 41, 42, 42, 43, 44, 46, 47, 47};
  const auto* field = request.GetDescriptor()->FindFieldByNumber(kOps[prng.below(kOps.size())]);
  Message& op = *request.GetReflection()->MutableMessage(&request, field);
  Filler(prng).fill(op, 3);
  const auto counters = queries::counters(tables);
  ASSERT_TRUE(counters.has_value());
  const auto set = [&](const char* name, std::uint64_t value) {
    const auto* id = op.GetDescriptor()->FindFieldByName(name);
    if (id != nullptr && prng.chance(800)) op.GetReflection()->SetUInt64(&op, id, value);
  };
  set("inode", 1 + prng.below(counters->next_inode()));
  set("parent", 1);
  set("old_parent", 1);
  set("new_parent", prng.chance(500) ? 1 : 1 + prng.below(counters->next_inode()));
  if (request.has_make_node() && prng.chance(600)) {
    request.mutable_make_node()->set_type(pb::TYPE_REGULAR);
    request.mutable_make_node()->set_exclusive_lease(true);
  }
}

pb::Command random_command(Prng& prng, std::uint64_t step, const kv::Reader& tables) {
  pb::Command command;
  Filler(prng).fill(command, 5);
  // Most commands of a cluster are mutations; and sessions should not all end at once.
  if (command.op_case() != pb::Command::kClient && prng.chance(600)) {
    command.clear_op();
    fill_mutation(prng, *command.mutable_client()->mutable_request(), tables);
  }
  if (command.has_end_session() && prng.chance(500)) {
    command.mutable_end_session()->set_session(1000);
  }
  if (command.has_open_session() && prng.chance(900)) {
    command.mutable_open_session()->mutable_request()->set_read_only(false);
  }
  steer(prng, command, step, tables);
  steer_epoch(prng, command, tables);
  steer_recovery(prng, command, tables);
  steer_repair(prng, command, tables);
  steer_conversion(prng, command, tables);
  return command;
}

Cluster with_servers() {
  Cluster c = Cluster::made();
  for (std::uint64_t i = 1; i <= 8; ++i) c.add_cs(i);
  for (int i = 0; i < 3; ++i) c.open_session();
  c.set_policy(1, 4, 2, 5);
  return c;
}

// Text that is not UTF-8 is part of the exercise; protobuf would complain of each.
class Fuzz : public ::testing::Test {
 private:
  google::protobuf::LogSilencer quiet_;
};
using Determinism = Fuzz;

TEST_F(Fuzz, RandomFieldsNeverBreakTheTables) {
  std::map<pb::ClientRequest::OpCase, int> done;
  int recovered = 0;
  int placed = 0;
  int repaired = 0;
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Prng prng(seed);
    Cluster c = with_servers();
    for (std::uint64_t step = 1; step <= 8000; ++step) {
      const pb::Command command = random_command(prng, step, c.kv());
      const pb::CommandReply reply = c.apply(command);
      if (reply.has_client() && reply.client().error().code() == 0) {
        ++done[command.client().request().op_case()];
      }
      const bool accepted = reply.error().code() == 0;
      if (command.has_finish_recovery() && accepted) ++recovered;
      if (command.has_place_piece() && accepted) ++placed;
      if (command.has_finish_repair() && accepted) ++repaired;
      if (step % 200 == 0) c.expect_sound();
      ASSERT_FALSE(::testing::Test::HasFailure()) << step << ": " << command.ShortDebugString();
    }
  }
  // The test is worth something only if it gets through to the operations.
  EXPECT_GE(done.size(), 10u);
  EXPECT_GT(done[pb::ClientRequest::kOpenChunk], 100);
  EXPECT_GT(done[pb::ClientRequest::kDropPieces], 5);
  EXPECT_GT(done[pb::ClientRequest::kCloseChunk], 5);
  EXPECT_GT(done[pb::ClientRequest::kMakeShadow], 100);
  EXPECT_GT(done[pb::ClientRequest::kSwapData], 20);
  EXPECT_GT(recovered, 10);
  EXPECT_GT(placed, 10);
  EXPECT_GT(repaired, 10);
}

TEST_F(Fuzz, RandomBytesNeverBreakTheTables) {
  Prng prng(7);
  Cluster c = with_servers();
  std::string bytes = random_command(prng, 1, c.kv()).SerializeAsString();
  int parsed = 0;
  for (std::uint64_t step = 1; step <= 30'000; ++step) {
    if (step % 16 == 0) bytes = random_command(prng, step, c.kv()).SerializeAsString();
    if (bytes.empty() || bytes.size() > 10'000) continue;
    bytes[prng.below(bytes.size())] = static_cast<char>(prng.below(256));
    pb::Command command;
    if (!command.ParseFromString(bytes)) continue;
    ++parsed;
    c.apply(command);
  }
  EXPECT_GT(parsed, 1000);
  c.expect_sound();
}

// A replica that applies the same log has the same tables, however it cuts it into batches.
TEST_F(Determinism, SameLogSameTables) {
  Prng prng(3);
  Cluster c = with_servers();
  for (std::uint64_t step = 1; step <= 3000; ++step) c.apply(random_command(prng, step, c.kv()));
  kv::MemKv batched;
  kv::Overlay overlay(batched);
  std::uint64_t slot = 0;
  for (const pb::Command& command : c.log()) {
    const Result<Applied> applied = Machine::apply(Slot(++slot), command, overlay);
    ASSERT_TRUE(applied.has_value());
    overlay.add(applied->changes);
    if (prng.chance(30)) {
      ASSERT_TRUE(batched.write(overlay.take()).has_value());
    }
  }
  ASSERT_TRUE(batched.write(overlay.take()).has_value());
  EXPECT_EQ(Machine::digest(batched).value(), c.digest());
  EXPECT_EQ(Machine::applied_slot(batched).value(), Slot(slot));
  kv::Batch change;
  change.put("O\xff", "x");
  ASSERT_TRUE(batched.write(change).has_value());
  EXPECT_NE(Machine::digest(batched).value(), c.digest());
}

// A refused mutation leaves nothing behind but its reply.
TEST_F(Determinism, RefusalsChangeNothingElse) {
  Prng prng(11);
  Cluster c = with_servers();
  int refused = 0;
  for (std::uint64_t step = 1; step <= 3000; ++step) {
    const pb::Command command = random_command(prng, step, c.kv());
    const Result<Applied> applied = Machine::apply(Slot(100'000), command, c.kv());
    ASSERT_TRUE(applied.has_value());
    const std::size_t changes = applied->changes.changes().size();
    if (applied->reply.error().code() != 0) {
      EXPECT_EQ(changes, 1u) << "only the applied slot";
      ++refused;
    } else if (applied->reply.client().error().code() != 0) {
      for (const kv::Change& change : applied->changes.changes()) {
        EXPECT_NE(std::string("AQS").find(change.key[0]), std::string::npos) << change.key;
      }
      ++refused;
    }
    c.apply(command);
  }
  EXPECT_GT(refused, 500);
}

}  // namespace
}  // namespace cairn::mds::state
