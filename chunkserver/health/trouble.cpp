#include "chunkserver/health/trouble.h"

namespace cairn::chunkserver::health {

char trouble_letter(const Error& error) {
  switch (error.code()) {
    case Code::kJournalFailed:
      return 'S';
    case Code::kTimeout:
      return 'T';
    default:
      return 'H';
  }
}

cluster::Failure failure_of(const Error& error) {
  return {.text = error.to_string(), .letter = trouble_letter(error)};
}

std::string flags_of(const FlagFacts& facts) {
  std::string flags;
  if (facts.journal) flags += 'J';
  if (facts.checks) flags += 'C';
  if (facts.direct) flags += 'D';
  if (facts.clean) flags += 'c';
  if (facts.damaged) flags += 'h';
  if (facts.drive_errors && facts.trouble != 'H') flags += 'H';
  if (facts.trouble.has_value()) flags += *facts.trouble;
  return flags;
}

}  // namespace cairn::chunkserver::health
