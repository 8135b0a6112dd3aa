// Result<T>: a T or an Error. TRY / TRY_VOID and their CO_ twins are the only control-flow macros
// in
// the tree: they return the error to the caller, or declare the value. Declare-or-return form,
// since
// statement expressions are broken inside g++ coroutines.
//
//   TRY(const Encoding encoding, Encoding::parse(text));
//   CO_TRY_VOID(co_await journal.append(record));
#pragma once

#include <expected>
#include <utility>

#include "common/base/check.h"
#include "common/base/error.h"

namespace cairn {

template <class T>
using Result = std::expected<T, Error>;

using Status = Result<void>;

// fail(Code::kNoSpace, "...") converts to any Result<T>.
inline std::unexpected<Error> fail(Code code, std::string message = {},
                                   std::source_location where = std::source_location::current()) {
  return std::unexpected<Error>(Error(code, std::move(message), where));
}
inline std::unexpected<Error> fail(Error error) { return std::unexpected<Error>(std::move(error)); }

// Discards a result on purpose; the reason is for the reader.
template <class T>
void ignore(const Result<T>&, const char* /*reason*/) {}

}  // namespace cairn

#define CAIRN_CONCAT_(a, b) a##b
#define CAIRN_CONCAT(a, b) CAIRN_CONCAT_(a, b)

#define CAIRN_TRY_(ret, tmp, decl, ...)                            \
  auto tmp = (__VA_ARGS__);                                        \
  if (!tmp.has_value()) ret ::cairn::fail(std::move(tmp).error()); \
  decl = std::move(tmp).value()

#define CAIRN_TRY_VOID_(ret, tmp, ...) \
  auto tmp = (__VA_ARGS__);            \
  if (!tmp.has_value()) ret ::cairn::fail(std::move(tmp).error())

#define TRY(decl, ...) CAIRN_TRY_(return, CAIRN_CONCAT(cairn_try_, __LINE__), decl, __VA_ARGS__)
#define TRY_VOID(...) CAIRN_TRY_VOID_(return, CAIRN_CONCAT(cairn_try_, __LINE__), __VA_ARGS__)
#define CO_TRY(decl, ...) \
  CAIRN_TRY_(co_return, CAIRN_CONCAT(cairn_try_, __LINE__), decl, __VA_ARGS__)
#define CO_TRY_VOID(...) CAIRN_TRY_VOID_(co_return, CAIRN_CONCAT(cairn_try_, __LINE__), __VA_ARGS__)
