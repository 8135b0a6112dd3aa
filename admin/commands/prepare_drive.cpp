#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "admin/commands/drive_commands.h"
#include "admin/commands/print_now.h"
#include "admin/drive/describe_drive.h"
#include "admin/drive/fstab_file.h"
#include "admin/drive/prepare_run.h"
#include "common/cluster/cluster_config.h"

namespace cairn::admin {
namespace {

constexpr const char* kWhat = "cannot prepare the drive";
constexpr const char* kUnnamed = "<cluster>";  // in the line that is shown

// --cluster-label, -c, CAIRN_CLUSTER, the only one known; empty: none, which is no error before
// there is a cluster.
Outcome<std::string> cluster_name(const Globals& globals, const PrepareDrive& options) {
  std::string name = options.cluster_label.empty() ? globals.cluster : options.cluster_label;
  const char* const from_environment = std::getenv("CAIRN_CLUSTER");
  if (name.empty() && from_environment != nullptr) name = from_environment;
  if (name.empty()) {
    const std::vector<std::string> known = cluster::ClusterConfig::known({});
    if (known.size() == 1) name = known.front();
  }
  if (name.empty()) return name;
  const Status good = cluster::check_cluster_name(name);
  if (!good.has_value()) return failure(kWhat, good.error());
  return name;
}

Outcome<Output> check_usage(const PrepareDrive& options, const std::string& cluster) {
  if (options.boot) {
    return failure({.code = Code::kUnsupported,
                    .what = "cannot make the drive bootable",
                    .why = "Cairn does not install an operating system or a boot loader",
                    .state = {},
                    .next = "Leave --boot out: the drive then holds data only."});
  }
  if (options.fstab && cluster.empty()) {
    return failure({.code = Code::kInvalidArgument,
                    .what = kWhat,
                    .why = "--fstab needs the cluster's name for the mount point",
                    .state = {},
                    .next = "Name it, also if it is yet to be made:  cairn -c NAME prepare-drive "
                            "... --fstab"});
  }
  if (::geteuid() != 0) {
    return failure({.code = Code::kNotPermitted,
                    .what = kWhat,
                    .why = "Only root may write to whole drives",
                    .state = {},
                    .next = "Repeat it as root."});
  }
  return Output{};
}

Failure not_confirmed(const std::string& why) {
  return {.code = Code::kRefusedForSafety,
          .what = kWhat,
          .why = why,
          .state = {},
          .next = "Answer the question with y on a terminal, or give -y."};
}

// The answer is a whole "y" or "yes": a line that was meant for something else destroys nothing.
Outcome<Output> confirm(const std::string& drive) {
  if (::isatty(STDIN_FILENO) == 0) {
    return failure(not_confirmed("There is no terminal to ask whether all data on " + drive +
                                 " may be destroyed"));
  }
  print_now(prepare_question(drive));
  std::string answer;
  for (int c = std::getchar(); c != EOF && c != '\n'; c = std::getchar()) {
    answer += static_cast<char>(c);
  }
  if (answer == "y" || answer == "Y" || answer == "yes") return Output{};
  return failure(not_confirmed("The answer was not y"));
}

std::string next_steps(const std::string& line, const PrepareDrive& options,
                       const std::string& where, const std::string& cluster) {
  std::string text = options.fstab ? "Added to " + options.fstab_file + ":\n"
                                   : "Add to " + options.fstab_file + ":\n";
  text += line + "\nThen:\n";
  if (!options.fstab) text += "  mkdir -p " + where + "\n";
  text += "  mount " + where + "\n";
  if (!options.ssd) text += "  cairn -c " + cluster + " make-cs -r " + where + "\n";
  return text;
}

}  // namespace

Outcome<Output> prepare_drive(const Globals& globals, const PrepareDrive& options) {
  const Outcome<std::string> cluster = cluster_name(globals, options);
  if (!cluster.has_value()) return std::unexpected(cluster.error());
  const Outcome<Output> usable = check_usage(options, *cluster);
  if (!usable.has_value()) return usable;
  const Result<DescribedDrive> drive = describe_drive(options.drive);
  if (!drive.has_value()) return failure(kWhat, drive.error());
  const Result<DrivePlan> plan =
      plan_drive(*drive, {.ssd = options.ssd, .force = options.force, .cluster = *cluster});
  if (!plan.has_value()) return failure(kWhat, plan.error());
  const Status programs = check_programs(*plan);
  if (!programs.has_value()) return failure(kWhat, programs.error());
  const std::string shown = cluster->empty() ? kUnnamed : *cluster;
  const Result<std::string> where =
      next_mount_point(options.mount_root, shown, options.ssd, options.fstab_file);
  if (!where.has_value()) return failure(kWhat, where.error());
  if (!options.yes) {
    const Outcome<Output> confirmed = confirm(plan->drive);
    if (!confirmed.has_value()) return confirmed;
  }

  const Status exclusive = check_exclusive(*plan);
  if (!exclusive.has_value()) return failure(kWhat, exclusive.error());
  Result<PreparedDrive> prepared = carry_out(*plan, print_now);
  if (!prepared.has_value()) {
    return failure(kWhat, prepared.error(), "What was on " + plan->drive + " may be destroyed");
  }
  const std::string line = fstab_line(prepared->uuid, *where);
  Output output{.text = {}, .warnings = std::move(prepared->warnings)};
  if (options.fstab) {
    const Status added = add_to_fstab(options.fstab_file, line);
    if (!added.has_value()) {
      return failure("cannot add the drive to " + options.fstab_file, added.error(),
                     "The drive is prepared; only the table is as it was",
                     "Add it by hand:\n" + line);
    }
  }
  output.text = next_steps(line, options, *where, shown);
  return output;
}

}  // namespace cairn::admin
