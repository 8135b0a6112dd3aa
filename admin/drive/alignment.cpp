#include "admin/drive/alignment.h"

#include "admin/drive/mount_table.h"
#include "common/base/units.h"

namespace cairn::admin {
namespace {

constexpr std::uint64_t kSysfsSectorBytes = 512;  // of "start" and "size", whatever the drive has
constexpr unsigned kStackedMax = 8;               // volumes on volumes

std::string text_of(const SysTree& tree, const std::string& name, std::uint64_t start) {
  const std::string drive = device_path(tree.drive_of(name));
  return device_path(name) + " begins at sector " + std::to_string(start) + " of " + drive +
         ", which is no multiple of 4 KiB: on drives with 4 KiB sectors every write becomes read, "
         "change and write, 3 to 4 times slower. Partition it anew:  cairn prepare-drive " +
         drive;
}

std::optional<std::string> warning_below(const SysTree& tree, const std::string& name,
                                         unsigned depth) {
  if (tree.is_partition(name)) {
    const std::uint64_t start = tree.number(name, "start").value_or(0);
    if (start * kSysfsSectorBytes % kBlockBytes != 0) return text_of(tree, name, start);
    return std::nullopt;
  }
  if (depth == 0) return std::nullopt;
  for (const std::string& lower : tree.entries(name, "slaves")) {
    if (auto warning = warning_below(tree, lower, depth - 1)) return warning;
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::string> device_alignment_warning(const SysTree& tree, const std::string& name) {
  return warning_below(tree, name, kStackedMax);
}

std::optional<std::string> alignment_warning(const std::string& directory) {
  const SysTree tree;
  const std::optional<std::string> name = block_device_below(tree, directory);
  return name.has_value() ? device_alignment_warning(tree, *name) : std::nullopt;
}

}  // namespace cairn::admin
