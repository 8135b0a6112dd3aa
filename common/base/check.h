// CHECK family: assertions that stay on in every build. A broken invariant ends the process at
// once,
// printing the expression, both operands and the place: going on with wrong state could lose data.
// Operating errors and bad bytes from disk or wire are never assertions; they are a Result.
// DCHECK is for hot loops and vanishes under NDEBUG.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <string>

namespace cairn::base {

[[noreturn]] inline void check_failed(const char* file, int line, const char* expr,
                                      const std::string& operands) {
  std::fprintf(stderr, "CHECK failed at %s:%d: %s %s\n", file, line, expr, operands.c_str());
  std::fflush(stderr);
  std::abort();
}

template <class A, class B>
std::string print_operands([[maybe_unused]] const A& a, [[maybe_unused]] const B& b) {
  if constexpr (requires(std::ostringstream & o) { o << a << b; }) {
    std::ostringstream out;
    out << "(" << a << " vs " << b << ")";
    return out.str();
  } else if constexpr (requires {
                         a.raw();
                         b.raw();
                       }) {
    return print_operands(a.raw(), b.raw());
  } else {
    return {};
  }
}

}  // namespace cairn::base

#define CAIRN_CHECK_OP(a, b, op)                                                    \
  do {                                                                              \
    const auto& cairn_a = (a);                                                      \
    const auto& cairn_b = (b);                                                      \
    if (!(cairn_a op cairn_b)) [[unlikely]]                                         \
      ::cairn::base::check_failed(__FILE__, __LINE__, #a " " #op " " #b,            \
                                  ::cairn::base::print_operands(cairn_a, cairn_b)); \
  } while (false)

#define CHECK(cond)                                                          \
  do {                                                                       \
    if (!(cond)) [[unlikely]]                                                \
      ::cairn::base::check_failed(__FILE__, __LINE__, #cond, std::string()); \
  } while (false)
#define CHECK_EQ(a, b) CAIRN_CHECK_OP(a, b, ==)
#define CHECK_NE(a, b) CAIRN_CHECK_OP(a, b, !=)
#define CHECK_LT(a, b) CAIRN_CHECK_OP(a, b, <)
#define CHECK_LE(a, b) CAIRN_CHECK_OP(a, b, <=)
#define CHECK_GT(a, b) CAIRN_CHECK_OP(a, b, >)
#define CHECK_GE(a, b) CAIRN_CHECK_OP(a, b, >=)

#ifdef NDEBUG
#define DCHECK(cond) \
  do {               \
  } while (false)
#else
#define DCHECK(cond) CHECK(cond)
#endif
