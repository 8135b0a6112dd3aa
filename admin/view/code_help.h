// The page of every error code: what `cairn help CAIRN-nnn` prints.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "common/base/error.h"

namespace cairn::admin {

struct CodeHelp {
  Code code;
  std::string_view meaning;
  std::string_view next;
};

std::string code_label(Code code);  // "CAIRN-305"
// Accepts "CAIRN-305", "cairn-305" and "305".
std::optional<Code> parse_code_label(std::string_view text);
// Every known code has one (tested).
const CodeHelp* find_code_help(Code code);
std::string code_page(const CodeHelp& help);

}  // namespace cairn::admin
