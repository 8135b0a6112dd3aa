"""The tables of tidy.py: what is allowed where, and why. Paths are prefixes from the root."""

# Files and functions: the limits, and the exceptions with their reason.
LINES_MAX = 400
TEST_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
COLUMNS_MAX = 100
SIZE_EXCEPTIONS = {
    # "path": "reason",
}
FUNCTION_EXCEPTIONS = {
    # "path": "reason",
}

# Code that is only part of tests.
TEST_CODE = ["*_test.cpp", "*_fixture.h", "*_fixture.cpp", "*/testing/*", "tests/"]

# A third-party include and the only doors it may come through; tests and benches use our doors too.
DOORS = [
    (r"rocksdb/", ["common/kv/rocks_kv"]),
    (r"liburing", ["chunkserver/io/"]),
    (r"isa-l/", ["common/erasure/", "common/base/crc32c", "tests/bench/codec_bench"]),
    (r"grpc(pp)?/", ["common/rpc/"]),
    (r"fuse(3?/|_|\.h)", ["client/fuse/"]),
    (r"boost/asio", ["common/runtime/", "common/net/", "common/daemon/",
                     "chunkserver/control/unix_stream",
                     "chunkserver/io/uring_", "tests/"]),
    (r"openssl/", ["common/net/", "common/rpc/", "common/cluster/"]),
    (r"spdlog/", ["common/observe/"]),
    (r"fmt/", [""]),
    (r"CLI/", ["admin/", "common/daemon/", "mds/main", "chunkserver/main", "client/main",
               "client/fuse/", "tests/"]),
    (r"nlohmann/", ["admin/", "common/daemon/", "common/observe/", "common/cluster/",
                     "tests/"]),
    (r"google/protobuf/", ["common/rpc/", "common/net/", "mds/", "chunkserver/", "client/core/",
                           "admin/", "tests/"]),
    (r"gtest/", TEST_CODE),
    (r"benchmark/", ["tests/bench/"]),
]
# Folders of the operating system's headers: allowed above the pure layers.
SYSTEM_FOLDERS = ("sys/", "linux/", "net/", "netinet/", "arpa/", "asm/")

# What pure code (layer 2 and below) may not include. <mutex> may guard a cache in a const object.
IMPURE_INCLUDES = {
    "thread", "condition_variable", "future", "filesystem", "fstream", "iostream", "random",
    "ctime", "fcntl.h", "unistd.h", "poll.h", "pthread.h", "signal.h", "csignal", "cstdio",
}
IMPURE_EXCEPTIONS = {
    "common/base/check.h": "the last words of the process go to stderr",
    "common/base/fault_point.cpp": "kills its own process, when a test armed it",
}
# Pure code that reads records of proto/ (layer "2p" of the style).
PURE_WITH_RECORDS = ["mds/", "chunkserver/", "client/", "admin/"]

DAEMONS = ("mds", "chunkserver", "client", "admin")
# A file of one daemon that another may include.
CROSS_EXCEPTIONS = {
    # ("includer prefix", "included path"): "reason",
    **{("admin/commands/inspect", f"chunkserver/inspect/{header}.h"):
       "`cairn inspect` reads a repository with the code that recovers it"
       for header in ("inspection", "chunk_salvage", "chunk_fixture")},
    ("chunkserver/convert/client_converter", "client/convert/conversion_worker.h"):
        "a chunk server converts files as an ordinary client session",
}

# name, pattern on code without comments and strings, what to do instead, {allowed prefix: reason}.
BANS = [
    ("clock", r"\b(?:steady_clock|system_clock|high_resolution_clock|utc_clock)::now\b"
              r"|\bclock_gettime\b|\bgettimeofday\b|\btime\((?:nullptr|NULL|0)\)",
     "time comes from runtime::Runtime",
     {"common/runtime/asio_runtime": "the real clock",
      "common/rpc/": "gRPC takes deadlines on system_clock",
      "tests/": "benches measure, cluster tests wait"}),
    ("thread", r"\bstd::j?thread\b|\bstd::async\b|\bpthread_create\b",
     "threads belong to the shells",
     {"common/runtime/": "the loop", "common/daemon/": "runs the loops",
      "common/rpc/": "gRPC shuts down on a thread of its own",
      "common/observe/": "the log", "chunkserver/io/": "blocking file calls",
      "mds/replication/": "the log's thread", "client/fuse/": "the kernel's requests",
      "admin/hwflush/": "one blocking writer a file, and the loop",
      "mds/main": "main", "chunkserver/main": "main", "client/main": "main",
      **dict.fromkeys(TEST_CODE, "tests of thread safety, drivers")}),
    ("sleep", r"\bthis_thread::sleep|(?<![.>:\w])(?:u|nano)?sleep\s*\(",
     "wait for an event, or runtime timers with a Deadline",
     {"tests/": "waits for real processes", "common/runtime/": "the timers"}),
    ("random", r"\bs?rand\s*\(|\bstd::shuffle\b|\brandom_shuffle\b|\bstd::mt19937|\brandom_device\b"
               r"|\bdefault_random_engine\b",
     "use Prng with a seed, or runtime::Random",
     {"common/runtime/asio_runtime": "the real seed"}),
    ("detach", r"(?:\.|->)detach\s*\(|\basio::detached\b|\bco_spawn\b",
     "every task belongs to a TaskGroup, every thread is joined",
     {"common/net/": "joined by the stream's close"}),
    ("throw", r"\bthrow\b", "errors are a Result",
     {"common/base/buffer.cpp": "out of memory ends the process",
      "admin/cli": "CLI11 reports usage errors by exceptions"}),
    ("catch-all", r"\bcatch\s*\(\s*\.\.\.\s*\)", "catch nothing you cannot name", {}),
    ("using-namespace", r"\busing\s+namespace\b", "name what you use", {}),
    ("terminate", r"\b(?:std::)?(?:exit|quick_exit)\s*\(", "return from main, or CHECK",
     {"mds/main": "main", "chunkserver/main": "main", "client/main": "main", "admin/main": "main",
      "common/daemon/": "a daemon that may not go on", "client/fuse/process": "after fork",
      **dict.fromkeys(TEST_CODE, "drivers, children of tests")}),
]

# Names of files that are never committed.
STRAY = r".*(\.orig|\.rej|\.bak|\.tmp|\.swp|\.next|\.old|~)$"
