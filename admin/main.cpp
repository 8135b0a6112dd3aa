// cairn: the administrator's tool. Reads the command line, runs one command, prints what it says.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "admin/cli.h"

namespace {

// True when everything was written.
bool print(std::FILE* to, const std::string& text) {
  return std::fwrite(text.data(), 1, text.size(), to) == text.size() && std::fflush(to) == 0;
}

// gRPC lets go of a channel on threads of its own, which can still be at it when the destructors of
// its globals run at exit (seen: "assertion failed: prior > 0"). All is written: leave without
// them.
[[noreturn]] void leave(int code) { std::_Exit(code); }

int report(const cairn::admin::Failure& failure) {
  print(stderr, cairn::admin::to_text(failure));
  return cairn::admin::exit_code(failure.code);
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  const auto command = cairn::admin::parse_command_line(words);
  if (!command.has_value()) leave(report(command.error()));
  const auto output = (*command)();
  if (!output.has_value()) leave(report(output.error()));
  for (const std::string& warning : output->warnings) print(stderr, "warning: " + warning + "\n");
  if (!print(stdout, output->text)) leave(1);
  leave(output->exit_code);
}
