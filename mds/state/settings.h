// Settings of the whole cluster: one table with every name, its type, default, range and meaning.
// `cairn set-config` and `get-config` show what is here; a new setting is a constant and a line of
// the table. Pure.
//
// The master checks names and values before it proposes them; the state machine keeps what the log
// says as text (table V), so that members of different versions stay equal. A stored value that
// this version cannot read counts as the default.
//
// Errors:   kInvalidArgument, with the name and the range.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "common/base/result.h"

namespace cairn::mds::state {

enum class SettingType : std::uint8_t { kNumber, kFlag };

struct SettingSpec {
  std::string_view name;
  SettingType type = SettingType::kNumber;
  std::uint64_t default_value = 0;
  std::uint64_t min = 0;  // a flag: 0 and 1
  std::uint64_t max = 0;
  std::string_view unit;  // of a number; empty: a bare number
  std::string_view help;  // one sentence
};

namespace settings {

inline constexpr SettingSpec kVerifyChunks = {
    .name = "mds.wd.verify_chunks",
    .type = SettingType::kNumber,
    .default_value = 2,
    .min = 0,
    .max = 1000,
    .unit = "pieces a minute and chunk server",
    .help =
        "How many stored pieces each chunk server reads and verifies a minute beside its other "
        "work; 0: none."};

inline constexpr SettingSpec kConvertWorkers = {
    .name = "mds.convert.workers",
    .type = SettingType::kNumber,
    .default_value = 2,
    .min = 0,
    .max = 64,
    .unit = "files at a time",
    .help =
        "How many files are brought into another encoding at the same time, each by a chunk server "
        "of its own; 0: conversion pauses."};

}  // namespace settings

// All of them, by name.
std::span<const SettingSpec* const> all_settings();
// nullptr when this version knows no such setting.
const SettingSpec* find_setting(std::string_view name);

// "0 to 1000 pieces a minute and chunk server", "0 or 1".
std::string range_text(const SettingSpec& spec);
// A number in plain digits; a flag also as on, off, yes, no.
Result<std::uint64_t> parse_setting(const SettingSpec& spec, std::string_view text);

}  // namespace cairn::mds::state
