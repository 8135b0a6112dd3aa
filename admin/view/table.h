// Table: rows of text in aligned columns, two blanks between them, no trailing blanks.
#pragma once

#include <string>
#include <vector>

namespace cairn::admin {

class Table {
 public:
  explicit Table(std::vector<std::string> header);
  // As many cells as the header has.
  void add(std::vector<std::string> cells);
  std::size_t rows() const { return rows_.size() - 1; }
  // Header first, every line ends with a newline.
  std::string to_string() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace cairn::admin
