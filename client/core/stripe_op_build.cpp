// StripeOp from the cache and a plan: claims, encodes, makes deltas.
#include <algorithm>
#include <array>

#include "client/core/reader.h"
#include "client/core/stripe_op.h"
#include "client/core/stripe_op_plan.h"
#include "common/base/crc32c.h"
#include "common/base/limits.h"

namespace cairn::client {

static_assert(kRowsPerOpMax * kBlockBytes <= limits::kPrepareBytesMax);

namespace {

void add_block(std::vector<layout::BlockRun>& runs, std::uint64_t first, std::uint64_t count) {
  if (!runs.empty() && runs.back().first + runs.back().count == first) {
    runs.back().count += count;
  } else {
    runs.push_back({first, count});
  }
}

void add_crcs(std::string& crcs, Bytes blocks) {
  for (std::size_t at = 0; at < blocks.size(); at += kBlockBytes) {
    std::array<std::byte, 4> field;
    store_le(field.data(), crc32c(blocks.subspan(at, kBlockBytes)));
    crcs.append(reinterpret_cast<const char*>(field.data()), field.size());
  }
}

void add_body(PieceWrite& piece, std::uint64_t first, const Buffer& blocks) {
  add_block(piece.writes, first, blocks.size() / kBlockBytes);
  add_crcs(piece.crcs, blocks.span());
  piece.body.push_back(blocks);
}

void xor_block(const std::byte* a, const std::byte* b, std::byte* into) {
  for (std::size_t at = 0; at < kBlockBytes; at += sizeof(std::uint64_t)) {
    store_le(into + at, load_le<std::uint64_t>(a + at) ^ load_le<std::uint64_t>(b + at));
  }
}

// Bytes of one data block and how many rows on they lie together; zero tells that there are none.
struct Source {
  const std::byte* bytes = nullptr;
  std::uint64_t rows = 1;
  bool zero = false;
};

class Builder {
 public:
  Builder(FileCache& cache, const StripeSource& source)
      : cache_(cache), source_(source), at_(source.geometry), deltas_(source.geometry.pieces()) {
    op_.pieces.resize(at_.pieces());
  }

  StripeOp build() {
    // Parity first: a block that is claimed gives up its old bytes.
    for (const layout::RowRun& run : source_.plan.runs) {
      if (source_.targets == 0) continue;
      const RowRun rows{source_.first_row() + run.first, run.count};
      if (run.method == layout::RowMethod::kDelta) {
        add_deltas(rows, run.state.dirty);
      } else {
        CHECK(run.method == layout::RowMethod::kEncode);
        encode(rows);
      }
    }
    for (const RowRun& run : source_.rows) {
      for (unsigned piece = 0; piece < at_.data; ++piece) take_data(piece, run);
    }
    if (source_.zero_from.has_value()) zero_tail();
    mark_parity();
    for (unsigned i = 0; i < at_.pieces(); ++i) finish(i);
    return std::move(op_);
  }

 private:
  // Of a parity piece; they follow its writes.
  struct Deltas {
    std::vector<Buffer> body;
    std::string crcs;
  };

  Source source_of(unsigned piece, std::uint64_t row, std::uint64_t most) const {
    const std::uint64_t block = at_.file_block(piece, row);
    most = std::min(most, kSegmentBlocks);
    if (source_.is_cut(block)) return {zero_.data(), most, true};
    if (source_.zero_from.has_value()) most = std::min(most, *source_.zero_from - block);
    const std::byte* bytes = nullptr;
    const std::uint64_t here = cache_.valid_run(block, most, &bytes);
    if (here != 0) return {bytes, here, false};
    const Buffer& old = source_.old.at(piece, row);
    std::uint64_t rows = 1;
    if (!old.empty()) {
      while (rows < most && !cache_.valid(block + rows) &&
             source_.old.at(piece, row + rows).data() == old.data() + rows * kBlockBytes) {
        ++rows;
      }
      return {old.data(), rows, false};
    }
    // Neither known nor read, so never written.
    CHECK((source_.unwritten & piece_bit(piece)) != 0 || block >= source_.stored_end);
    while (rows < most && !cache_.valid(block + rows) &&
           source_.old.at(piece, row + rows).empty()) {
      ++rows;
    }
    return {zero_.data(), rows, true};
  }

  std::vector<Buffer> parity_buffers(std::uint64_t rows) const {
    std::vector<Buffer> parity(at_.parity);
    for (Buffer& buffer : parity) buffer = Buffer::allocate(rows * kBlockBytes);
    return parity;
  }
  bool is_target(unsigned parity) const {
    return (source_.targets & piece_bit(at_.data + parity)) != 0;
  }

  // New parity of a run of rows, straight from where the data blocks lie, and the holes of a
  // truncation.
  void encode(const RowRun& run) {
    std::vector<Buffer> parity = parity_buffers(run.count);
    std::array<const std::byte*, limits::kDataPiecesMax> data{};
    std::array<std::byte*, limits::kParityPiecesMax> out{};
    const auto codec = erasure::Codec::get(at_.data, at_.parity);
    std::vector<RowRun> written;  // within the run
    std::uint64_t step = 0;
    for (std::uint64_t row = 0; row < run.count; row += step) {
      step = run.count - row;
      bool all_zero = true;
      for (unsigned piece = 0; piece < at_.data; ++piece) {
        const Source source = source_of(piece, run.first + row, step);
        data[piece] = source.bytes;
        step = std::min(step, source.rows);
        all_zero = all_zero && source.zero;
      }
      if (all_zero) {
        for (unsigned j = 0; j < at_.parity; ++j) {
          if (!is_target(j)) continue;
          add_block(op_.pieces[at_.data + j].zeroes, at_.piece_first + run.first + row, step);
        }
        continue;
      }
      for (unsigned j = 0; j < at_.parity; ++j) out[j] = parity[j].data() + row * kBlockBytes;
      codec->encode(std::span(data.data(), at_.data), std::span(out.data(), at_.parity),
                    step * kBlockBytes);
      add_block(written, row, step);
    }
    for (const RowRun& part : written) {
      for (unsigned j = 0; j < at_.parity; ++j) {
        if (!is_target(j)) continue;
        const Buffer blocks = parity[j].slice(part.first * kBlockBytes, part.count * kBlockBytes);
        add_body(op_.pieces[at_.data + j], at_.piece_first + run.first + part.first, blocks);
      }
    }
  }

