// The commands about drives. prepare-drive and hwflush-check take their time and print as they go;
// what they return is the end of it.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "admin/commands/command.h"
#include "admin/drive/fstab.h"
#include "admin/drive/journal_sizing.h"
#include "admin/hwflush/client.h"
#include "admin/hwflush/limits.h"

namespace cairn::admin {

struct HwflushCheck {
  bool listen = false;                  // -l
  std::uint16_t port = hwflush::kPort;  // -p
  std::string bind = "0.0.0.0";         // --bind
  std::string state_file;               // --state
  hwflush::ClientOptions client;        // -s, -d, -t, --seconds, --size, --fsync, --new
};
Outcome<Output> hwflush_check(const Globals& globals, const HwflushCheck& options);

struct PrepareDrive {
  std::string drive;
  bool ssd = false;
  bool yes = false;     // -y
  bool noboot = false;  // --noboot: always so
  bool boot = false;    // --boot: not supported
  bool force = false;
  bool fstab = false;  // adds the line
  std::string fstab_file = "/etc/fstab";
  std::string mount_root = kMountRoot;
  std::string cluster_label;  // else -c, CAIRN_CLUSTER, the only cluster known; may be none
};
Outcome<Output> prepare_drive(const Globals& globals, const PrepareDrive& options);

Outcome<Output> journal_size(const Globals& globals, const JournalDrives& drives);

}  // namespace cairn::admin
