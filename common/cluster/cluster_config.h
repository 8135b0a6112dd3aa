// What a machine knows of its clusters: /etc/cairn (or $CAIRN_ETC) with clusters/NAME/bs.list (one
// "ADDR:PORT" of an MDS a line), clusters/NAME/auth_digest.key (0600, the derived key) and host_id.
//
// Errors:   kNotFound (names the file and how to make it), kInvalidArgument (bad line, with its
//           number).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/base/ids.h"
#include "common/base/result.h"
#include "common/net/channel.h"
#include "common/net/stream.h"

namespace cairn::cluster {

inline constexpr std::uint16_t kMdsPort = 2510;

// [A-Za-z0-9_-]{1,63}. Error: kInvalidArgument.
Status check_cluster_name(std::string_view name);

class ClusterConfig {
 public:
  // `etc` empty: $CAIRN_ETC, else /etc/cairn. `name` has been checked. Nothing is read yet.
  ClusterConfig(std::string etc, std::string name);

  const std::string& name() const { return name_; }
  std::string directory() const;  // ETC/clusters/NAME

  // gRPC addresses of the MDS. kNotFound when there is no bs.list.
  Result<std::vector<net::Address>> mds_addresses() const;
  Status write_mds_addresses(const std::vector<net::Address>& addresses) const;

  // The key is scrypt(password, salt = "cairn:" + cluster name): 32 bytes. A missing file is an
  // empty key (cluster without a password).
  Result<net::Credentials> credentials() const;
  static std::string derive_key(std::string_view cluster, std::string_view password);
  Status write_key(std::string_view key) const;
  bool has_key() const;

  // The host's id; made and written on first use: $CAIRN_HOST_ID_FILE, else ETC/host_id. 16 hex
  // digits.
  Result<HostId> host_id() const;

  // Names of the clusters known here, sorted.
  static std::vector<std::string> known(const std::string& etc);

 private:
  std::string etc_;
  std::string name_;
};

std::string format_host_id(HostId id);
Result<HostId> parse_host_id(std::string_view text);

// The framed session door of an MDS whose gRPC address is `mds` (port + 1).
net::Address session_address(const net::Address& mds);

}  // namespace cairn::cluster
