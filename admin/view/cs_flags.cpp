#include "admin/view/cs_flags.h"

#include <array>
#include <string_view>

namespace cairn::admin {
namespace {

struct Trouble {
  char letter;
  std::string_view meaning;
  std::string_view next;
};

constexpr std::array kTroubles = {
    Trouble{'H', "the drive returned an I/O error, and this CS serves nothing.",
            "Look at the drive (dmesg, smartctl). Put a good one in and make a CS on it: "
            "cairn make-cs"},
    Trouble{'h',
            "stored blocks do not match their checksums; they are read and healed from the "
            "other pieces.",
            "See how many: cairn stat -v. If more come, replace the drive."},
    Trouble{'S', "the journal is gone or damaged, and this CS serves nothing rather than old data.",
            "Bring the journal's drive back; restart cairn-csd unless it serves by then. If it is "
            "lost, make a new CS: cairn make-cs"},
    Trouble{'R', "the repository is not at its path; nothing was written there.",
            "Mount its drive: it serves within seconds."},
    Trouble{'T', "the drive did not answer in time.",
            "If it lasts, look at the drive, its cable and controller (dmesg)."},
};

}  // namespace

std::string cs_flags(const pb::CsStat& cs) {
  std::string flags;
  for (const char letter : cs.statistics().flags() + cs.trouble()) {
    if (flags.find(letter) == std::string::npos) flags += letter;
  }
  return flags.empty() ? "-" : flags;
}

std::string trouble_legend(const google::protobuf::RepeatedPtrField<pb::CsStat>& servers) {
  std::string seen;
  for (const pb::CsStat& cs : servers) seen += cs_flags(cs);
  std::string text;
  for (const Trouble& trouble : kTroubles) {
    if (seen.find(trouble.letter) == std::string::npos) continue;
    text += std::string("Flag ") + trouble.letter + ": " + std::string(trouble.meaning) + "\n  " +
            std::string(trouble.next) + "\n";
  }
  return text;
}

}  // namespace cairn::admin
