// From cs.conf to the options of the store. Pure.
#pragma once

#include "chunkserver/store/piece_store.h"
#include "common/cluster/cs_repository.h"

namespace cairn::chunkserver {

// Of `base`, what cs.conf says replaced: size, checksums, the journal of a new store, and what -T
// tunes:
//
//                       hdd      ssd
//   journal_write_max   64 KiB   16 KiB    larger writes go home at once: no seek to save
//   home_delay          1 s      200 ms    less is gained by waiting for neighbours
//   fold_delay          200 ms   50 ms
store::StoreOptions store_options_of(const cairn::cluster::CsRepository& repository,
                                     store::StoreOptions base = {});

}  // namespace cairn::chunkserver
