// Codec against raw ISA-L on the same buffers: GiB of file data a second, median of five rounds,
// and the ratio. "raw" is ec_encode_data with the same matrix; "special" is ISA-L's xor_gen or
// pq_gen, which need aligned buffers, where one exists for the code.
//
//   cairn_bench_codec [bytes of a piece = 131072]
#include <fmt/format.h>
#include <isa-l/erasure_code.h>
#include <isa-l/raid.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>

#include "common/base/buffer.h"
#include "common/base/prng.h"
#include "common/erasure/codec.h"
#include "common/erasure/matrix.h"

namespace cairn::erasure {
namespace {

constexpr int kRounds = 5;
constexpr double kRoundSeconds = 0.04;

struct Work {
  std::shared_ptr<const Codec> codec;
  std::size_t length = 0;
  std::vector<Buffer> buffers;
  std::vector<std::byte*> pieces;
  std::vector<const std::byte*> data;
  std::vector<std::byte> tables;

  unsigned count() const { return codec->data() + codec->parity(); }
};

std::uint8_t* raw(std::byte* at) { return reinterpret_cast<std::uint8_t*>(at); }

Work make_work(unsigned data, unsigned parity, std::size_t length) {
  Work work;
  work.codec = Codec::get(data, parity);
  work.length = length;
  Prng prng(1);
  for (unsigned i = 0; i < data + parity; ++i) {
    work.buffers.push_back(Buffer::allocate(length));
    for (std::byte& b : work.buffers.back().span()) b = static_cast<std::byte>(prng.next());
    work.pieces.push_back(work.buffers.back().data());
  }
  work.data.assign(work.pieces.begin(), work.pieces.begin() + data);
  return work;
}

using Step = void (*)(Work&);

// The medians of GiB of data a second of several steps. They take turns round by round, so that a
// change of clock speed or of neighbours hits all alike.
template <std::size_t kSteps>
std::array<double, kSteps> gib_per_second(Work& work, const std::array<Step, kSteps>& steps) {
  using Clock = std::chrono::steady_clock;
  std::array<std::array<double, kRounds>, kSteps> rates{};
  for (int round = -1; round < kRounds; ++round) {  // round -1 warms up
    for (std::size_t i = 0; i < kSteps; ++i) {
      const auto begin = Clock::now();
      double seconds = 0;
      double bytes = 0;
      while (seconds < kRoundSeconds) {
        for (int n = 0; n < 8; ++n) steps[i](work);
        bytes += 8.0 * static_cast<double>(work.length) * work.codec->data();
        seconds = std::chrono::duration<double>(Clock::now() - begin).count();
      }
      if (round >= 0) rates[i][static_cast<std::size_t>(round)] = bytes / seconds / (1 << 30);
    }
  }
  std::array<double, kSteps> medians{};
  for (std::size_t i = 0; i < kSteps; ++i) {
    std::sort(rates[i].begin(), rates[i].end());
    medians[i] = rates[i][kRounds / 2];
  }
  return medians;
}

void codec_encode(Work& work) {
  work.codec->encode(work.data, std::span(work.pieces).subspan(work.codec->data()), work.length);
}

void raw_multiply(Work& work, unsigned first_source, unsigned rows, unsigned first_target) {
  std::array<std::uint8_t*, 32> from{};
  std::array<std::uint8_t*, 32> to{};
  for (unsigned i = 0; i < work.codec->data(); ++i) from[i] = raw(work.pieces[first_source + i]);
  for (unsigned i = 0; i < rows; ++i) to[i] = raw(work.pieces[first_target + i]);
  ec_encode_data(static_cast<int>(work.length), static_cast<int>(work.codec->data()),
                 static_cast<int>(rows), raw(work.tables.data()), from.data(), to.data());
}
void raw_encode(Work& work) { raw_multiply(work, 0, work.codec->parity(), work.codec->data()); }

// Rebuild of the first N pieces from the last M.
void codec_rebuild(Work& work) {
  const PieceMask all = (PieceMask{1} << work.count()) - 1;
  const PieceMask lost = (PieceMask{1} << work.codec->parity()) - 1;
  const Status status = work.codec->rebuild(all & ~lost, lost, work.pieces, work.length);
  CHECK(status.has_value());
}
void raw_rebuild(Work& work) { raw_multiply(work, work.codec->parity(), work.codec->parity(), 0); }

void special(Work& work) {
  std::array<void*, 32> all{};
  std::copy(work.pieces.begin(), work.pieces.end(), all.begin());
  const auto count = static_cast<int>(work.count());
  const auto length = static_cast<int>(work.length);
  const int failed = work.codec->parity() == 1 ? xor_gen(count, length, all.data())
                                               : pq_gen(count, length, all.data());
  CHECK_EQ(failed, 0);
}

void set_tables(Work& work, const Matrix& matrix) {
  work.tables.assign(std::size_t{32} * matrix.rows * matrix.columns, std::byte{0});
  std::array<std::uint8_t, std::tuple_size_v<decltype(matrix.at)>> coefficients = matrix.at;
  ec_init_tables(static_cast<int>(matrix.columns), static_cast<int>(matrix.rows),
                 coefficients.data(), raw(work.tables.data()));
}

void measure(unsigned data, unsigned parity, std::size_t length) {
  Work work = make_work(data, parity, length);
  const Matrix rows = parity_rows(data, parity);
  set_tables(work, rows);
  const auto encode = gib_per_second<2>(work, {codec_encode, raw_encode});
  double special_rate = 0;
  if (parity <= 2) special_rate = gib_per_second<1>(work, {special})[0];
  const PieceMask all = (PieceMask{1} << work.count()) - 1;
  const PieceMask lost = (PieceMask{1} << parity) - 1;
  codec_encode(work);
  set_tables(work, decode_rows(rows, all & ~lost, lost));
  const auto rebuild = gib_per_second<2>(work, {codec_rebuild, raw_rebuild});
  fmt::print("{:>2}+{}  {:8.2f} {:8.2f} {:6.3f} {:>8}  {:8.2f} {:8.2f} {:6.3f}\n", data, parity,
             encode[0], encode[1], encode[0] / encode[1],
             special_rate > 0 ? fmt::format("{:.2f}", special_rate) : "-", rebuild[0], rebuild[1],
             rebuild[0] / rebuild[1]);
}

}  // namespace
}  // namespace cairn::erasure

int main(int argc, char** argv) {
  const std::size_t length = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 131072;
  if (length == 0 || length % 64 != 0 || length > (1U << 30)) {
    fmt::print(stderr, "the bytes of a piece must be a multiple of 64, at most 1 GiB\n");
    return 2;
  }
  fmt::print("pieces of {} bytes, GiB/s of data, median of 5\n", length);
  fmt::print("code    encode      raw  ratio  special   rebuild      raw  ratio\n");
  for (const auto& [data, parity] :
       {std::pair{2U, 1U}, std::pair{4U, 1U}, std::pair{3U, 2U}, std::pair{5U, 2U},
        std::pair{8U, 2U}, std::pair{17U, 2U}, std::pair{5U, 3U}, std::pair{8U, 3U},
        std::pair{17U, 3U}, std::pair{17U, 4U}}) {
    cairn::erasure::measure(data, parity, length);
  }
  return 0;
}
