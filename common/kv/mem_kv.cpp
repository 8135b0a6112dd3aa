#include "common/kv/mem_kv.h"

#include "common/base/check.h"

namespace cairn::kv {
namespace {

using Table = std::map<std::string, std::string, std::less<>>;

std::optional<std::string> find_in(const Table& table, std::string_view key) {
  const auto it = table.find(key);
  return it == table.end() ? std::nullopt : std::optional(it->second);
}

void scan_in(const Table& table, std::string_view begin, std::string_view end,
             const Reader::Visit& visit) {
  for (auto it = table.lower_bound(begin); it != table.end(); ++it) {
    if (!end.empty() && it->first >= end) break;
    if (!visit(it->first, it->second)) break;
  }
}

class View final : public Reader {
 public:
  explicit View(Table table) : table_(std::move(table)) {}
  Result<std::optional<std::string>> get(std::string_view key) const override {
    return find_in(table_, key);
  }
  Status scan(std::string_view begin, std::string_view end, const Visit& visit) const override {
    scan_in(table_, begin, end, visit);
    return {};
  }

 private:
  const Table table_;
};

}  // namespace

MemKv::MemKv() : table_(std::make_shared<Table>()) {}

MemKv::Table& MemKv::table_to_change() {
  if (table_.use_count() > 1) table_ = std::make_shared<Table>(*table_);
  return *table_;
}

Result<std::optional<std::string>> MemKv::get(std::string_view key) const {
  return find_in(*table_, key);
}

Status MemKv::scan(std::string_view begin, std::string_view end, const Visit& visit) const {
  const std::shared_ptr<const Table> table = table_;
  scan_in(*table, begin, end, visit);
  return {};
}

std::unique_ptr<Reader> MemKv::view() const { return std::make_unique<View>(*table_); }

Status MemKv::write(const Batch& batch) {
  Table& table = table_to_change();
  for (const Change& change : batch.changes()) {
    const auto it = table.find(change.key);
    const bool present = it != table.end();
    if (!durable_.contains(change.key)) {
      durable_.emplace(change.key, present ? std::optional(it->second) : std::nullopt);
    }
    if (!change.value.has_value()) {
      if (present) table.erase(it);
    } else if (present) {
      it->second = *change.value;
    } else {
      table.emplace(change.key, *change.value);
    }
  }
  return {};
}

Status MemKv::flush() {
  durable_.clear();
  return {};
}

void MemKv::crash() {
  Table& table = table_to_change();
  for (auto& [key, value] : durable_) {
    if (value.has_value()) {
      table.insert_or_assign(key, std::move(*value));
    } else {
      table.erase(key);
    }
  }
  durable_.clear();
}

}  // namespace cairn::kv
