#include "admin/view/code_help.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <system_error>

namespace cairn::admin {
namespace {

using enum Code;

constexpr std::array kPages = {
    CodeHelp{kInvalidArgument, "An argument, or a line of a file, is not what is allowed there.",
             "Correct it and repeat; the command's --help shows what is allowed."},
    CodeHelp{kUnsupported, "This version of Cairn cannot do that.",
             "Compare the versions of both sides (cairn version, cairn stat)."},
    CodeHelp{kInternal, "Cairn met a state it should never be in: a fault of the program.",
             "Keep the logs and report it."},
    CodeHelp{kNotFound, "There is no such file, cluster, node or repository.", "Check the name."},
    CodeHelp{kExists, "Something of that name is there already.",
             "Choose another name, or remove the old one first."},
    CodeHelp{kNotDirectory, "A directory is needed and something else is there.",
             "Check the path."},
    CodeHelp{kIsDirectory, "A file is needed and a directory is there.", "Check the path."},
    CodeHelp{kNotEmpty, "The directory holds files that do not belong there.",
             "Choose an empty or a new directory."},
    CodeHelp{kNameTooLong, "A name has more than 255 bytes, or a path too many.",
             "Choose a shorter one."},
    CodeHelp{kNotPermitted, "The operation is not allowed for this user or on this object.",
             "Repeat it as root or as the owner."},
    CodeHelp{kAccessDenied, "The permissions of a file or directory forbid it.",
             "Repeat it as root, or change the permissions."},
    CodeHelp{kNoAttribute, "The object does not have that attribute.",
             "List what it has: cairn get-attr PATH"},
    CodeHelp{kTooManyLinks, "The inode has as many links as it may have.", "Make a copy instead."},
    CodeHelp{kFileTooBig, "The file would grow past the largest size.", "Use several files."},
    CodeHelp{kRangeTooSmall, "The answer does not fit into the buffer of the caller.",
             "Repeat with a bigger buffer."},
    CodeHelp{kStaleHandle, "The object was removed while it was in use.", "Open it again."},
    CodeHelp{kBusy, "It is in use: a port, a repository or a file is held by someone else.",
             "Stop the other user, named above, or choose another one."},
    CodeHelp{kReadOnly, "The filesystem or the mount is read-only.", "Mount it for writing."},
    CodeHelp{kInvalidName, "The name has characters that are not allowed.", "Choose another name."},
    CodeHelp{kTooBig, "A value or file is bigger than allowed.", "Make it smaller."},
    CodeHelp{kNotMaster, "The MDS that was asked does not lead, and none that does was found.",
             "Look at the MDS: cairn stat. Repeat when one is marked M."},
    CodeHelp{kStaleEpoch, "The right to write was given to someone else in the meantime.",
             "Open the file again and repeat."},
    CodeHelp{kLeaseExpired, "The mount lost its lease: it was cut off for longer than the lease.",
             "Open the file again; check what was written since the last fsync."},
    CodeHelp{kSessionGone, "The cluster ended the session of this mount.",
             "The mount opens a new one by itself; open the file again."},
    CodeHelp{kNotAuthenticated, "The key of this server is missing or is not the cluster's.",
             "Type the password once on this server: cairn -c NAME auth-node"},
    CodeHelp{kWrongCluster, "The server that answered belongs to another cluster.",
             "Check the addresses in /etc/cairn/clusters/NAME/bs.list."},
    CodeHelp{kRefusedForSafety, "It could lose data or disturb the service.",
             "Do what the message says, or give --force if you accept the named consequence."},
    CodeHelp{kNoMajority, "Fewer than half of the MDS can be reached: nothing can be decided.",
             "Start cairn-mdsd on the servers that are down (cairn list-services -M there), until "
             "more than half of all MDS run."},
    CodeHelp{kChecksumMismatch, "Bytes did not match their checksum: a disk or cable changed them.",
             "Good copies are used instead; look at the events: cairn get-event"},
    CodeHelp{kTooFewPieces, "So many chunk servers are away that the data cannot be put together.",
             "Start the chunk servers that are offline: cairn stat shows them."},
    CodeHelp{kNoSpace, "There is no space left.", "Add chunk servers or remove files: cairn stat"},
    CodeHelp{kDiskFailed, "The operating system reported an error of the disk.",
             "Check the disk (dmesg, smartctl)."},
    CodeHelp{kPieceMissing, "A chunk server does not have the piece it should have.",
             "Nothing to do: it is read from the others and repaired."},
    CodeHelp{kStaleVersion, "The chunk changed its set of pieces in the meantime.",
             "Nothing to do: the mount asks anew."},
    CodeHelp{kCorrupt, "A file of Cairn is damaged, or was written by a newer version.",
             "Do not repair it by hand: keep a copy and look at the log."},
    CodeHelp{kBelowMinimum, "Fewer pieces can be written than the minimum of the encoding.",
             "Start the chunk servers that are offline: cairn stat shows them."},
    CodeHelp{kJournalFailed,
             "The drive of a write journal failed, or the journal is lost or damaged.",
             "Look at that drive and its log (dmesg); cairn stat shows which chunk servers are "
             "offline with the flag S."},
    CodeHelp{kTimeout, "No answer came in time.",
             "Look whether it was done, then repeat if needed; --timeout S waits longer."},
    CodeHelp{kUnavailable, "Nobody answers at the address.",
             "Check that the MDS runs there (cairn list-services -M) and that the network lets "
             "ports 2510 and 2511 through."},
    CodeHelp{kOverloaded, "The server has as much to do as it may take on.",
             "Repeat a little later."},
    CodeHelp{kCancelled, "It was interrupted.", "Repeat it."},
    CodeHelp{kConnectionLost, "The connection broke before the answer came.",
             "Look whether it was done, then repeat if needed."},
    CodeHelp{kProtocol, "The other side sent something that is no message of Cairn.",
             "Check the address and compare the versions."},
};

}  // namespace

std::string code_label(Code code) { return "CAIRN-" + std::to_string(static_cast<unsigned>(code)); }

std::optional<Code> parse_code_label(std::string_view text) {
  constexpr std::string_view kPrefix = "CAIRN-";
  std::string folded(text);
  std::ranges::transform(folded, folded.begin(), [](char c) {
    return static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  });
  std::string_view number = folded;
  if (number.starts_with(kPrefix)) number.remove_prefix(kPrefix.size());
  unsigned raw = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), raw);
  if (error != std::errc{} || end != number.data() + number.size() || !is_known_code(raw)) {
    return std::nullopt;
  }
  return static_cast<Code>(raw);
}

const CodeHelp* find_code_help(Code code) {
  const auto it = std::ranges::find(kPages, code, &CodeHelp::code);
  return it == kPages.end() ? nullptr : &*it;
}

std::string code_page(const CodeHelp& help) {
  return code_label(help.code) + ": " + std::string(code_name(help.code)) + "\n\n  " +
         std::string(help.meaning) + "\n  " + std::string(help.next) + "\n";
}

}  // namespace cairn::admin
