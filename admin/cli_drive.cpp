#include <memory>

#include "admin/cli_line.h"
#include "admin/commands/drive_commands.h"

namespace cairn::admin {
namespace {

using hwflush::kFileMbMax;
using hwflush::kThreadsMax;

void add_client_options(CLI::App* command, const std::shared_ptr<HwflushCheck>& options) {
  hwflush::ClientOptions& client = options->client;
  command
      ->add_option("-s,--server", client.server, "Test a device: tell this server what is flushed")
      ->type_name("SERVER[:PORT]");
  command
      ->add_option("-d,--directory", client.directory, "Directory on the device; made if missing")
      ->type_name("DIR");
  command->add_option("-t,--threads", client.threads, "Threads, each with a file and a counter")
      ->check(CLI::Range(1U, kThreadsMax))
      ->type_name("N")
      ->capture_default_str();
  command
      ->add_option_function<std::uint32_t>(
          "--seconds",
          [options](const std::uint32_t& n) { options->client.seconds = std::chrono::seconds(n); },
          "Stop after so long (else at Ctrl-C)")
      ->check(CLI::Range(1U, 86400U * 365))
      ->type_name("N");
  command
      ->add_option("--size", client.file_mb, "MB of each new file, through which its writes move")
      ->check(CLI::Range(1U, kFileMbMax))
      ->type_name("MB")
      ->capture_default_str();
  CLI::Option* const direct = command->add_flag_callback(
      "--direct", [options] { options->client.mode = hwflush::WriteMode::kDirect; },
      "Write past the page cache, flush by fdatasync (default)");
  command
      ->add_flag_callback(
          "--fsync", [options] { options->client.mode = hwflush::WriteMode::kFsync; },
          "Write through the page cache, flush by fsync")
      ->excludes(direct);
  command->add_flag("--new", client.fresh, "Forget the counters of DIR, here and at the server");
}

void add_hwflush_check(CLI::App& app, Line* line) {
  CLI::App* command = app.add_subcommand(
      "hwflush-check", "Does a device keep what it flushed when the power is cut?");
  const auto options = std::make_shared<HwflushCheck>();
  command->add_flag("-l,--listen", options->listen, "Serve: remember the counters of clients");
  command->add_option("-p,--port", options->port, "Port of the server")
      ->check(CLI::Range(1, 65535))
      ->type_name("PORT")
      ->capture_default_str();
  command->add_option("--bind", options->bind, "Address to serve at")
      ->type_name("ADDR")
      ->capture_default_str();
  command->add_option("--state", options->state_file, "Serve: keep the counters in this file too")
      ->type_name("FILE");
  add_client_options(command, options);
  command->callback([line, options] {
    line->command = [line, options] { return hwflush_check(line->globals, *options); };
  });
}

void add_prepare_drive(CLI::App& app, Line* line) {
  CLI::App* command = app.add_subcommand(
      "prepare-drive", "Partition and format a drive for a chunk server or for journals");
  const auto options = std::make_shared<PrepareDrive>();
  command->add_option("drive", options->drive, "The whole drive, as in /dev/sdb")->required();
  command->add_flag("--ssd", options->ssd, "For journals and caches: discards, whole erase blocks");
  command->add_flag("-y,--yes", options->yes, "Do not ask");
  command->add_flag("--noboot", options->noboot, "Install no boot loader (always so)");
  command->add_flag("--boot", options->boot, "Not supported");
  command->add_flag("--force", options->force,
                    "Also a drive that belongs to a cluster or to a volume that is not started");
  command->add_flag("--fstab", options->fstab, "Add the line to /etc/fstab");
  command->add_option("--fstab-file", options->fstab_file, "Instead of /etc/fstab")
      ->type_name("FILE")
      ->capture_default_str();
  command->add_option("--mount-root", options->mount_root, "Where drives are mounted")
      ->type_name("DIR")
      ->capture_default_str();
  command
      ->add_option("--cluster-label", options->cluster_label,
                   "Cluster the drive is for, if not that of -c")
      ->type_name("NAME");
  command->callback([line, options] {
    line->command = [line, options] { return prepare_drive(line->globals, *options); };
  });
}

void add_journal_size(CLI::App& app, Line* line) {
  CLI::App* command = app.add_subcommand(
      "journal-size", "How many HDDs one SSD can journal for, and how big the journals may be");
  const auto drives = std::make_shared<JournalDrives>();
  command->add_option("--ssd-speed", drives->ssd_mb_per_s, "Sequential write, average of 60 s")
      ->required()
      ->type_name("MB/s");
  command->add_option("--hdd-speed", drives->hdd_mb_per_s, "The same of one HDD")
      ->required()
      ->type_name("MB/s");
  command->add_option("--ssd-size", drives->ssd_gb, "Size of the SSD")->required()->type_name("GB");
  command->add_option("--hdds", drives->hdds, "HDDs there are (else as many as one SSD can serve)")
      ->check(CLI::Range(1, 10000))
      ->type_name("N");
  command->add_option("--hdd-size", drives->hdd_tb, "Size of one HDD, for the space of checksums")
      ->type_name("TB");
  command->callback([line, drives] {
    line->command = [line, drives] { return journal_size(line->globals, *drives); };
  });
}

}  // namespace

void add_drive_commands(CLI::App& app, Line* line) {
  add_prepare_drive(app, line);
  add_hwflush_check(app, line);
  add_journal_size(app, line);
}

}  // namespace cairn::admin
