// The options of all commands as the parser fills them in. Only for the .cpp files of the parser.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "admin/cli.h"
#include "admin/commands/commands.h"

namespace cairn::admin {

struct Line {
  Globals globals;
  MakeMds make_mds;
  RmMds rm_mds;
  ConfigureMds configure_mds;
  AuthNode auth_node;
  SetAttr set_attr;
  PathArgument path;
  ListServices list_services;
  Stat stat;
  GetEvent get_event;
  bool ask_password = false;
  bool pipe_password = false;
  bool only_mds = false;
  bool only_cs = false;
  bool no_chunks = false;
  std::string help_about;
  Command command;

  PasswordFrom password(PasswordFrom otherwise) const {
    if (pipe_password) return PasswordFrom::kStandardInput;
    return ask_password ? PasswordFrom::kTerminal : otherwise;
  }
};

// One line on the terminal that is written over and over; an empty one ends it.
void rewrite_line(const std::string& text);

// make-mds, rm-mds, configure-mds, check-mds.
void add_mds_commands(CLI::App& app, Line* line);
// make-cs, configure-cs.
void add_cs_commands(CLI::App& app, Line* line);
// set-config, get-config, scrub.
void add_cluster_commands(CLI::App& app, Line* line);
// prepare-drive, hwflush-check, journal-size.
void add_drive_commands(CLI::App& app, Line* line);
// inspect.
void add_inspect_command(CLI::App& app, Line* line);

}  // namespace cairn::admin
