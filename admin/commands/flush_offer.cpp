#include "admin/commands/flush_offer.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "admin/commands/print_now.h"
#include "admin/commands/repository_checks.h"
#include "admin/drive/mount_table.h"
#include "admin/hwflush/quick_check.h"
#include "common/runtime/asio_runtime.h"

namespace cairn::admin {
namespace {

bool agrees() {
  if (::isatty(STDIN_FILENO) == 0 || ::isatty(STDERR_FILENO) == 0) return false;
  std::fprintf(stderr,
               "Check for ten seconds how the disk flushes? A disk that lies about it loses data "
               "when the power fails. [Y/n] ");
  std::fflush(stderr);
  std::string answer;
  for (int c = std::getchar(); c != EOF && c != '\n'; c = std::getchar()) {
    answer += static_cast<char>(c);
  }
  return answer.empty() || answer == "y" || answer == "Y" || answer == "yes";
}

}  // namespace

FlushOffer offer_flush_check(FlushCheckWish wish, const std::string& repository,
                             const std::string& journal, std::chrono::seconds duration) {
  FlushOffer offer;
  const bool wanted = wish == FlushCheckWish::kYes || (wish == FlushCheckWish::kAsk && agrees());
  if (!wanted) return offer;
  std::vector<std::string> places = {existing_part(repository)};
  if (!journal.empty()) places.push_back(existing_part(journal));
  const runtime::AsioRuntime clock;
  cluster::FlushCheck check;
  check.flushes_per_second = UINT64_MAX;
  for (const std::string& place : places) {
    const Result<FlushVerdict> verdict =
        quick_flush_check(place, duration / static_cast<int>(places.size()));
    if (!verdict.has_value()) {
      offer.warnings.push_back("the flushes of " + place +
                               " could not be checked: " + verdict.error().message());
      return offer;
    }
    check.suspicious = check.suspicious || verdict->suspicious;
    check.flushes_per_second =
        std::min(check.flushes_per_second, static_cast<std::uint64_t>(verdict->flushes_per_second));
    if (verdict->suspicious) {
      offer.warnings.push_back(verdict->text);
    } else {
      offer.text += verdict->text + "\n";
    }
  }
  check.checked_at_ns = std::max<std::int64_t>(clock.wall_now().raw(), 0);
  offer.result = check;
  return offer;
}

}  // namespace cairn::admin
