// The commands that make and configure a chunk server of this host.
#pragma once

#include <string>

#include "admin/commands/command.h"

namespace cairn::admin {

enum class FlushCheckWish { kAsk, kYes, kNo };  // kAsk: only on a terminal

struct MakeCs {
  std::string repository;  // -r
  std::string address;     // -a ADDR[:PORT]; empty: the address that reaches the MDS
  std::uint32_t tier = 0;  // -t
  std::string size;        // --size; empty: what the filesystem has
  std::string journal;     // -j; empty: in the repository
  std::string journal_mb;  // -s; empty: the default
  bool no_journal = false;
  std::string tune = "hdd";   // -T
  bool no_checksums = false;  // -S
  std::string device;         // --device
  FlushCheckWish flush_check = FlushCheckWish::kAsk;
};
Outcome<Output> make_cs(const Globals& globals, const MakeCs& options);

struct ConfigureCs {
  std::string repository;  // -r: DIR or DIR/data
  std::string add;         // -a DIR
  bool destroy = false;    // -d
  std::string journal_mb;  // -s
  std::string tune;        // -T; empty: as it is
  bool status = false;     // --status
  bool commit = false;     // --commit
  unsigned wait_s = 3600;  // --wait
};
Outcome<Output> configure_cs(const Globals& globals, const ConfigureCs& options);

}  // namespace cairn::admin
