// `cairn info PATH`: attributes of the file, its chunks, their pieces, where they lie and in what
// state.
#pragma once

#include <string>

#include "proto/admin.pb.h"

namespace cairn::admin {

std::string file_chunks_text(const pb::InfoReply& reply, const std::string& file);
std::string file_chunks_json(const pb::InfoReply& reply, const std::string& file);

}  // namespace cairn::admin
