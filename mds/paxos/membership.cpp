// Members as bytes, and small questions about them. Format: docs/formats/mds-log.md.
#include <algorithm>

#include "common/base/check.h"
#include "mds/paxos/replica.h"

namespace cairn::mds::paxos {

namespace {

constexpr std::uint8_t kFormat = 1;
constexpr std::uint32_t kMembersMax = 64;
constexpr std::size_t kAddressBytesMax = 300;

template <class T>
void put(std::string& out, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    out.push_back(static_cast<char>(static_cast<std::uint64_t>(value) >> (8 * i) & 0xff));
  }
}

// Takes numbers from the front; false when there is not enough.
class Cursor {
 public:
  explicit Cursor(std::string_view bytes) : rest_(bytes) {}
  template <class T>
  bool take(T* value) {
    if (rest_.size() < sizeof(T)) return false;
    std::uint64_t number = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i) {
      number |= std::uint64_t{static_cast<std::uint8_t>(rest_[i])} << (8 * i);
    }
    *value = static_cast<T>(number);
    rest_.remove_prefix(sizeof(T));
    return true;
  }
  bool take_text(std::size_t size, std::string* text) {
    if (rest_.size() < size) return false;
    text->assign(rest_.substr(0, size));
    rest_.remove_prefix(size);
    return true;
  }
  bool at_end() const { return rest_.empty(); }

 private:
  std::string_view rest_;
};

bool take_member(Cursor& cursor, Member* member) {
  std::uint32_t id = 0;
  std::uint8_t role = 0;
  std::uint16_t size = 0;
  if (!cursor.take(&id) || !cursor.take(&role) || !cursor.take(&member->repo_uuid)) return false;
  if (!cursor.take(&size) || size > kAddressBytesMax) return false;
  if (!cursor.take_text(size, &member->address)) return false;
  if (role != static_cast<std::uint8_t>(Role::kLearner) &&
      role != static_cast<std::uint8_t>(Role::kVoter)) {
    return false;
  }
  member->id = NodeId::from_raw(id);
  member->role = static_cast<Role>(role);
  return true;
}

}  // namespace

bool same_value(const Value& a, const Value& b) { return a.kind == b.kind && *a.bytes == *b.bytes; }

std::string encode_membership(const Membership& membership) {
  std::string out;
  put(out, kFormat);
  put(out, membership.version);
  put(out, membership.next_id);
  put(out, static_cast<std::uint32_t>(membership.members.size()));
  for (const Member& member : membership.members) {
    CHECK_LE(member.address.size(), kAddressBytesMax);
    put(out, member.id.raw());
    put(out, static_cast<std::uint8_t>(member.role));
    put(out, member.repo_uuid);
    put(out, static_cast<std::uint16_t>(member.address.size()));
    out += member.address;
  }
  return out;
}

std::optional<Membership> decode_membership(std::string_view bytes) {
  Cursor cursor(bytes);
  Membership membership;
  std::uint8_t format = 0;
  std::uint32_t count = 0;
  if (!cursor.take(&format) || format != kFormat) return std::nullopt;
  if (!cursor.take(&membership.version) || !cursor.take(&membership.next_id)) return std::nullopt;
  if (!cursor.take(&count) || count > kMembersMax) return std::nullopt;
  std::uint32_t last = 0;
  for (std::uint32_t i = 0; i < count; ++i) {
    Member member;
    if (!take_member(cursor, &member)) return std::nullopt;
    if (member.id.raw() <= last || member.id.raw() >= membership.next_id) return std::nullopt;
    last = member.id.raw();
    membership.members.push_back(std::move(member));
  }
  if (!cursor.at_end()) return std::nullopt;
  return membership;
}

const Member* find_member(const Membership& membership, NodeId id) {
  const auto at = std::ranges::find(membership.members, id, &Member::id);
  return at == membership.members.end() ? nullptr : &*at;
}

std::size_t voters(const Membership& membership) {
  return static_cast<std::size_t>(
      std::ranges::count(membership.members, Role::kVoter, &Member::role));
}

std::size_t majority(const Membership& membership) { return voters(membership) / 2 + 1; }

}  // namespace cairn::mds::paxos
