// Conversions for people and programs: a line and a table of `cairn stat`, the line of `cairn
// info`, how far it is while set-attr --wait waits. docs/protocols/conversion.md.
#pragma once

#include <string>

#include "proto/admin.pb.h"

namespace cairn::admin {

// Empty when nothing waits and nothing was converted.
std::string conversion_line(const pb::ConversionStat& stat);
// Files under way and in trouble; empty when there are none.
std::string conversion_table(const pb::ConversionStat& stat);
// "Conversion: ..." of one file.
std::string file_conversion_line(const pb::ConversionStat::File& file);
// One line, without an end of line.
std::string conversion_progress(const pb::ConversionStat& stat);

}  // namespace cairn::admin
