// "Did you mean": the names nearest to what was typed.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace cairn::admin {

// Edits (insert, remove, replace, swap neighbours) from a to b.
std::size_t edit_distance(std::string_view a, std::string_view b);

// At most `limit` of `known`, nearest first, equal ones by name. `anything`: also far ones.
std::vector<std::string> nearest(std::string_view typed, const std::vector<std::string>& known,
                                 std::size_t limit, bool anything);

// "Did you mean 'stat'?" or, of several, "Did you mean 'a', 'b' or 'c'?"; empty for none.
std::string did_you_mean(const std::vector<std::string>& names);

}  // namespace cairn::admin
