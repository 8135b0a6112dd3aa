#include <memory>

#include "admin/cli_line.h"
#include "admin/commands/cs_commands.h"

namespace cairn::admin {
namespace {

void add_journal_options(CLI::App* command, const std::shared_ptr<MakeCs>& options) {
  command
      ->add_option("-j,--journal", options->journal,
                   "Directory of the write journal, on an SSD (else in the repository)")
      ->type_name("DIR");
  command
      ->add_option("-s,--journal-size", options->journal_mb, "Size of the journal (64 without -j)")
      ->type_name("MB");
  command->add_flag("--no-journal", options->no_journal, "No write journal");
  command->add_option("-T,--tune", options->tune, "What to tune for: ssd or hdd")
      ->type_name("ssd|hdd")
      ->capture_default_str();
  command->add_flag("-S,--no-checksums", options->no_checksums,
                    "Do not verify checksums on every read (they are kept, and scrub reads them)");
}

void add_make_cs(CLI::App& app, Line* line) {
  CLI::App* command = app.add_subcommand("make-cs", "Make a chunk server");
  const auto options = std::make_shared<MakeCs>();
  command
      ->add_option("-r,--repository", options->repository,
                   "Its directory: new or empty, one a disk")
      ->required()
      ->type_name("DIR");
  command
      ->add_option("-a,--address", options->address,
                   "Address to serve at (else the one that reaches the MDS)")
      ->type_name("ADDR[:PORT]");
  command->add_option("-t,--tier", options->tier, "Tier of the disk, 0 to 3")
      ->type_name("TIER")
      ->capture_default_str();
  command->add_option("--size", options->size, "Use at most this much, as in 500G")
      ->type_name("SIZE");
  add_journal_options(command, options);
  command->add_option("--device", options->device, "Keep the data on this whole block device")
      ->type_name("/dev/X");
  CLI::Option* const yes = command->add_flag_callback(
      "--flush-check", [options] { options->flush_check = FlushCheckWish::kYes; },
      "Check for ten seconds how the disk flushes (a terminal is asked)");
  command
      ->add_flag_callback(
          "--no-flush-check", [options] { options->flush_check = FlushCheckWish::kNo; },
          "Neither check nor ask")
      ->excludes(yes);
  command->callback([line, options] {
    line->command = [line, options] { return make_cs(line->globals, *options); };
  });
}

void add_configure_cs(CLI::App& app, Line* line) {
  CLI::App* command = app.add_subcommand(
      "configure-cs", "Add, destroy, move or resize the journal of a chunk server, running or not");
  const auto options = std::make_shared<ConfigureCs>();
  command
      ->add_option("-r,--repository", options->repository,
                   "The repository (DIR/data means the same)")
      ->required()
      ->type_name("DIR");
  command->add_option("-a,--add", options->add, "Add a journal in this directory, or move it there")
      ->type_name("DIR");
  command->add_flag("-d,--destroy", options->destroy, "Destroy the journal, after committing it");
  command->add_option("-s,--journal-size", options->journal_mb, "Size of the journal")
      ->type_name("MB");
  command->add_option("-T,--tune", options->tune, "What to tune for; counts from the next start")
      ->type_name("ssd|hdd");
  command->add_flag("--commit", options->commit, "Bring home what is only in the journal");
  command->add_flag("--status", options->status, "Show the journal and how the chunk server is");
  command->add_option("--wait", options->wait_s, "Seconds to wait; the work goes on after that")
      ->check(CLI::Range(1U, 604800U))
      ->type_name("S")
      ->capture_default_str();
  command->callback([line, options] {
    line->command = [line, options] { return configure_cs(line->globals, *options); };
  });
}

}  // namespace

void add_cs_commands(CLI::App& app, Line* line) {
  add_make_cs(app, line);
  add_configure_cs(app, line);
}

}  // namespace cairn::admin
