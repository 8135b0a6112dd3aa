// Rows: reading typed rows out of a kv::Reader. Shared by the state machine and the queries.
//
// Errors: the reader's; kCorrupt when a stored row does not parse.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "common/base/result.h"
#include "common/kv/kv.h"
#include "mds/state/keys.h"

namespace cairn::mds::state::rows {

inline std::unexpected<Error> corrupt(char table) {
  return fail(Code::kCorrupt,
              std::string("a row or key of MDS table '") + table + "' is malformed");
}

template <class T>
Result<T> parse(std::string_view key, std::string_view value) {
  T row;
  if (!row.ParseFromArray(value.data(), static_cast<int>(value.size()))) return corrupt(key[0]);
  return row;
}

template <class T>
Result<std::optional<T>> find(const kv::Reader& reader, const std::string& key) {
  TRY(const std::optional<std::string> value, reader.get(key));
  if (!value) return std::optional<T>();
  TRY(T row, parse<T>(key, *value));
  return std::optional<T>(std::move(row));
}

// Scans all keys that start with `prefix`, from `from` on (empty: from the first).
inline Status scan(const kv::Reader& reader, const std::string& prefix, const std::string& from,
                   const kv::Reader::Visit& visit) {
  return reader.scan(from.empty() ? prefix : from, kv::prefix_end(prefix), visit);
}

// Decodes the key, parses the row and hands both to `visit` until it returns false.
template <class T, class Visit>
Status each(const kv::Reader& reader, const std::string& prefix, const std::string& from,
            const Visit& visit) {
  Status status;
  TRY_VOID(scan(reader, prefix, from, [&](std::string_view key, std::string_view value) {
    Result<T> row = parse<T>(key, value);
    if (!row) {
      status = fail(std::move(row).error());
      return false;
    }
    return static_cast<bool>(visit(key, std::move(*row)));
  }));
  return status;
}

}  // namespace cairn::mds::state::rows
