// What a chunk server tells of itself through its control door, for people. Pure.
#pragma once

#include <string>

#include "common/cluster/control_protocol.h"

namespace cairn::admin {

bool cs_journal_on(const cluster::control::Json& state);
std::string cs_journal_directory(const cluster::control::Json& state);  // empty: in the repository

// "a journal of 2048 MB at /ssd/cs1", "no journal".
std::string cs_journal_text(const cluster::control::Json& state);
// "CS 1025: before no journal, now a journal of ...".
std::string cs_change_text(const cluster::control::Json& before,
                           const cluster::control::Json& after);
// One line while it works.
std::string cs_progress_text(const cluster::control::Json& progress);
// All of it, several lines.
std::string cs_state_text(const cluster::control::Json& state);

}  // namespace cairn::admin
