// Overlay: a Reader over a base Reader plus a growing set of uncommitted changes. It is what a
// batch of commands sees of the commands before it.
//
// Promises: get() and scan() answer as the base would after all added changes. take() gives the
//           changes as one Batch with one change a key, in key order, and starts again empty.
// Requires: one thread; the base outlives the overlay and does not change under it, except by the
//           writing of what take() gave. A visitor may add while it scans.
// Limits:   none of its own: the caller bounds its batch (limits::kLogBatchCommandsMax).
// Errors:   those of the base.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "common/kv/kv.h"

namespace cairn::kv {

class Overlay final : public Reader {
 public:
  explicit Overlay(const Reader& base);
  explicit Overlay(const Reader* base) : Overlay(*base) {}

  void add(const Batch& batch);
  Batch take();
  bool empty() const { return changes_->empty(); }
  // Keys changed.
  std::size_t size() const { return changes_->size(); }

  Result<std::optional<std::string>> get(std::string_view key) const override;
  Status scan(std::string_view begin, std::string_view end, const Visit& visit) const override;

 private:
  using Changes = std::map<std::string, std::optional<std::string>, std::less<>>;

  const Reader& base_;
  // Shared with scans in progress; add() copies it then.
  std::shared_ptr<Changes> changes_;
};

}  // namespace cairn::kv
