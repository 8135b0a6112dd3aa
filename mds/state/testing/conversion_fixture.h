// A file that is to be converted, its shadow, and short ways to exchange them. For tests.
#pragma once

#include <string>
#include <vector>

#include "mds/state/testing/data_fixture.h"

namespace cairn::mds::state::testing {

inline constexpr std::uint32_t kAllPieces = 0b111111;

// file_ has chunks 0 and 2 in 4+2:5 and is to be converted into 3 copies; converter_ is who
// converts it.
class ConversionFixture : public DataFixture {
 protected:
  void SetUp() override {
    DataFixture::SetUp();
    open(0, kAllPieces);
    open(2, kAllPieces);
    c_.commit(s_, file_, epoch_, kSize, false, 8192);
    converter_ = c_.open_session("converter");
  }

  // Three copies, all of which a write needs.
  pb::CommandReply want_copies(std::uint64_t inode, bool keep_data = false) {
    pb::Command command;
    pb::SetPolicyCommand& op = *command.mutable_set_policy();
    op.add_inodes(inode);
    op.mutable_policy()->mutable_encoding()->set_data(1);
    op.mutable_policy()->mutable_encoding()->set_parity(2);
    op.mutable_policy()->mutable_encoding()->set_min(3);
    op.set_keep_data(keep_data);
    return c_.apply(command);
  }
  void settle_source() { c_.release(s_, file_, epoch_); }

  // The shadow, with settled chunks at these indexes and the size of the file.
  std::uint64_t make_shadow(const std::vector<std::uint64_t>& indexes, std::uint64_t size = kSize) {
    const pb::ClientReply made = c_.make_shadow(converter_, file_);
    EXPECT_EQ(code_of(made.error()), kDone) << made.error().message();
    shadow_ = made.make_node().attributes().inode();
    shadow_epoch_ = made.make_node().epoch();
    for (const std::uint64_t index : indexes) open_of_shadow(index);
    c_.commit(converter_, shadow_, shadow_epoch_, size, false, 4096);
    c_.release(converter_, shadow_, shadow_epoch_);
    return shadow_;
  }
  pb::Chunk open_of_shadow(std::uint64_t index) {
    pb::OpenChunk op;
    op.set_inode(shadow_);
    op.set_epoch(shadow_epoch_);
    op.set_index(index);
    op.set_touch(0b111);
    const std::vector<std::uint32_t> three(places_.begin() + 1, places_.begin() + 4);
    const pb::ClientReply reply = c_.open_chunk(converter_, op, three);
    EXPECT_EQ(code_of(reply.error()), kDone) << reply.error().message();
    return reply.open_chunk().chunk();
  }
  std::uint64_t lock() {
    const pb::CommandReply granted = c_.grant(converter_, file_);
    EXPECT_EQ(code_of(granted.error()), kDone) << granted.error().message();
    return lock_epoch_ = granted.lease_epoch();
  }
  pb::ClientReply swap() { return c_.swap_data(converter_, file_, lock_epoch_, shadow_); }
  // Everything but the stored reply is as it was.
  void expect_refused(Code code) {
    const std::string before = tables();
    const pb::ClientReply reply = swap();
    EXPECT_EQ(static_cast<int>(code_of(reply.error())), static_cast<int>(code))
        << reply.error().message();
    EXPECT_EQ(tables(), before);
  }
  std::string tables() {
    std::string all;
    EXPECT_TRUE(c_.kv()
                    .scan({}, {},
                          [&](std::string_view key, std::string_view value) {
                            if (key[0] != 'A' && key[0] != 'Q' && key[0] != 'S') {
                              all.append(key).append(value);
                            }
                            return true;
                          })
                    .has_value());
    return all;
  }
  // The stored record of an inode, changed behind the machine's back.
  void forge(std::uint64_t inode, const pb::InodeRecord& record) {
    kv::Batch batch;
    batch.put(keys::inode(InodeId::from_raw(inode)), record.SerializeAsString());
    ASSERT_TRUE(c_.kv().write(batch).has_value());
  }
  static std::vector<std::uint64_t> indexes(const std::vector<pb::Chunk>& chunks) {
    std::vector<std::uint64_t> found;
    for (const pb::Chunk& chunk : chunks) found.push_back(chunk.index());
    return found;
  }

  static constexpr std::uint64_t kSize = 2 * kChunkBytes + 5000;
  std::uint64_t converter_ = 0;
  std::uint64_t shadow_ = 0;
  std::uint64_t shadow_epoch_ = 0;
  std::uint64_t lock_epoch_ = 0;
};

}  // namespace cairn::mds::state::testing
