#include "tests/sim/data_model.h"

#include <algorithm>
#include <cstring>

#include "common/base/check.h"

namespace cairn::sim {

namespace {

constexpr std::size_t kWords = kSector / sizeof(std::uint64_t);
constexpr std::uint64_t kPlaceFactor = 0x9e3779b97f4a7c15ULL;
constexpr std::uint64_t kWordFactor = 0xbf58476d1ce4e5b9ULL;

std::uint64_t word_of(Tag tag, std::uint64_t number, std::size_t at) {
  if ((tag & kAppended) != 0) number = 0;
  return (std::uint64_t{tag} << 32 | tag) ^ (number + 1) * kPlaceFactor ^ at * kWordFactor;
}

}  // namespace

void fill_sectors(MutableBytes bytes, std::uint64_t first, Tag tag) {
  CHECK_EQ(bytes.size() % kSector, std::size_t{0});
  for (std::size_t begin = 0; begin < bytes.size(); begin += kSector) {
    const std::uint64_t number = first + begin / kSector;
    for (std::size_t i = 0; i < kWords; ++i) {
      const std::uint64_t word = tag == 0 ? 0 : word_of(tag, number, i);
      std::memcpy(bytes.data() + begin + i * sizeof(word), &word, sizeof(word));
    }
  }
}

std::optional<Tag> read_sector(Bytes sector, std::uint64_t number) {
  std::array<std::uint64_t, kWords> words;
  std::memcpy(words.data(), sector.data(), kSector);
  if (std::ranges::all_of(words, [](std::uint64_t word) { return word == 0; })) return Tag{0};
  for (const std::uint64_t place : {number, std::uint64_t{0}}) {
    const auto tag = static_cast<Tag>(words[0] ^ word_of(0, place, 0));
    bool same = place == number || (tag & kAppended) != 0;
    for (std::size_t i = 0; i < kWords; ++i) same = same && words[i] == word_of(tag, number, i);
    if (same) return tag;
  }
  return std::nullopt;
}

DataModel::Block DataModel::block(std::uint64_t number) const {
  return number < blocks_.size() ? blocks_[number].back().block : Block{};
}

Tag DataModel::sector(std::uint64_t number) const {
  return block(number / kSectorsPerBlock)[number % kSectorsPerBlock];
}

void DataModel::set_block(std::uint64_t number, const Block& block) {
  if (number >= blocks_.size()) {
    if (block == Block{}) return;
    blocks_.resize(number + 1, {State{}});
  }
  History& history = blocks_[number];
  if (history.back().block != block) history.push_back({changes_, block});
}

void DataModel::apply(const Change& change) {
  ++changes_;
  if (change.tag == 0) {
    sizes_.push_back({changes_, change.first * kSector});
    for (std::uint64_t number = change.first / kSectorsPerBlock; number < blocks_.size();
         ++number) {
      Block now = block(number);
      for (std::size_t i = 0; i < kSectorsPerBlock; ++i) {
        if (number * kSectorsPerBlock + i >= change.first) now[i] = 0;
      }
      set_block(number, now);
    }
    return;
  }
  const std::uint64_t end = change.first + change.count;
  for (std::uint64_t number = change.first / kSectorsPerBlock; number * kSectorsPerBlock < end;
       ++number) {
    Block now = block(number);
    for (std::size_t i = 0; i < kSectorsPerBlock; ++i) {
      const std::uint64_t sector = number * kSectorsPerBlock + i;
      if (sector >= change.first && sector < end) now[i] = change.tag;
    }
    set_block(number, now);
  }
  if (end * kSector > size()) sizes_.push_back({changes_, end * kSector});
}

void DataModel::durable(ChangeNumber upto) {
  const auto trim = [upto](auto& history) {
    auto first = history.begin();
    while (std::next(first) != history.end() && std::next(first)->since <= upto) ++first;
    history.erase(history.begin(), first);
  };
  for (History& history : blocks_) trim(history);
  trim(sizes_);
}

DataModel::Block DataModel::seen_block(const Observed& seen, std::uint64_t number) {
  Block block{};
  for (std::size_t i = 0; i < kSectorsPerBlock; ++i) {
    const std::uint64_t sector = number * kSectorsPerBlock + i;
    if (sector < seen.sectors.size()) block[i] = seen.sectors[sector];
  }
  return block;
}

bool DataModel::matches(const Block& state, const Observed& seen, std::uint64_t number) {
  for (std::size_t i = 0; i < kSectorsPerBlock; ++i) {
    const std::uint64_t sector = number * kSectorsPerBlock + i;
    if (sector < seen.sectors.size() && state[i] != seen.sectors[sector]) return false;
  }
  return true;
}

std::string DataModel::describe(const Observed& seen, std::uint64_t number) const {
  const auto print = [](const Block& block) {
    std::string text;
    for (const Tag tag : block) text += " " + std::to_string(tag);
    return "[" + text + " ]";
  };
  std::string text =
      "block " + std::to_string(number) + " is " + print(seen_block(seen, number)) + ", legal: ";
  if (number >= blocks_.size()) return text + "zeros";
  for (const State& state : blocks_[number]) text += print(state.block);
  return text;
}

std::string DataModel::check_exactly(const Observed& seen) const {
  if (seen.size != size()) {
    return "a size of " + std::to_string(seen.size) + " instead of " + std::to_string(size());
  }
  for (std::uint64_t number = 0; number * kBlockBytes < seen.size; ++number) {
    if (!matches(block(number), seen, number)) {
      return describe(seen, number) + ", expected the last of them";
    }
  }
  return {};
}

bool DataModel::sectors_legal(const History& history, const Observed& seen,
                              std::uint64_t number) const {
  const Block block = seen_block(seen, number);
  for (std::size_t i = 0; i < kSectorsPerBlock; ++i) {
    if (number * kSectorsPerBlock + i >= seen.sectors.size()) break;
    const bool known = std::ranges::any_of(
        history, [&](const State& state) { return state.block[i] == block[i]; });
    if (!known && block[i] != 0 && (block[i] & kAppended) == 0) return false;
  }
  return true;
}

std::string DataModel::check_legal(const Observed& seen) const {
  const auto same_size = [&](const Size& one) { return one.size == seen.size; };
  if (!loose_ && !std::ranges::any_of(sizes_, same_size)) {
    return "a size of " + std::to_string(seen.size) + " was never legal";
  }
  for (std::uint64_t number = 0; number * kBlockBytes < seen.size; ++number) {
    if (number >= blocks_.size()) {
      const bool legal =
          matches(Block{}, seen, number) || (loose_ && sectors_legal({State{}}, seen, number));
      if (!legal) return describe(seen, number);
      continue;
    }
    const History& history = blocks_[number];
    const bool legal = std::ranges::any_of(
        history, [&](const State& s) { return matches(s.block, seen, number); });
    if (!legal && !(loose_ && sectors_legal(history, seen, number))) return describe(seen, number);
  }
  return {};
}

std::optional<ChangeNumber> DataModel::oldest_lost(const Observed& seen) const {
  if (loose_) return std::nullopt;
  std::optional<ChangeNumber> oldest;
  const auto lost = [&](ChangeNumber since) { oldest = std::min(oldest.value_or(since), since); };
  const auto look = [&](const auto& history, const auto& same) {
    // The newest state that is the one seen.
    for (std::size_t i = history.size(); i-- > 0;) {
      if (!same(history[i])) continue;
      if (i + 1 < history.size()) lost(history[i + 1].since);
      return;
    }
  };
  look(sizes_, [&](const Size& one) { return one.size == seen.size; });
  for (std::uint64_t number = 0; number < blocks_.size(); ++number) {
    if (number * kBlockBytes >= seen.size) break;
    look(blocks_[number], [&](const State& s) { return matches(s.block, seen, number); });
  }
  return oldest;
}

void DataModel::adopt(const Observed& seen, bool settled) {
  ++changes_;
  if (seen.size != size()) sizes_.push_back({changes_, seen.size});
  const std::uint64_t blocks =
      std::max<std::uint64_t>(blocks_.size(), div_ceil(seen.size, kBlockBytes));
  for (std::uint64_t number = 0; number < blocks; ++number) {
    set_block(number, seen_block(seen, number));
  }
  if (!settled) return;
  all_durable();
  doubts_.clear();
  loose_ = ghosts_ != 0;
}

}  // namespace cairn::sim
