#include "admin/cli.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <utility>

#include "admin/cli_line.h"
#include "admin/view/code_help.h"
#include "admin/view/suggest.h"

namespace cairn::admin {
namespace {

void add_globals(CLI::App& app, Line& line) {
  app.add_option(
         "-c,--cluster", line.globals.cluster,
         "Name of the cluster (else $CAIRN_CLUSTER, the mount of the path, the only one known)")
      ->type_name("NAME");
  app.add_flag("--json", line.globals.json, "Print facts as JSON, schema 1");
  app.add_option("--timeout", line.globals.timeout_s, "Seconds to wait for the MDS")
      ->check(CLI::Range(0.1, 86400.0))
      ->type_name("S")
      ->capture_default_str();
}

void add_auth_node(CLI::App& app, Line* line) {
  CLI::App* command =
      app.add_subcommand("auth-node", "Let this server use the cluster: checks and keeps the key");
  command->add_flag("-P", line->pipe_password, "Read the password from standard input");
  command->add_option("-b,--mds", line->auth_node.addresses, "Addresses of MDS of the cluster")
      ->type_name("ADDR[:PORT],...")
      ->allow_extra_args(false);
  command->callback([line] {
    line->auth_node.password = line->password(PasswordFrom::kTerminal);
    line->command = [line] { return auth_node(line->globals, line->auth_node); };
  });
}

void add_attributes(CLI::App& app, Line* line) {
  CLI::App* set = app.add_subcommand("set-attr", "Set replicas, encoding, tier or failure-domain");
  set->add_flag("-R,--recursive", line->set_attr.recursive, "Also everything below the directory");
  set->add_flag("-p", line->set_attr.from_root, "PATH is from the cluster's root, no mount needed");
  CLI::Option* convert = set->add_flag("--convert", line->set_attr.convert,
                                       "Also back from an encoding to replicas, data and all");
  set->add_flag("--no-convert", line->set_attr.keep_data,
                "What is there keeps its encoding: only new files get the new one")
      ->excludes(convert);
  set->add_flag("--wait", line->set_attr.wait, "Until no file waits for conversion any more");
  set->add_option(
         "arguments", line->set_attr.words,
         "PATH replicas=N[:MIN] | encoding=M+N[:MIN] | tier=0..3 | failure-domain=disk|host")
      ->required();
  set->callback([line] {
    if (!line->globals.json && ::isatty(STDERR_FILENO) == 1) {
      line->set_attr.on_progress = rewrite_line;
    }
    line->command = [line] { return set_attr(line->globals, line->set_attr); };
  });

  CLI::App* get = app.add_subcommand("get-attr", "Show the attributes of a file or directory");
  get->add_flag("-p", line->path.from_root, "PATH is from the cluster's root, no mount needed");
  get->add_option("path", line->path.path, "File or directory")->required();
  get->callback([line] { line->command = [line] { return get_attr(line->globals, line->path); }; });

  CLI::App* chunks = app.add_subcommand("info", "Show the chunks and pieces of a file");
  chunks->add_flag("-p", line->path.from_root, "PATH is from the cluster's root, no mount needed");
  chunks->add_option("path", line->path.path, "File or directory")->required();
  chunks->callback(
      [line] { line->command = [line] { return show_file(line->globals, line->path); }; });
}

void add_views(CLI::App& app, Line* line) {
  CLI::App* services = app.add_subcommand("list-services", "List the MDS and CS of this host");
  services->add_flag("-M", line->only_mds, "MDS only");
  services->add_flag("-C", line->only_cs, "Chunk servers only");
  services->callback([line] {
    line->list_services.mds = line->only_mds || !line->only_cs;
    line->list_services.cs = line->only_cs || !line->only_mds;
    line->command = [line] { return list_services(line->globals, line->list_services); };
  });

  CLI::App* state = app.add_subcommand("stat", "Show the state of the cluster once");
  state->add_flag("--no-chunks", line->no_chunks, "Leave out the count of chunk states");
  state->add_flag("-v,--verbose", line->stat.verbose,
                  "Also what the drives, journals and scrubs of the chunk servers did");
  state->callback([line] {
    line->stat.chunks = !line->no_chunks;
    line->command = [line] { return stat(line->globals, line->stat); };
  });

  CLI::App* events = app.add_subcommand("get-event", "Show the newest events");
  events->add_option("-n,--count", line->get_event.count, "At most so many")
      ->check(CLI::Range(1, 10000))
      ->type_name("N")
      ->capture_default_str();
  events->add_option("--after", line->get_event.after, "Only those after this event id")
      ->type_name("ID");
  events->callback(
      [line] { line->command = [line] { return get_event(line->globals, line->get_event); }; });

  app.add_subcommand("version", "Show the version of this program")->callback([line] {
    line->command = [line] { return version(line->globals); };
  });
  app.add_subcommand("help", "Show help of a command, or of an error code as in CAIRN-501")
      ->add_option("about", line->help_about, "Command or error code");
}

Command print(std::string text) {
  return [text = std::move(text)]() -> Outcome<Output> {
    return Output{.text = text, .warnings = {}};
  };
}

std::vector<std::string> command_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands(nullptr)) names.push_back(command->get_name());
  return names;
}

