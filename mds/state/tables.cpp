#include "mds/state/tables.h"

namespace cairn::mds::state {

Status Tables::load() {
  TRY(const std::optional<pb::Counters> counters, find<pb::Counters>(keys::counters()));
  if (counters) loaded_ = *counters;
  counters_ = loaded_;
  return {};
}

Result<std::optional<std::string>> Tables::get(const std::string& key) {
  const auto it = changes_.find(key);
  if (it != changes_.end()) return it->second;
  Result<std::optional<std::string>> value = reader_.get(key);
  if (!value) return failed(std::move(value).error());
  return value;
}

Result<std::optional<std::uint64_t>> Tables::get_number(const std::string& key) {
  TRY(const std::optional<std::string> value, get(key));
  if (!value) return std::optional<std::uint64_t>();
  const std::optional<std::uint64_t> number = keys::decode_number(*value);
  if (!number) return corrupt(static_cast<keys::Table>(key[0]));
  return number;
}

void Tables::put_bytes(std::string key, std::string value) {
  changes_.insert_or_assign(std::move(key), std::move(value));
}

void Tables::put_number(std::string key, std::uint64_t number) {
  put_bytes(std::move(key), keys::encode_number(number));
}

void Tables::erase(std::string key) { changes_.insert_or_assign(std::move(key), std::nullopt); }

Result<Tables::Rows> Tables::scan(const Range& range) {
  Rows found;
  if (range.limit == 0) return found;
  const std::string end = range.end.empty() ? kv::prefix_end(range.prefix) : range.end;
  const std::string& begin = range.from.empty() ? range.prefix : range.from;
  if (!end.empty() && begin >= end) return found;
  Status scanned = reader_.scan(begin, end, [&](std::string_view key, std::string_view value) {
    found.emplace_back(key, value);
    return found.size() < range.limit;
  });
  if (!scanned) return failed(std::move(scanned).error());
  return found;
}

std::unexpected<Error> Tables::failed(Error error) {
  if (!failure_) failure_ = error;
  return fail(std::move(error));
}

std::unexpected<Error> Tables::corrupt(keys::Table table) {
  return failed(rows::corrupt(static_cast<char>(table)).error());
}

void Tables::discard() {
  changes_.clear();
  counters_ = loaded_;
}

kv::Batch Tables::take() {
  std::string before = loaded_.SerializeAsString();
  std::string after = counters_.SerializeAsString();
  if (before != after) put_bytes(keys::counters(), std::move(after));
  kv::Batch batch;
  for (auto& [key, value] : changes_) {
    if (value) {
      batch.put(key, std::move(*value));
    } else {
      batch.erase(key);
    }
  }
  discard();
  return batch;
}

}  // namespace cairn::mds::state
