// MasterList: the addresses at which a master may be found: those of the configuration, for ever,
// those the newest master told, and one that somebody pointed to. Session doors (port + 1).
//
// Pure. Limits: kLearnedMax learned addresses.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/net/stream.h"

namespace cairn::client {

class MasterList {
 public:
  static constexpr std::size_t kLearnedMax = 16;

  explicit MasterList(std::vector<net::Address> configured);

  // The members now, as gRPC addresses, the master first: replaces what was learned before. An
  // empty list says nothing; what is no address is skipped.
  void learn(const std::vector<std::string>& members);
  // The gRPC address of the master, as an MDS that is not the master tells it. Its session door.
  std::optional<net::Address> point_to(const std::string& master);

  // Each once, the likeliest master first.
  std::vector<net::Address> all() const;

 private:
  std::vector<net::Address> configured_;
  std::vector<net::Address> learned_;
  std::optional<net::Address> likely_;
};

}  // namespace cairn::client
