#include "common/kv/overlay.h"

namespace cairn::kv {

Overlay::Overlay(const Reader& base) : base_(base), changes_(std::make_shared<Changes>()) {}

void Overlay::add(const Batch& batch) {
  if (changes_.use_count() > 1) changes_ = std::make_shared<Changes>(*changes_);
  for (const Change& change : batch.changes()) {
    changes_->insert_or_assign(change.key, change.value);
  }
}

Batch Overlay::take() {
  // A scan in progress goes on over what it has.
  if (changes_.use_count() > 1) changes_ = std::make_shared<Changes>(*changes_);
  Batch batch;
  while (!changes_->empty()) {
    auto node = changes_->extract(changes_->begin());
    if (node.mapped().has_value()) {
      batch.put(std::move(node.key()), std::move(*node.mapped()));
    } else {
      batch.erase(std::move(node.key()));
    }
  }
  return batch;
}

Result<std::optional<std::string>> Overlay::get(std::string_view key) const {
  const auto it = changes_->find(key);
  if (it != changes_->end()) return it->second;
  return base_.get(key);
}

Status Overlay::scan(std::string_view begin, std::string_view end, const Visit& visit) const {
  const std::shared_ptr<const Changes> changes = changes_;
  auto next = changes->lower_bound(begin);
  const auto in_range = [&] {
    return next != changes->end() && (end.empty() || next->first < end);
  };
  bool stopped = false;
  // Visits the changes before `key`; a change of `key` itself hides the base's value.
  const auto visit_base = [&](std::string_view key, std::string_view value) {
    while (in_range() && next->first < key) {
      const auto at = next++;
      if (at->second.has_value() && !visit(at->first, *at->second)) {
        stopped = true;
        return false;
      }
    }
    bool more = true;
    if (in_range() && next->first == key) {
      const auto at = next++;
      if (at->second.has_value()) more = visit(at->first, *at->second);
    } else {
      more = visit(key, value);
    }
    stopped = !more;
    return more;
  };
  TRY_VOID(base_.scan(begin, end, visit_base));
  while (!stopped && in_range()) {
    const auto at = next++;
    if (at->second.has_value() && !visit(at->first, *at->second)) stopped = true;
  }
  return {};
}

}  // namespace cairn::kv
