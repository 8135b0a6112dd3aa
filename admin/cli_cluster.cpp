#include <unistd.h>

#include <cstdio>
#include <memory>

#include "admin/cli_line.h"

namespace cairn::admin {
namespace {

void add_settings(CLI::App& app, Line* line) {
  CLI::App* set = app.add_subcommand("set-config", "Set settings of the cluster: all or none");
  const auto change = std::make_shared<SetConfig>();
  set->add_option("settings", change->words, "name=value, or name=default; several are set at once")
      ->required();
  set->callback([line, change] {
    line->command = [line, change] { return set_config(line->globals, *change); };
  });

  CLI::App* get = app.add_subcommand("get-config", "Show the settings of the cluster");
  const auto look = std::make_shared<GetConfig>();
  get->add_option("names", look->names, "Only these");
  get->add_flag("-v,--verbose", look->verbose, "With meaning, range and default");
  get->callback(
      [line, look] { line->command = [line, look] { return get_config(line->globals, *look); }; });
}

void add_scrub(CLI::App& app, Line* line) {
  CLI::App* scrub = app.add_subcommand("scrub", "Verify stored data now, or see how far that is");
  scrub->require_subcommand(1);

  CLI::App* now =
      scrub->add_subcommand("now", "Read and verify everything stored of a file or directory");
  const auto begin = std::make_shared<ScrubNow>();
  now->add_flag("-p", begin->from_root, "PATH is from the cluster's root, no mount needed");
  const auto no_wait = std::make_shared<bool>(false);
  now->add_flag("--no-wait", *no_wait, "Do not wait for its end: print the number of the job");
  now->add_option("path", begin->path, "File or directory")->required();
  now->callback([line, begin, no_wait] {
    begin->wait = !*no_wait;
    if (!line->globals.json && ::isatty(STDERR_FILENO) == 1) begin->on_progress = rewrite_line;
    line->command = [line, begin] { return scrub_now(line->globals, *begin); };
  });

  CLI::App* status = scrub->add_subcommand("status", "Show the scrubs that were asked for");
  const auto look = std::make_shared<ScrubStatus>();
  status->add_option("job", look->job, "Number of the job; else all are listed");
  status->callback([line, look] {
    line->command = [line, look] { return scrub_status(line->globals, *look); };
  });
  for (CLI::App* part : {now, status}) part->fallthrough();
}

}  // namespace

void rewrite_line(const std::string& text) {
  const std::string line = "\r\x1b[K" + text;
  std::fwrite(line.data(), 1, line.size(), stderr);
  std::fflush(stderr);
}

void add_cluster_commands(CLI::App& app, Line* line) {
  add_settings(app, line);
  add_scrub(app, line);
}

}  // namespace cairn::admin
