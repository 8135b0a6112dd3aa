// MemKv: the in-memory twin of RocksKv, for tests and the simulator.
//
// Promises: the contract of Kv, and a model of durability: crash() goes back to the last flush().
//           That costs one kept old value for each key changed since the flush.
// Requires: one thread. A visitor may write while it scans: the scan goes on over the old state.
// Errors:   none.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "common/kv/kv.h"

namespace cairn::kv {

class MemKv final : public Kv {
 public:
  MemKv();

  Result<std::optional<std::string>> get(std::string_view key) const override;
  Status scan(std::string_view begin, std::string_view end, const Visit& visit) const override;
  Status write(const Batch& batch) override;
  Status flush() override;

  // The present state for as long as it lives, also on another thread: a copy of everything.
  std::unique_ptr<Reader> view() const;
  // What is left after the power was cut: the state of the last flush (empty when there was none).
  void crash();
  std::size_t size() const { return table_->size(); }
  // Keys that the next crash would change.
  std::size_t unflushed() const { return durable_.size(); }

 private:
  using Table = std::map<std::string, std::string, std::less<>>;

  // The table to change; a private copy of it while a scan holds the present one.
  Table& table_to_change();

  std::shared_ptr<Table> table_;
  // The flushed value of every key changed since; nullopt: it was not there.
  std::map<std::string, std::optional<std::string>, std::less<>> durable_;
};

}  // namespace cairn::kv
