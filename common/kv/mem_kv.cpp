#include "common/kv/mem_kv.h"

#include "common/base/check.h"

namespace cairn::kv {

MemKv::MemKv() : table_(std::make_shared<Table>()) {}

MemKv::Table& MemKv::table_to_change() {
  if (table_.use_count() > 1) table_ = std::make_shared<Table>(*table_);
  return *table_;
}

Result<std::optional<std::string>> MemKv::get(std::string_view key) const {
  const auto it = table_->find(key);
  if (it == table_->end()) return std::optional<std::string>();
  return std::optional<std::string>(it->second);
}

Status MemKv::scan(std::string_view begin, std::string_view end, const Visit& visit) const {
  const std::shared_ptr<const Table> table = table_;
  for (auto it = table->lower_bound(begin); it != table->end(); ++it) {
    if (!end.empty() && it->first >= end) break;
    if (!visit(it->first, it->second)) break;
  }
  return {};
}

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
