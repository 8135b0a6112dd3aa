#include "chunkserver/store_options.h"

namespace cairn::chunkserver {

store::StoreOptions store_options_of(const cairn::cluster::CsRepository& repository,
                                     store::StoreOptions base) {
  base.size_bytes = repository.size_bytes;
  base.verify_on_read = repository.checksums;
  base.journal = repository.journal.on;
  base.journal_directory = repository.journal.directory;
  base.journal_bytes = repository.journal.bytes;
  if (repository.tune == cairn::cluster::Tune::kSsd) {
    base.journal_write_max = 16_KiB;
    base.home_delay = 200ms;
    base.fold_delay = 50ms;
  }
  return base;
}

}  // namespace cairn::chunkserver
