// DataCoverage: everything that the data-path workload counts, by name.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace cairn::sim {

class DataCoverage {
 public:
  void count(const std::string& name, std::uint64_t times = 1) { counts_[name] += times; }
  void add(const DataCoverage& other) {
    for (const auto& [name, times] : other.counts_) counts_[name] += times;
  }
  const std::map<std::string, std::uint64_t>& counts() const { return counts_; }
  std::uint64_t of(const std::string& name) const {
    const auto it = counts_.find(name);
    return it == counts_.end() ? 0 : it->second;
  }

 private:
  std::map<std::string, std::uint64_t> counts_;
};

}  // namespace cairn::sim
