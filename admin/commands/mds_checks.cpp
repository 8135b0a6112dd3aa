#include "admin/commands/mds_checks.h"

#include "admin/commands/port_probe.h"
#include "admin/commands/repository_checks.h"
#include "admin/view/units.h"
#include "common/cluster/cluster_config.h"

namespace cairn::admin {

Outcome<net::Address> parse_mds_address(const std::string& text) {
  if (text.empty()) {
    return failure(
        {.code = Code::kInvalidArgument,
         .what = kCannotMakeMds,
         .why = "No address was given",
         .state = {},
         .next = "Add the address that other servers reach this one by:  -a ADDR[:PORT]"});
  }
  const Result<net::Address> address = parse_address(text, cluster::kMdsPort);
  if (!address.has_value()) return failure(kCannotMakeMds, address.error());
  if (address->port == 65535) {
    return failure(kCannotMakeMds,
                   Error(Code::kInvalidArgument,
                         "two consecutive ports are needed and 65535 is the last one"));
  }
  return *address;
}

Outcome<net::Address> check_mds_address(const std::string& text) {
  const Outcome<net::Address> address = parse_mds_address(text);
  if (!address.has_value()) return address;
  for (const net::Address& door : {*address, cluster::session_address(*address)}) {
    const Status free = check_port_free(door);
    if (!free.has_value()) {
      return failure(
          kCannotMakeMds, free.error(), {},
          "Stop the other user, or choose two free consecutive ports and give the lower:  "
          "-a " +
              address->host + ":PORT");
    }
  }
  return address;
}

Outcome<Output> check_mds_space(const std::string& repository, bool force) {
  const Result<ByteCount> free = free_bytes_at(repository);
  if (!free.has_value()) return failure(kCannotMakeMds, free.error());
  if (*free >= kMdsFreeBytesMin) return Output{};
  const std::string why = repository + " has " + format_size(*free) + " free, an MDS wants 10GB";
  if (force) return Output{.text = {}, .warnings = {why}};
  return failure({.code = Code::kRefusedForSafety,
                  .what = kCannotMakeMds,
                  .why = why,
                  .state = {},
                  .next = "Choose another filesystem. Force (the cluster stops when it is full):  "
                          "--force"});
}

}  // namespace cairn::admin
