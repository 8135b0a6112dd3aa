#include "admin/commands/members.h"

#include <utility>

namespace cairn::admin {

Result<Members> read_members(const google::protobuf::RepeatedPtrField<pb::MdsMember>& members) {
  Members read;
  for (const pb::MdsMember& member : members) {
    Result<net::Address> address = net::Address::parse(member.address());
    if (member.id() == 0 || !address.has_value()) {
      return fail(Code::kProtocol, "the MDS told of a member " + std::to_string(member.id()) +
                                       " at '" + member.address() + "'");
    }
    read.insert_or_assign(NodeId::from_raw(member.id()), std::move(*address));
  }
  return read;
}

std::vector<net::Address> addresses_of(const Members& members) {
  std::vector<net::Address> addresses;
  for (const auto& [id, address] : members) addresses.push_back(address);
  return addresses;
}

}  // namespace cairn::admin