  // coefficient x (old XOR new) of the dirty blocks of each row, added up.
  void add_deltas(const RowRun& run, PieceMask dirty) {
    std::vector<Buffer> parity = parity_buffers(run.count);
    Buffer changed = Buffer::allocate(kBlockBytes);
    std::array<std::byte*, limits::kParityPiecesMax> out{};
    const auto codec = erasure::Codec::get(at_.data, at_.parity);
    for (std::uint64_t row = 0; row < run.count; ++row) {
      for (unsigned j = 0; j < at_.parity; ++j) {
        out[j] = parity[j].data() + row * kBlockBytes;
        std::memset(out[j], 0, kBlockBytes);
      }
      for (unsigned piece = 0; piece < at_.data; ++piece) {
        if ((dirty & piece_bit(piece)) == 0) continue;
        const std::byte* old = old_bytes(cache_, source_, piece, run.first + row);
        const std::byte* now = nullptr;
        CHECK(old != nullptr);
        CHECK_EQ(cache_.valid_run(at_.file_block(piece, run.first + row), 1, &now), 1U);
        xor_block(old, now, changed.data());
        codec->apply_delta(PieceIndex(static_cast<std::uint8_t>(piece)), changed.data(),
                           std::span(out.data(), at_.parity), kBlockBytes);
      }
    }
    for (unsigned j = 0; j < at_.parity; ++j) {
      if (!is_target(j)) continue;
      add_block(op_.pieces[at_.data + j].deltas, at_.piece_first + run.first, run.count);
      add_crcs(deltas_[at_.data + j].crcs, parity[j].span());
      deltas_[at_.data + j].body.push_back(parity[j]);
    }
  }

  void finish(unsigned piece) {
    PieceWrite& write = op_.pieces[piece];
    for (Buffer& part : deltas_[piece].body) write.body.push_back(std::move(part));
    write.crcs += deltas_[piece].crcs;
    for (const Buffer& part : write.body) op_.bytes += part.size();
  }

  void take_data(unsigned piece, const RowRun& run) {
    const std::uint64_t first = at_.file_block(piece, run.first);
    for (const FileRun& dirty : cache_.dirty_runs(first, run.count)) {
      std::uint64_t block = dirty.first;
      std::uint64_t left = dirty.count;
      while (left != 0) {
        const Buffer bytes = cache_.claim(block, left, &op_.pieces[piece].unaligned);
        const std::uint64_t count = bytes.size() / kBlockBytes;
        const std::uint64_t row = block - at_.file_block(piece, 0);
        add_body(op_.pieces[piece], at_.piece_first + row, bytes);
        op_.claimed.push_back({block, count});
        op_.file_end = std::max(op_.file_end, block + count);
        block += count;
        left -= count;
      }
    }
    if (at_.data == 1) {
      for (unsigned copy = 1; copy < at_.pieces(); ++copy) op_.pieces[copy] = op_.pieces[0];
    }
  }

  // Parity of a partly written block is as unaligned as the block. Copies are so already.
  void mark_parity() {
    const bool partly = std::any_of(op_.pieces.begin(), op_.pieces.begin() + at_.data,
                                    [](const PieceWrite& piece) { return piece.unaligned; });
    for (unsigned piece = at_.data; piece < at_.pieces() && at_.data != 1; ++piece) {
      op_.pieces[piece].unaligned = partly;
    }
  }

  // Holes of a truncation: data of this op's rows, and all that follows the stripe. Parity of the
  // rows is encode()'s work.
  void zero_tail() {
    const std::uint64_t from = *source_.zero_from;
    const std::uint64_t next_stripe = at_.piece_first + at_.rows;
    const bool more = source_.zero_rest && next_stripe < at_.piece_blocks;
    for (unsigned piece = 0; piece < at_.pieces(); ++piece) {
      PieceWrite& to = op_.pieces[piece];
      if (piece < at_.data || at_.data == 1) {
        const std::uint64_t begin = at_.file_block(at_.data == 1 ? 0 : piece, 0);
        const std::uint64_t kept = from <= begin ? 0 : std::min(from - begin, at_.rows);
        for (const RowRun& run : source_.rows) {
          const std::uint64_t first = std::max(run.first, kept);
          const std::uint64_t end = run.first + run.count;
          if (first < end) add_block(to.zeroes, at_.piece_first + first, end - first);
        }
      }
      if (more) add_block(to.zeroes, next_stripe, at_.piece_blocks - next_stripe);
    }
  }

  FileCache& cache_;
  const StripeSource& source_;
  const StripeGeometry at_;
  const Buffer zero_ = zeros(kSegmentBytes);
  std::vector<Deltas> deltas_;  // by piece
  StripeOp op_;
};

}  // namespace

StripeOp build_stripe_op(FileCache& cache, const StripeSource& source) {
  return Builder(cache, source).build();
}

}  // namespace cairn::client
