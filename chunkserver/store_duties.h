// StoreDuties: what the Keeper carries between the master and a chunk server that has a store.
//
// Requires: everything it refers to outlives it.
#pragma once

#include <functional>

#include "chunkserver/care/scrubber.h"
#include "chunkserver/cluster/duties.h"
#include "chunkserver/convert/conversion_duty.h"
#include "chunkserver/data/data_service.h"
#include "chunkserver/io/metered_device.h"
#include "chunkserver/store/piece_store.h"

namespace cairn::chunkserver {

class StoreDuties final : public cluster::Duties {
 public:
  struct Parts {
    store::PieceStore& store;
    io::MeteredDevice& device;
    const data::DataService& service;
    care::Scrubber& scrubber;
    convert::ConversionDuty& conversion;
    std::function<std::uint64_t()> ring_errors;  // of a journal outside the data file; may be empty
    bool checks = true;                          // on every read
  };
  explicit StoreDuties(Parts parts) : parts_(std::move(parts)) {}

  pb::CsStatistics statistics() override;
  std::optional<cluster::Failure> failure() const override;
  Task<Status> remove(PieceId piece, std::optional<ChunkVersion> most) override {
    // Its chunk is gone: a PREPARE that was on its way must not make it anew.
    if (!most.has_value()) parts_.store.bury(piece, ChunkVersion(UINT64_MAX));
    return parts_.store.remove(piece, most);
  }
  void set_verify_rate(std::uint32_t pieces) override { parts_.scrubber.set_rate(pieces); }
  void offer_conversion() override { parts_.conversion.offer(); }
  void take_scrub_tasks(const std::vector<pb::ScrubTask>& tasks) override {
    parts_.scrubber.take_tasks(tasks);
  }
  std::vector<pb::ScrubDone> scrubbed() const override { return parts_.scrubber.done(); }
  void scrub_reported(const std::vector<pb::ScrubDone>& reported) override {
    parts_.scrubber.reported(reported);
  }

 private:
  Parts parts_;
};

}  // namespace cairn::chunkserver
