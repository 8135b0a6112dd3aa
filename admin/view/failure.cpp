#include "admin/view/failure.h"

#include <utility>

#include "admin/view/code_help.h"

namespace cairn::admin {
namespace {

// A sentence: first letter as it is, a full stop at the end.
std::string sentence(std::string text) {
  if (!text.empty() && text.back() != '.' && text.back() != '?' && text.back() != '\n') text += '.';
  return text;
}

std::string indented(const std::string& text) {
  std::string result = "  ";
  for (const char c : text) {
    result += c;
    if (c == '\n') result += "  ";
  }
  return result + "\n";
}

}  // namespace

std::unexpected<Failure> failure(Failure value) { return std::unexpected(std::move(value)); }

std::unexpected<Failure> failure(std::string what, const Error& error, std::string state,
                                 std::string next) {
  std::string why =
      error.message().empty() ? std::string(code_name(error.code())) : error.message();
  const bool unknown = error.code() == Code::kTimeout || error.code() == Code::kConnectionLost;
  if (state.empty() && unknown) state = "It may have been done all the same";
  if (state.empty() && error.code() == Code::kNoMajority) {
    state =
        "Nothing was changed; mounts go on with what they hold leases for, and wait for the rest";
  }
  return failure(Failure{.code = error.code(),
                         .what = std::move(what),
                         .why = std::move(why),
                         .state = std::move(state),
                         .next = std::move(next)});
}

std::string to_text(const Failure& value) {
  const CodeHelp* help = find_code_help(value.code);
  std::string text = "error " + code_label(value.code) + ": " + sentence(value.what) + "\n";
  if (!value.why.empty()) text += indented(sentence(value.why));
  text += indented(sentence(value.state.empty() ? "Nothing was changed" : value.state));
  // Commands to type stand as they are, without a full stop that would be typed too.
  if (!value.next.empty()) {
    text += indented(value.next);
  } else if (help != nullptr) {
    text += indented(std::string(help->next));
  }
  return text;
}

int exit_code(Code code) {
  switch (code) {
    case Code::kInvalidArgument:
    case Code::kInvalidName:
      return 2;
    case Code::kNotFound:
    case Code::kNoAttribute:
      return 3;
    case Code::kRefusedForSafety:
      return 4;
    case Code::kUnavailable:
    case Code::kNoMajority:
    case Code::kNotMaster:
    case Code::kConnectionLost:
      return 5;
    case Code::kNotAuthenticated:
    case Code::kWrongCluster:
    case Code::kNotPermitted:
    case Code::kAccessDenied:
      return 6;
    case Code::kTimeout:
      return 7;
    case Code::kCancelled:
      return 130;
    default:
      return 1;
  }
}

}  // namespace cairn::admin
