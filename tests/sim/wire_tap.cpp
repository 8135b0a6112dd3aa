#include "tests/sim/wire_tap.h"

#include <cstdlib>

#include "common/net/frame.h"
#include "proto/data_plane.pb.h"
#include "proto/mds_client.pb.h"

namespace cairn::sim {

namespace {

template <class Message>
Message parse(Bytes meta) {
  Message message;
  // What does not parse counts as empty: the receiver is the one who complains.
  if (!message.ParseFromArray(meta.data(), static_cast<int>(meta.size()))) return Message();
  return message;
}

}  // namespace

void Traffic::tell(DataCoverage& coverage) const {
  coverage.count("wire.prepares", prepares);
  coverage.count("wire.delta_prepares", delta_prepares);
  coverage.count("wire.zeroing_prepares", zeroing_prepares);
  coverage.count("wire.reads", reads);
  coverage.count("wire.seals", seals);
  coverage.count("wire.resolves", resolves);
  coverage.count("wire.forwards", forwards);
  coverage.count("wire.holds", holds);
  coverage.count("wire.repairs", repairs);
  coverage.count("wire.whole_repairs", whole_repairs);
  coverage.count("wire.checks", checks);
  coverage.count("wire.pings", pings);
  coverage.count("wire.drops", drops);
  coverage.count("wire.region_drops", region_drops);
  coverage.count("wire.closes", closes);
  coverage.count("wire.shadows", shadows);
  coverage.count("wire.swaps", swaps);
  coverage.count("wire.conversions_abandoned", abandoned);
  coverage.count("wire.waits", waits);
}

WireTap::WireTap(const SimWorld& world)
    : world_(world), prints_(std::getenv("CAIRN_SIM_WIRE") != nullptr) {}

void WireTap::see(const std::vector<Bytes>& parts) {
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].size() != net::kFrameHeaderBytes) continue;
    const auto header = net::decode_frame_header(parts[i].subspan<0, net::kFrameHeaderBytes>());
    if (!header.has_value() || header->kind == net::FrameKind::kReply) continue;
    const bool has_meta = i + 1 < parts.size() && parts[i + 1].size() == header->meta_bytes;
    count(header->op, has_meta ? parts[i + 1] : Bytes());
    if (prints_) print(header->op, has_meta ? parts[i + 1] : Bytes());
  }
}

void WireTap::print(std::uint16_t op, Bytes meta) const {
  std::string text;
  switch (op) {
    case pb::OP_PREPARE: {
      auto prepare = parse<pb::Prepare>(meta);
      prepare.clear_crcs();
      text = prepare.ShortDebugString();
      break;
    }
    case pb::OP_READ:
      text = parse<pb::Read>(meta).ShortDebugString();
      break;
    case pb::OP_SETTLE:
      text = parse<pb::Settle>(meta).ShortDebugString();
      break;
    case pb::OP_SEAL:
      text = parse<pb::Seal>(meta).ShortDebugString();
      break;
    case pb::OP_RESOLVE:
      text = parse<pb::Resolve>(meta).ShortDebugString();
      break;
    case pb::OP_REPAIR:
      text = parse<pb::Repair>(meta).ShortDebugString();
      break;
    case pb::OP_CLIENT_REQUEST: {
      const auto request = parse<pb::ClientRequest>(meta);
      const bool data =
          request.has_open_chunk() || request.has_drop_pieces() || request.has_close_chunk() ||
          request.has_commit_file() || request.has_acquire_lease() || request.has_release_lease() ||
          request.has_make_shadow() || request.has_swap_data() || request.next_conversion().ended();
      if (data) text = request.ShortDebugString();
      break;
    }
    default:
      break;
  }
  if (text.empty()) return;
  std::fprintf(stderr, "%.6f   %s %s\n", static_cast<double>(world_.now().nanos()) / 1e9,
               pb::Op_Name(op).c_str(), text.c_str());
}

void WireTap::count(std::uint16_t op, Bytes meta) {
  switch (op) {
    case pb::OP_PREPARE: {
      const auto prepare = parse<pb::Prepare>(meta);
      ++traffic_.prepares;
      if (prepare.deltas_size() != 0) ++traffic_.delta_prepares;
      if (prepare.zeroes_size() != 0) ++traffic_.zeroing_prepares;
      break;
    }
    case pb::OP_READ:
      ++traffic_.reads;
      break;
    case pb::OP_SEAL:
      ++traffic_.seals;
      break;
    case pb::OP_RESOLVE:
      ++traffic_.resolves;
      traffic_.forwards += static_cast<std::uint64_t>(parse<pb::Resolve>(meta).forward_size());
      break;
    case pb::OP_HOLD_CHUNK:
      ++traffic_.holds;
      break;
    case pb::OP_REPAIR:
      ++traffic_.repairs;
      if (parse<pb::Repair>(meta).whole()) ++traffic_.whole_repairs;
      break;
    case pb::OP_CHECK:
      ++traffic_.checks;
      break;
    case pb::OP_PING:
      ++traffic_.pings;
      break;
    case pb::OP_CLIENT_REQUEST: {
      const auto request = parse<pb::ClientRequest>(meta);
      if (request.has_close_chunk()) ++traffic_.closes;
      if (request.has_make_shadow()) ++traffic_.shadows;
      if (request.has_swap_data()) ++traffic_.swaps;
      if (request.next_conversion().has_trouble()) ++traffic_.abandoned;
      if (request.keep_alive().waiting_writes() != 0) ++traffic_.waits;
      if (!request.has_drop_pieces()) break;
      ++(request.drop_pieces().pieces() != 0 ? traffic_.drops : traffic_.region_drops);
      break;
    }
    default:
      break;
  }
}

}  // namespace cairn::sim