Failure unknown_command(const CLI::App& app, const std::string& word) {
  if (std::ranges::find(commands_not_built(), word) != commands_not_built().end()) {
    return {.code = Code::kUnsupported,
            .what = "cannot run '" + word + "'",
            .why = "This command is not built yet",
            .state = {},
            .next = "See what there is:  cairn help"};
  }
  const std::string hint = did_you_mean(nearest(word, command_names(app), 3, false));
  return {.code = Code::kInvalidArgument,
          .what = "there is no command '" + word + "'",
          .why = {},
          .state = {},
          .next = hint.empty() ? "See what there is:  cairn help" : hint};
}

std::vector<std::string> option_names(const CLI::App& app, const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::App* part : {&command, &app}) {
    for (const CLI::Option* option : part->get_options()) {
      for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
      for (const std::string& name : option->get_snames()) names.push_back("-" + name);
    }
  }
  std::ranges::sort(names);
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

Failure surplus_word(const CLI::App& app, const CLI::App& command, const std::string& word) {
  Failure result{.code = Code::kInvalidArgument,
                 .what = "'" + command.get_name() + "' does not take '" + word + "'",
                 .why = {},
                 .state = {},
                 .next = "See what it takes:  cairn help " + command.get_name()};
  if (word.starts_with('-')) {
    const std::string name = word.substr(0, word.find('='));
    result.next =
        did_you_mean(nearest(name, option_names(app, command), 3, true)) + "\n" + result.next;
  }
  return result;
}

Outcome<Command> help_about(const CLI::App& app, const std::string& about) {
  if (about.empty()) return print(app.help());
  if (const std::optional<Code> code = parse_code_label(about); code.has_value()) {
    const CodeHelp* help = find_code_help(*code);
    if (help != nullptr) return print(code_page(*help));
  }
  for (const CLI::App* command : app.get_subcommands(nullptr)) {
    if (command->get_name() == about) return print(command->help());
  }
  return failure(unknown_command(app, about));
}

void configure(CLI::App& app, Line* line) {
  app.name("cairn");
  app.footer(
      "Passwords are never arguments: -p asks on the terminal, -P reads standard input.\n"
      "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 refused for safety,\n"
      "5 cluster not reachable, 6 not authenticated, 7 timed out, 8 partly done.");
  app.allow_extras();
  app.require_subcommand(0, 1);
  add_globals(app, *line);
  add_mds_commands(app, line);
  add_cs_commands(app, line);
  add_auth_node(app, line);
  add_drive_commands(app, line);
  add_inspect_command(app, line);
  add_attributes(app, line);
  add_views(app, line);
  add_cluster_commands(app, line);
  for (CLI::App* command : app.get_subcommands(nullptr)) {
    command->fallthrough();
    command->allow_extras();
  }
}

}  // namespace

const std::vector<std::string>& commands_not_built() {
  static const std::vector<std::string> names = {
      "top",      "rm-cs",   "revoke", "mount", "drain",      "repair",      "rebalance",
      "snapshot", "explain", "doctor", "check", "replace-cs", "stat-volume", "set-failure-domain"};
  return names;
}

Outcome<Command> parse_command_line(std::vector<std::string> words) {
  // Shared: the command that is handed out refers to the options.
  const auto line = std::make_shared<Line>();
  CLI::App app("Cairn: administers an erasure-coded cluster filesystem.");
  configure(app, line.get());
  if (words.empty()) return print(app.help());
  std::ranges::reverse(words);  // CLI11 takes them from the back
  try {
    app.parse(words);
  } catch (const CLI::CallForHelp&) {
    const auto chosen = app.get_subcommands();
    return print(chosen.empty() ? app.help() : chosen.front()->help());
  } catch (const CLI::ParseError& error) {
    const auto chosen = app.get_subcommands();
    const std::string about = chosen.empty() ? "" : " " + chosen.front()->get_name();
    return failure({.code = Code::kInvalidArgument,
                    .what = "the command line cannot be read",
                    .why = error.what(),
                    .state = {},
                    .next = "See what it takes:  cairn help" + about});
  }
  const auto chosen = app.get_subcommands();
  const std::vector<std::string> surplus = app.remaining(true);
  if (chosen.empty()) {
    const auto word =
        std::ranges::find_if(surplus, [](const std::string& w) { return !w.starts_with('-'); });
    if (word != surplus.end()) return failure(unknown_command(app, *word));
    if (surplus.empty()) {
      return failure({.code = Code::kInvalidArgument,
                      .what = "no command was given",
                      .why = {},
                      .state = {},
                      .next = "See what there is:  cairn help"});
    }
    return failure(surplus_word(app, app, surplus.front()));
  }
  if (!surplus.empty()) return failure(surplus_word(app, *chosen.front(), surplus.front()));
  if (chosen.front()->get_name() == "help") return help_about(app, line->help_about);
  if (line->ask_password && line->pipe_password) {
    return failure({.code = Code::kInvalidArgument,
                    .what = "-p and -P exclude each other",
                    .why = {},
                    .state = {},
                    .next = "Give one of them."});
  }
  return Command([line] { return line->command(); });
}

}  // namespace cairn::admin
