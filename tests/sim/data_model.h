// DataModel: what one file of the data-path workload may contain, sector by sector.
//
// A sector (512 B) is filled from the tag of the write that made it, so that whatever is read tells
// which write it came from; tag 0 is zeros. For each 4 KiB block the model keeps all states since
// the last that is known to be durable; the newest is the present one.
//
// certain:   a read must see exactly the present state, whoever reads.
// doubtful:  some lives of clients may have lost what was not durable (killed, stopped, cut off
//            from the master, below the minimum for long): each block has one of its states. A
//            whole read by somebody else says which, and from then on nothing else is legal.
// ghosts:    changes whose client stopped in the middle may still happen, on top of later ones:
//            while there are any only sectors are judged, and nothing is settled.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/base/buffer.h"
#include "common/base/units.h"

namespace cairn::sim {

inline constexpr std::uint64_t kSector = 512;
inline constexpr std::size_t kSectorsPerBlock = kBlockBytes / kSector;

using Tag = std::uint32_t;
// Of an append: it lies where the file ended then, which may be elsewhere than the model thinks.
inline constexpr Tag kAppended = Tag{1} << 31;
// One life of one client.
using LifeId = std::uint64_t;
// Counts the changes of a file.
using ChangeNumber = std::uint64_t;

// Fills whole sectors of a file with a tag; `first`: number of the first sector in the file.
void fill_sectors(MutableBytes bytes, std::uint64_t first, Tag tag);
// nullopt: no sector that anybody wrote, or one of another place.
std::optional<Tag> read_sector(Bytes sector, std::uint64_t number);

// A whole file as somebody saw it.
struct Observed {
  std::uint64_t size = 0;
  std::vector<Tag> sectors;
};

class DataModel {
 public:
  using Block = std::array<Tag, kSectorsPerBlock>;
  struct Change {
    std::uint64_t first = 0;  // sectors
    std::uint64_t count = 0;
    Tag tag = 0;  // 0: a truncation, from `first` on
  };

  std::uint64_t size() const { return sizes_.back().size; }
  ChangeNumber changes() const { return changes_; }
  bool doubtful() const { return !doubts_.empty(); }
  bool doubted_by(LifeId life) const { return doubts_.contains(life); }
  bool doubted_only_by(LifeId life) const { return doubts_ == std::set<LifeId>{life}; }
  Block block(std::uint64_t number) const;
  Tag sector(std::uint64_t number) const;

  // A change begins, on top of the present state.
  void apply(const Change& change);
  // Everything up to that change is durable, said an fsync that began then.
  void durable(ChangeNumber upto);
  // Everything is: another client has seen it.
  void all_durable() { durable(changes_); }

  void doubt(LifeId life) { doubts_.insert(life); }
  // It proved that it lost nothing.
  void trust(LifeId life) { doubts_.erase(life); }
  void add_ghost() {
    ++ghosts_;
    loose_ = true;
  }
  void ghost_ended() { --ghosts_; }
  unsigned ghosts() const { return ghosts_; }
  // Somebody changes it while another one may lose what he changed before: blocks may be mixtures.
  void mix() { loose_ = true; }
  bool loose() const { return loose_; }

  // Of a certain file, from a sector on: "" or what differs.
  std::string check_exactly(const Observed& seen) const;
  // Of a doubtful one: "" or which block has none of its states.
  std::string check_legal(const Observed& seen) const;
  // The oldest change that `seen` does not show; nullopt: it shows all, or that cannot be told.
  std::optional<ChangeNumber> oldest_lost(const Observed& seen) const;
  // After check_legal(): `seen` is the present state. `settled`: and the only legal one.
  void adopt(const Observed& seen, bool settled);

 private:
  struct State {
    ChangeNumber since = 0;
    Block block{};
  };
  struct Size {
    ChangeNumber since = 0;
    std::uint64_t size = 0;
  };
  using History = std::vector<State>;

  static Block seen_block(const Observed& seen, std::uint64_t number);
  static bool matches(const Block& state, const Observed& seen, std::uint64_t number);
  bool sectors_legal(const History& history, const Observed& seen, std::uint64_t number) const;
  void set_block(std::uint64_t number, const Block& block);
  std::string describe(const Observed& seen, std::uint64_t number) const;

  ChangeNumber changes_ = 0;
  std::vector<History> blocks_;
  std::vector<Size> sizes_{{0, 0}};
  std::set<LifeId> doubts_;
  unsigned ghosts_ = 0;
  bool loose_ = false;
};

}  // namespace cairn::sim
