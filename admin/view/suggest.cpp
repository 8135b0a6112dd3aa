#include "admin/view/suggest.h"

#include <algorithm>
#include <tuple>

namespace cairn::admin {

std::size_t edit_distance(std::string_view a, std::string_view b) {
  // rows[i][j]: distance of the first i characters of a and the first j of b.
  std::vector<std::vector<std::size_t>> rows(a.size() + 1,
                                             std::vector<std::size_t>(b.size() + 1, 0));
  for (std::size_t i = 0; i <= a.size(); ++i) rows[i][0] = i;
  for (std::size_t j = 0; j <= b.size(); ++j) rows[0][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replace = rows[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      rows[i][j] = std::min({rows[i - 1][j] + 1, rows[i][j - 1] + 1, replace});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        rows[i][j] = std::min(rows[i][j], rows[i - 2][j - 2] + 1);
      }
    }
  }
  return rows[a.size()][b.size()];
}

std::vector<std::string> nearest(std::string_view typed, const std::vector<std::string>& known,
                                 std::size_t limit, bool anything) {
  std::vector<std::tuple<std::size_t, std::string>> ranked;
  for (const std::string& name : known) {
    std::size_t distance = edit_distance(typed, name);
    // The beginning of a name is a good guess, however much is missing.
    if (!typed.empty() && name.starts_with(typed)) distance = std::min<std::size_t>(distance, 1);
    const std::size_t far = std::max<std::size_t>(2, typed.size() / 3);
    if (anything || distance <= far) ranked.emplace_back(distance, name);
  }
  std::ranges::sort(ranked);
  std::vector<std::string> names;
  for (const auto& [distance, name] : ranked) {
    if (names.size() < limit) names.push_back(name);
  }
  return names;
}

std::string did_you_mean(const std::vector<std::string>& names) {
  if (names.empty()) return {};
  std::string text = "Did you mean ";
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i != 0) text += i + 1 == names.size() ? " or " : ", ";
    text += "'" + names[i] + "'";
  }
  return text + "?";
}

}  // namespace cairn::admin
