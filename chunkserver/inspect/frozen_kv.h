// FrozenKv: an index as it lies there, for looking at it: writes stay in memory.
#pragma once

#include "common/kv/kv.h"
#include "common/kv/overlay.h"

namespace cairn::chunkserver::inspect {

class FrozenKv final : public kv::Kv {
 public:
  // `below` outlives it.
  explicit FrozenKv(const kv::Reader& below) : changed_(below) {}
  Result<std::optional<std::string>> get(std::string_view key) const override {
    return changed_.get(key);
  }
  Status scan(std::string_view begin, std::string_view end, const Visit& visit) const override {
    return changed_.scan(begin, end, visit);
  }
  Status write(const kv::Batch& batch) override {
    changed_.add(batch);
    return {};
  }
  Status flush() override { return {}; }

 private:
  kv::Overlay changed_;
};

}  // namespace cairn::chunkserver::inspect
