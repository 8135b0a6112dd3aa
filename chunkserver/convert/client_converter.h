// The real Converter: a client session of this chunk server, which converts one file after the
// other (client/convert). docs/protocols/conversion.md
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "chunkserver/convert/converter.h"
#include "common/base/ids.h"
#include "common/base/units.h"
#include "common/net/channel.h"
#include "common/net/stream.h"
#include "common/observe/log.h"
#include "common/runtime/runtime.h"

namespace cairn::chunkserver::convert {

// Of a file under conversion, at most: what is read ahead and what is not written yet.
inline constexpr ByteCount kConverterCache = 64_MiB;

struct ClientConverterOptions {
  // gRPC addresses of all MDS, as they are known when a session begins.
  std::function<std::vector<net::Address>()> mds;
  net::Credentials credentials;
  // Of the machine this runs on, not of the one where the repository was made: sessions that dead
  // processes of the same host left are ended.
  std::function<Result<HostId>()> host_id;
  std::string host;
  NodeId cs_id;
};

// Everything it is given outlives the converters it makes.
MakeConverter client_converters(runtime::Runtime& runtime, net::Network& network, observe::Log& log,
                                ClientConverterOptions options);

}  // namespace cairn::chunkserver::convert
