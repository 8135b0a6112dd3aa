// One journal record as bytes, without the batch around it. Pure. docs/formats/cs-journal.md.
//
// Errors: kCorrupt.
#pragma once

#include <string_view>

#include "chunkserver/store/byte_codec.h"
#include "chunkserver/store/record.h"

namespace cairn::chunkserver::store {

void encode_record(ByteWriter& out, const Record& record);
Result<Record> decode_record(std::string_view bytes);

}  // namespace cairn::chunkserver::store
