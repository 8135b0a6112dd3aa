// The letters of a chunk server's flags (guide, V5.3 and V8.1.8), from what is the case. Pure.
//
//   J a write journal, C checksums verified on read, D direct I/O, c the journal is clean
//   h damaged blocks, H the drive is broken, S the journal is, R the repository is not there,
//   T the drive hangs
#pragma once

#include <optional>
#include <string>

#include "chunkserver/cluster/duties.h"
#include "common/base/error.h"

namespace cairn::chunkserver::health {

// Why a store is fenced, or did not open.
char trouble_letter(const Error& error);
cluster::Failure failure_of(const Error& error);

struct FlagFacts {
  bool journal = false;
  bool checks = false;
  bool direct = false;
  bool clean = false;
  bool damaged = false;
  bool drive_errors = false;  // reads that failed: the drive is going
  std::optional<char> trouble = {};
};
std::string flags_of(const FlagFacts& facts);

}  // namespace cairn::chunkserver::health
