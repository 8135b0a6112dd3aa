#include "client/core/master_list.h"

#include <algorithm>

namespace cairn::client {

namespace {

constexpr std::uint16_t kLastPort = 65'535;

std::optional<net::Address> session_door(const std::string& mds) {
  Result<net::Address> address = net::Address::parse(mds);
  if (!address.has_value() || address->port == kLastPort) return std::nullopt;
  ++address->port;
  return *address;
}

void add_once(std::vector<net::Address>& to, const net::Address& address) {
  if (std::ranges::find(to, address) == to.end()) to.push_back(address);
}

}  // namespace

MasterList::MasterList(std::vector<net::Address> configured) {
  for (const net::Address& address : configured) add_once(configured_, address);
}

void MasterList::learn(const std::vector<std::string>& members) {
  std::vector<net::Address> told;
  for (const std::string& member : members) {
    const std::optional<net::Address> door = session_door(member);
    if (door.has_value() && told.size() < kLearnedMax) add_once(told, *door);
  }
  if (told.empty()) return;
  likely_ = told.front();
  learned_ = std::move(told);
}

std::optional<net::Address> MasterList::point_to(const std::string& master) {
  const std::optional<net::Address> door = session_door(master);
  if (door.has_value()) likely_ = door;
  return door;
}

std::vector<net::Address> MasterList::all() const {
  std::vector<net::Address> all;
  if (likely_.has_value()) all.push_back(*likely_);
  for (const net::Address& address : learned_) add_once(all, address);
  for (const net::Address& address : configured_) add_once(all, address);
  return all;
}

}  // namespace cairn::client
