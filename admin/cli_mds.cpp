#include "admin/cli_line.h"

namespace cairn::admin {
namespace {

void add_make_mds(CLI::App& app, Line* line) {
  CLI::App* command =
      app.add_subcommand("make-mds", "Make a metadata server: of a new cluster (-I), or one more");
  MakeMds& options = line->make_mds;
  command->add_flag("-I,--init", options.init, "Create a new cluster with this MDS as the first");
  command
      ->add_option("-a,--address", options.address,
                   "Address others reach it by; uses PORT and PORT+1")
      ->type_name("ADDR[:PORT]");
  command->add_option("-r,--repository", options.repository, "Its directory: new or empty")
      ->required()
      ->type_name("DIR");
  command
      ->add_option("-b,--mds", options.bootstrap,
                   "Addresses of MDS of the cluster to join (else those known here)")
      ->type_name("ADDR[:PORT],...")
      ->allow_extra_args(false);
  command->add_flag("-p", line->ask_password, "Ask for the cluster's password (with -I twice)");
  command->add_flag("-P", line->pipe_password, "Read the password from standard input");
  command->add_flag("--force", options.force,
                    "Accept less than 10 GB of free space and a known name");
  command->callback([line] {
    line->make_mds.password = line->password(PasswordFrom::kNowhere);
    line->command = [line] { return make_mds(line->globals, line->make_mds); };
  });
}

void add_rm_mds(CLI::App& app, Line* line) {
  CLI::App* command = app.add_subcommand("rm-mds", "Remove a metadata server from the cluster");
  command->add_option("id", line->rm_mds.id, "Its id: column MDSID of cairn stat")->required();
  command->callback(
      [line] { line->command = [line] { return rm_mds(line->globals, line->rm_mds); }; });
}

void add_configure_mds(CLI::App& app, Line* line) {
  CLI::App* command = app.add_subcommand(
      "configure-mds", "Give the MDS new addresses while they are stopped; the same on every MDS");
  ConfigureMds& options = line->configure_mds;
  command->add_option("-r,--repository", options.repository, "Directory of the MDS of this host")
      ->required()
      ->type_name("DIR");
  command->add_option("-n,--node", options.nodes, "New address of an MDS; repeatable")
      ->required()
      ->type_name("ID@ADDR[:PORT]")
      ->allow_extra_args(false);
  command->add_flag("--force", options.force, "Accept ids that this MDS has not heard of");
  command->callback([line] {
    line->command = [line] { return configure_mds(line->globals, line->configure_mds); };
  });
}

void add_check_mds(CLI::App& app, Line* line) {
  app.add_subcommand("check-mds", "Compare the tables of all MDS; exit code 1 when they differ")
      ->callback([line] { line->command = [line] { return check_mds(line->globals); }; });
}

}  // namespace

void add_mds_commands(CLI::App& app, Line* line) {
  add_make_mds(app, line);
  add_rm_mds(app, line);
  add_configure_mds(app, line);
  add_check_mds(app, line);
}

}  // namespace cairn::admin
