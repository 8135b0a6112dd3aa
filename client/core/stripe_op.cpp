#include "client/core/stripe_op.h"

#include <algorithm>
#include <array>

#include "client/core/reader.h"
#include "common/base/crc32c.h"
#include "common/base/limits.h"

namespace cairn::client {

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

// Bytes of one data block and how many rows on they lie together; zero tells that there are none.
struct Source {
  const std::byte* bytes = nullptr;
  std::uint64_t rows = 1;
  bool zero = false;
};

class Builder {
 public:
  Builder(FileCache& cache, const StripeSource& source)
      : cache_(cache), source_(source), at_(source.geometry) {
    op_.pieces.resize(at_.pieces());
  }

  StripeOp build() {
    for (const RowRun& run : source_.rows) {
      encode(run);
      for (unsigned piece = 0; piece < at_.data; ++piece) take_data(piece, run);
    }
    if (source_.zero_from.has_value()) zero_tail();
    mark_parity();
    for (const PieceWrite& piece : op_.pieces) {
      for (const Buffer& part : piece.body) op_.bytes += part.size();
    }
    return std::move(op_);
  }

 private:
  Source source_of(unsigned piece, std::uint64_t row, std::uint64_t most) const {
    const std::uint64_t block = at_.file_block(piece, row);
    if (source_.zero_from.has_value() && block >= *source_.zero_from) {
      return {zero_.data(), std::min(most, kSegmentBlocks), true};
    }
    if (source_.zero_from.has_value()) most = std::min(most, *source_.zero_from - block);
    const std::byte* bytes = nullptr;
    const std::uint64_t here = cache_.valid_run(block, most, &bytes);
    if (here != 0) return {bytes, here, false};
    const auto old = source_.old.find(block);
    if (old != source_.old.end()) return {old->second.data(), 1, false};
    // Neither known nor read, so never written.
    std::uint64_t rows = 1;
    while (rows < std::min(most, kSegmentBlocks) && !cache_.valid(block + rows) &&
           !source_.old.contains(block + rows)) {
      ++rows;
    }
    return {zero_.data(), rows, true};
  }

  // Parity of a run of rows, and the holes of a truncation. Runs before the blocks are claimed.
  void encode(const RowRun& run) {
    if (at_.parity == 0) return;
    if (at_.data == 1) return;  // copies: take_data() shares the blocks
    std::vector<Buffer> parity(at_.parity);
    for (Buffer& buffer : parity) buffer = Buffer::allocate(run.count * kBlockBytes);
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
        const Buffer blocks = parity[j].slice(part.first * kBlockBytes, part.count * kBlockBytes);
        add_body(op_.pieces[at_.data + j], at_.piece_first + run.first + part.first, blocks);
      }
    }
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
  StripeOp op_;
};

}  // namespace

StripeGeometry StripeGeometry::of(const layout::FileLayout& layout, std::uint64_t stripe) {
  StripeGeometry at;
  at.data = layout.encoding().data;
  at.parity = layout.encoding().parity;
  at.rows = layout.cell_bytes() / kBlockBytes;
  at.piece_blocks = layout.piece_bytes() / kBlockBytes;
  const std::uint64_t stripes = layout.piece_bytes() / layout.cell_bytes();
  at.chunk_index = stripe / stripes;
  at.piece_first = stripe % stripes * at.rows;
  at.file_first = stripe * at.rows * at.data;
  return at;
}

PieceMask StripeOp::writes_mask() const {
  PieceMask mask = 0;
  for (unsigned i = 0; i < pieces.size(); ++i) {
    if (!pieces[i].writes.empty()) mask |= piece_bit(i);
  }
  return mask;
}

PieceMask StripeOp::zeroes_only_mask() const {
  PieceMask mask = 0;
  for (unsigned i = 0; i < pieces.size(); ++i) {
    if (pieces[i].writes.empty() && !pieces[i].zeroes.empty()) mask |= piece_bit(i);
  }
  return mask;
}

std::vector<RowRun> dirty_rows(const FileCache& cache, const StripeGeometry& geometry,
                               std::uint64_t from) {
  std::vector<bool> dirty(geometry.rows, false);
  for (unsigned piece = 0; piece < geometry.data; ++piece) {
    const std::uint64_t first = geometry.file_block(piece, 0);
    for (const FileRun& run : cache.dirty_runs(first, geometry.rows)) {
      for (std::uint64_t i = 0; i < run.count; ++i) dirty[run.first - first + i] = true;
    }
  }
  std::vector<RowRun> rows;
  std::uint64_t total = 0;
  for (std::uint64_t row = from; row < geometry.rows && total < kRowsPerOpMax; ++row) {
    if (!dirty[row]) continue;
    add_block(rows, row, 1);
    ++total;
  }
  return rows;
}

PieceMask touched_pieces(const FileCache& cache, const StripeGeometry& geometry,
                         const std::vector<RowRun>& rows) {
  PieceMask touched = geometry.parity_mask();
  for (unsigned piece = 0; piece < geometry.data; ++piece) {
    for (const RowRun& run : rows) {
      const std::uint64_t first = geometry.file_block(piece, run.first);
      const std::optional<std::uint64_t> dirty = cache.next_dirty(first);
      if (dirty.has_value() && *dirty < first + run.count) touched |= piece_bit(piece);
    }
  }
  return touched;
}

std::vector<FileRun> missing_blocks(const FileCache& cache, const StripeSource& source,
                                    ByteCount stored_end) {
  std::vector<FileRun> missing;
  const StripeGeometry& at = source.geometry;
  if (at.data == 1 || at.parity == 0) return missing;
  std::uint64_t end = div_ceil(stored_end, kBlockBytes);
  if (source.zero_from.has_value()) end = std::min(end, *source.zero_from);
  for (unsigned piece = 0; piece < at.data; ++piece) {
    for (const RowRun& run : source.rows) {
      for (std::uint64_t row = run.first; row < run.first + run.count; ++row) {
        const std::uint64_t block = at.file_block(piece, row);
        if (block >= end || cache.valid(block) || source.old.contains(block)) continue;
        if (!missing.empty() && missing.back().first + missing.back().count == block) {
          ++missing.back().count;
        } else {
          missing.push_back({block, 1});
        }
      }
    }
  }
  return missing;
}

StripeOp build_stripe_op(FileCache& cache, const StripeSource& source) {
  return Builder(cache, source).build();
}

}  // namespace cairn::client
