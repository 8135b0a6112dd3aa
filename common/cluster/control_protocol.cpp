#include "common/cluster/control_protocol.h"

#include <algorithm>
#include <initializer_list>

namespace cairn::cluster::control {
namespace {

std::string line_of(const Json& json) {
  // A name on the disk may be any bytes; what is no UTF-8 must not end the daemon.
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::unexpected<Error> wrong(std::string_view name) {
  return fail(Code::kInvalidArgument, "the field '" + std::string(name) + "' is missing or wrong");
}

Status only(const Json& json, std::initializer_list<std::string_view> names) {
  for (const auto& [name, value] : json.items()) {
    if (name == "op" || std::ranges::find(names, std::string_view(name)) != names.end()) continue;
    return fail(Code::kInvalidArgument, "the field '" + name.substr(0, 64) + "' is not known");
  }
  return {};
}

Result<std::string> text(const Json& json, const char* name, std::size_t most) {
  const auto it = json.find(name);
  if (it == json.end() || !it->is_string()) return wrong(name);
  std::string value = it->get<std::string>();
  const bool printable =
      std::ranges::all_of(value, [](char c) { return static_cast<unsigned char>(c) >= 0x20; });
  if (value.size() > most || !printable) return wrong(name);
  return value;
}

Result<std::uint64_t> number(const Json& json, const char* name, std::uint64_t least,
                             std::uint64_t most) {
  const auto it = json.find(name);
  if (it == json.end() || !it->is_number_unsigned()) return wrong(name);
  const auto value = it->get<std::uint64_t>();
  if (value < least || value > most) {
    return fail(Code::kInvalidArgument, "'" + std::string(name) + "' is not one of " +
                                            std::to_string(least) + " to " + std::to_string(most));
  }
  return value;
}

Result<std::chrono::seconds> timeout(const Json& json) {
  if (!json.contains("timeout_s")) return kControlTimeoutDefault;
  TRY(const std::uint64_t seconds,
      number(json, "timeout_s", 1, static_cast<std::uint64_t>(kControlTimeoutMax.count())));
  return std::chrono::seconds(seconds);
}

Result<Request> parse_journal(const Json& json) {
  TRY_VOID(only(json, {"on", "directory", "mb", "timeout_s"}));
  JournalRequest request;
  const auto on = json.find("on");
  if (on == json.end() || !on->is_boolean()) return wrong("on");
  request.on = on->get<bool>();
  TRY(request.directory, text(json, "directory", kDirectoryMax));
  if (!request.directory.empty() && !request.directory.starts_with('/')) return wrong("directory");
  TRY(const std::uint64_t mb,
      number(json, "mb", kJournalBytesMin / 1_MiB, kJournalBytesMax / 1_MiB));
  request.bytes = mb * 1_MiB;
  TRY(request.timeout, timeout(json));
  if (!request.on && !request.directory.empty()) {
    return fail(Code::kInvalidArgument, "without a journal there is no directory of one");
  }
  return request;
}

Result<Request> parse_commit(const Json& json) {
  TRY_VOID(only(json, {"timeout_s"}));
  CommitRequest request;
  TRY(request.timeout, timeout(json));
  return request;
}

Result<Request> parse_tuning(const Json& json) {
  TRY_VOID(only(json, {"tune"}));
  TRY(const std::string word, text(json, "tune", 16));
  const std::optional<Tune> tune = parse_tune(word);
  if (!tune.has_value()) return wrong("tune");
  return TuneRequest{.tune = *tune};
}

Result<Request> parse_fault(const Json& json) {
  TRY_VOID(only(json, {"device", "plan"}));
  TRY(const std::string device, text(json, "device", 16));
  if (device != "data" && device != "journal") return wrong("device");
  FaultRequest request;
  request.device = device == "data" ? FaultRequest::Device::kData : FaultRequest::Device::kJournal;
  TRY(request.plan, text(json, "plan", kPlanMax));
  return request;
}

struct Encoder {
  Json operator()(const StatusRequest&) const { return {{"op", "status"}}; }
  Json operator()(const JournalRequest& r) const {
    return {{"op", "journal"},
            {"on", r.on},
            {"directory", r.directory},
            {"mb", r.bytes / 1_MiB},
            {"timeout_s", static_cast<std::uint64_t>(r.timeout.count())}};
  }
  Json operator()(const CommitRequest& r) const {
    return {{"op", "commit"}, {"timeout_s", static_cast<std::uint64_t>(r.timeout.count())}};
  }
  Json operator()(const TuneRequest& r) const {
    return {{"op", "tune"}, {"tune", tune_word(r.tune)}};
  }
  Json operator()(const FaultRequest& r) const {
    return {{"op", "fault"},
            {"device", r.device == FaultRequest::Device::kData ? "data" : "journal"},
            {"plan", r.plan}};
  }
};

}  // namespace

Result<Request> parse_request(std::string_view line) {
  if (line.size() > kControlLineMax) {
    return fail(Code::kInvalidArgument, "the request is too long");
  }
  const Json json = Json::parse(line, nullptr, false);
  if (json.is_discarded() || !json.is_object()) {
    return fail(Code::kInvalidArgument, "a request is one JSON object on a line");
  }
  const auto found = json.find("op");
  if (found == json.end() || !found->is_string()) return wrong("op");
  const std::string op = found->get<std::string>();
  if (op == "status") {
    TRY_VOID(only(json, {}));
    return StatusRequest{};
  }
  if (op == "journal") return parse_journal(json);
  if (op == "commit") return parse_commit(json);
  if (op == "tune") return parse_tuning(json);
  if (op == "fault") return parse_fault(json);
  return fail(Code::kUnsupported, "there is no op '" + op.substr(0, 64) + "'");
}

std::string encode(const Request& request) { return line_of(std::visit(Encoder{}, request)); }

Result<Answer> parse_answer(std::string_view line) {
  const Json json = Json::parse(line, nullptr, false);
  if (json.is_discarded() || !json.is_object()) {
    return fail(Code::kProtocol, "the chunk server's answer cannot be read");
  }
  const auto progress = json.find("progress");
  if (progress != json.end()) return Answer{.last = false, .content = *progress};
  const auto ok = json.find("ok");
  const auto state = json.find("state");
  if (ok != json.end() && *ok == true && state != json.end()) {
    return Answer{.last = true, .content = *state};
  }
  const auto code = json.find("code");
  const auto message = json.find("message");
  if (code == json.end() || !code->is_number_unsigned() || message == json.end() ||
      !message->is_string()) {
    return fail(Code::kProtocol, "the chunk server's answer cannot be read");
  }
  const auto raw = code->get<std::uint64_t>();
  const bool known = raw <= UINT32_MAX && is_known_code(static_cast<std::uint32_t>(raw));
  return fail(known ? static_cast<Code>(raw) : Code::kInternal, message->get<std::string>());
}

std::string progress_line(const Json& progress) { return line_of({{"progress", progress}}); }
std::string success_line(const Json& state) { return line_of({{"ok", true}, {"state", state}}); }
std::string failure_line(const Error& error) {
  return line_of({{"ok", false},
                  {"code", static_cast<unsigned>(error.code())},
                  {"message", error.message().empty() ? std::string(code_name(error.code()))
                                                      : error.message()}});
}

}  // namespace cairn::cluster::control
