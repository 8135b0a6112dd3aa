// The attributes of files and directories as the guide spells them: replicas=3:2, encoding=4+2:5,
// tier=0, failure-domain=host. Text -> request, reply -> text and JSON.
#pragma once

#include <string>
#include <vector>

#include "common/base/result.h"
#include "proto/admin.pb.h"

namespace cairn::admin {

// The attributes of `words` ("name=value"). Target and recursive are left unset.
// Errors:   kInvalidArgument (unknown name with the nearest ones, bad value, given twice, replicas
//           and encoding together), kUnsupported.
Result<pb::SetPolicyRequest> parse_attributes(const std::vector<std::string>& words);

// Positional arguments of set-attr. With `from_root` also the guide's spelling without the blank:
// "-p /failure-domain=disk" is the path "/" and one attribute.
struct PathAndAttributes {
  std::string path;
  std::vector<std::string> attributes;
};
Result<PathAndAttributes> split_arguments(const std::vector<std::string>& words, bool from_root);

// "encoding=4+2:5" or "replicas=3:2"; "encoding=unset" for what no policy says.
std::string encoding_attribute(const pb::Encoding& encoding);
// One "name=value" a line.
std::vector<std::string> attribute_lines(const pb::Policy& policy);

// O-5 of the guide: "connected to MDS#1", "File: '...'", "Attributes:", the attributes.
std::string attributes_text(const pb::GetPolicyReply& reply, const std::string& file);
std::string attributes_json(const pb::GetPolicyReply& reply, const std::string& file);

}  // namespace cairn::admin
