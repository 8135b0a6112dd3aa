#include "mds/service/health_report.h"

#include <fmt/format.h>

namespace cairn::mds::service {

namespace {

using master::ChunkState;
using master::CsState;

std::string plural(std::uint64_t count, const char* one, const char* many) {
  return fmt::format("{} {}", count, count == 1 ? one : many);
}

std::string age(Duration duration) {
  const std::int64_t seconds = duration / 1s;
  if (seconds < 120) return fmt::format("{} s", seconds);
  if (seconds < 7200) return fmt::format("{} min", seconds / 60);
  return fmt::format("{} h", seconds / 3600);
}

// What the absence of a CS means for the chunks that have a piece there.
std::string meaning(const master::ChunkCensus::Count* census, std::uint32_t cs) {
  if (census == nullptr) return {};
  const auto at = census->by_cs.find(cs);
  if (at == census->by_cs.end()) return ": no chunk has a piece there";
  std::string text;
  for (const auto& [state, chunks] : at->second.chunks) {
    if (state == ChunkState::kHealthy || chunks == 0) continue;
    text += fmt::format("{}{} {} {}", text.empty() ? ": " : ", ", plural(chunks, "chunk", "chunks"),
                        chunks == 1 ? "is" : "are", master::chunk_state_text(state));
  }
  return text;
}

// Drives that serve and are not well. One sentence a cause and CS, never one a block.
void judge_drive(std::uint32_t id, const master::CsEntry& entry, pb::StatReply* reply) {
  const pb::CsStatistics& statistics = entry.statistics;
  const std::string name = fmt::format("CS {} at {}", id, entry.record.host());
  if (statistics.damaged_blocks() != 0) {
    reply->add_reasons(
        fmt::format("{} has {}: they are read from the other pieces and written anew from them",
                    name, plural(statistics.damaged_blocks(), "damaged block", "damaged blocks")));
  }
  for (const char letter : statistics.flags()) {
    if (std::string_view("HSRT").find(letter) == std::string_view::npos) continue;
    reply->add_reasons(fmt::format("{} reports trouble {} and still serves", name, letter));
  }
}

void judge_members(pb::StatReply* reply) {
  int voters = 0;
  int up = 0;
  for (const pb::MdsStat& mds : reply->mds()) {
    if (mds.role() != "voter") continue;
    ++voters;
    if (mds.status() == "avail") ++up;
  }
  for (const pb::MdsStat& mds : reply->mds()) {
    if (mds.status() == "avail") continue;
    const int needed = voters / 2 + 1;
    std::string text = fmt::format("MDS#{} at {} is {}", mds.id(), mds.address(), mds.status());
    if (mds.role() == "voter") {
      text += up == needed ? ": one more lost and the cluster stops"
                           : fmt::format(": {} of {} are up, {} are needed", up, voters, needed);
    }
    reply->add_reasons(std::move(text));
  }
}

void judge_chunks(const pb::ChunkStates& states, const master::ChunkCensus::Count& census,
                  pb::StatReply* reply) {
  if (states.offline() != 0) {
    reply->add_reasons(
        fmt::format("{} cannot be read: fewer pieces than the data needs are reachable",
                    plural(states.offline(), "chunk", "chunks")));
  }
  if (states.blocked() != 0) {
    reply->add_reasons(
        fmt::format("{} can be read, and writes wait: fewer pieces than the minimum are reachable",
                    plural(states.blocked(), "chunk", "chunks")));
  }
  if (states.pending() != 0) {
    reply->add_reasons(fmt::format(
        "writes to {} wait: fewer pieces than the minimum are left, and are being replaced",
        plural(states.pending(), "chunk", "chunks")));
  }
  if (census.at_edge != 0) {
    reply->add_reasons(
        fmt::format("{} can bear no further loss", plural(census.at_edge, "chunk", "chunks")));
  }
  if (census.missing_pieces != 0) {
    reply->add_reasons(fmt::format("{} of chunks {} missing: lost, stale or without a place",
                                   plural(census.missing_pieces, "piece", "pieces"),
                                   census.missing_pieces == 1 ? "is" : "are"));
  }
}

void judge_repairs(const master::Repairs::Progress& repairs, pb::StatReply* reply) {
  if (repairs.waiting == 0 || repairs.why.empty()) return;
  reply->add_reasons(fmt::format("{} with missing pieces {} for repair: {}",
                                 plural(repairs.waiting, "chunk", "chunks"),
                                 repairs.waiting == 1 ? "waits" : "wait", repairs.why));
}

}  // namespace

void report_health(const master::CsBoard& board, const master::ChunkCensus::Count* census,
                   const master::Repairs::Progress& repairs, Instant now, bool in_grace,
                   pb::StatReply* reply) {
  bool failure = false;
  for (const auto& [id, entry] : board.all()) {
    const CsState state = board.state(entry, now);
    if (state != CsState::kOffline) judge_drive(id, entry, reply);
    if (state == CsState::kActive) continue;
    std::string text =
        fmt::format("CS {} at {} is {}", id, entry.record.host(), master::cs_state_text(state));
    if (!entry.failure.why.empty()) {
      text += fmt::format(" because it reported a hard error ({}): {}", entry.failure.letter,
                          entry.failure.why);
    } else if (!entry.registered) {
      text += fmt::format(": it has not registered in the {} since this MDS knows it",
                          age(now - entry.last_seen));
    } else {
      text += fmt::format(": no heartbeat for {}", age(now - entry.last_seen));
    }
    reply->add_reasons(text + meaning(census, id));
  }
  judge_members(reply);
  if (census != nullptr) {
    judge_chunks(census->states, *census, reply);
    failure = census->states.offline() != 0;
  }
  judge_repairs(repairs, reply);
  if (in_grace) {
    reply->add_reasons(
        "this MDS restarted and waits for the clients to reconnect: files open before "
        "cannot be opened for writing by others yet");
  }
  if (board.all().empty()) reply->add_reasons("there is no chunk server: nothing can be written");
  reply->set_status(failure ? "failure" : reply->reasons_size() == 0 ? "healthy" : "degraded");
}

}  // namespace cairn::mds::service
