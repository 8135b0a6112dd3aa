#include "chunkserver/care/scrub_state.h"

#include <fmt/format.h>

#include <charconv>

#include "common/base/crc32c.h"
#include "common/base/limits.h"

namespace cairn::chunkserver::care {
namespace {

constexpr std::string_view kHead = "cairn scrub 1\n";

std::unexpected<Error> damaged(const char* what) {
  return fail(Code::kCorrupt, fmt::format("the scrub's state is damaged: {}", what));
}

// Takes "name value\n" off the text; the value must be a number and nothing else.
template <class Number>
bool take_number(std::string_view* text, std::string_view before, char end, int base,
                 Number* number) {
  if (!text->starts_with(before)) return false;
  text->remove_prefix(before.size());
  const char* const last = text->data() + text->size();
  const auto [stop, error] = std::from_chars(text->data(), last, *number, base);
  if (error != std::errc() || stop == last || *stop != end) return false;
  text->remove_prefix(static_cast<std::size_t>(stop - text->data()) + 1);
  return true;
}

}  // namespace

std::string encode_scrub_state(const ScrubState& state) {
  std::string text(kHead);
  if (state.after.has_value()) {
    text += fmt::format("after {:x} {}\n", state.after->chunk.raw(), state.after->index.raw());
  } else {
    text += "after none\n";
  }
  text += fmt::format("verified {}\nbegan {}\nended {}\n", state.verified, state.began_ns,
                      state.ended_ns);
  text += fmt::format("crc {:08x}\n", crc32c(as_bytes(text)));
  return text;
}

Result<ScrubState> decode_scrub_state(std::string_view text) {
  constexpr std::string_view kNone = "after none\n";
  const std::string_view whole = text;
  if (!text.starts_with(kHead)) return damaged("another first line");
  text.remove_prefix(kHead.size());
  ScrubState state;
  if (text.starts_with(kNone)) {
    text.remove_prefix(kNone.size());
  } else {
    std::uint64_t chunk = 0;
    std::uint32_t piece = 0;
    if (!take_number(&text, "after ", ' ', 16, &chunk) || !take_number(&text, "", '\n', 10, &piece))
      return damaged("after");
    if (chunk == 0 || piece >= limits::kPiecesPerChunkMax) return damaged("no such piece");
    state.after = PieceId{ChunkId::from_raw(chunk), PieceIndex(static_cast<std::uint8_t>(piece))};
  }
  if (!take_number(&text, "verified ", '\n', 10, &state.verified)) return damaged("verified");
  if (!take_number(&text, "began ", '\n', 10, &state.began_ns)) return damaged("began");
  if (!take_number(&text, "ended ", '\n', 10, &state.ended_ns)) return damaged("ended");
  // Nothing but what we write ourselves, with its checksum, is taken.
  if (whole != encode_scrub_state(state)) return damaged("its checksum is wrong");
  return state;
}

}  // namespace cairn::chunkserver::care
