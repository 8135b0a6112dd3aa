// Scrubs that were asked for (`cairn scrub`), for people and programs.
#pragma once

#include <string>
#include <vector>

#include "proto/admin.pb.h"

namespace cairn::admin {

// While it runs, one line without its end: "6 of 24 pieces verified (25.0%), 0 blocks damaged".
std::string scrub_progress(const pb::ScrubReply& scrub);
// What was found, with the next step.
std::string scrub_text(const pb::ScrubReply& scrub);
std::string scrub_json(const pb::ScrubReply& scrub);
std::string scrub_list(const std::vector<pb::ScrubReply>& scrubs);
std::string scrub_list_json(const std::vector<pb::ScrubReply>& scrubs);

// 0 clean or still running, 1 damage was found, 8 not everything could be verified.
int scrub_exit_code(const pb::ScrubReply& scrub);

}  // namespace cairn::admin
