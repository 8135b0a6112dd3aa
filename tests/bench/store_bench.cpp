// cairn-store-bench: one PieceStore on real files, without network and cluster. One workload a run,
// one JSON line out: rates, latencies, CPU, and what reached the drive. tests/bench/store_bench.py
// sets it beside fio on the same filesystem.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "chunkserver/io/metered_device.h"
#include "chunkserver/io/offload.h"
#include "chunkserver/io/open_device.h"
#include "chunkserver/store/piece_store.h"
#include "common/base/crc32c.h"
#include "common/base/prng.h"
#include "common/daemon/memory.h"
#include "common/kv/rocks_kv.h"
#include "common/runtime/asio_runtime.h"

namespace cairn {
namespace {

namespace io = chunkserver::io;
namespace store = chunkserver::store;
using Json = nlohmann::ordered_json;

constexpr std::uint64_t kPieceBlocks = 64_MiB / kBlockBytes;

struct Arguments {
  std::string directory;
  std::string workload;
  std::string journal_directory;
  std::uint64_t depth = 1;
  std::uint64_t journal_mb = 64;
  std::uint64_t journal_max_kb = 64;
  std::uint64_t bytes_mb = 1024;  // working set
  std::uint64_t pieces = 100'000;
  double seconds = 5;
  bool no_journal = false;
  bool threads = false;
  bool no_verify = false;
  bool warm = false;
};

double cpu_now() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

PieceId piece_id(std::uint64_t number) { return {ChunkId::from_raw(number + 1), PieceIndex(0)}; }

class Bench {
 public:
  explicit Bench(Arguments arguments) : args_(std::move(arguments)), prng_(1) {
    block_ = Buffer::allocate(1_MiB);
    for (std::size_t at = 0; at < block_.size(); at += 8)
      store_le(block_.data() + at, prng_.next());
    for (std::size_t at = 0; at < block_.size(); at += kBlockBytes) {
      crcs_.push_back(crc32c(std::as_const(block_).span().subspan(at, kBlockBytes)));
    }
  }

  Result<int> run() {
    offload_ = std::make_unique<io::Offload>(runtime_, 2);
    TRY_VOID(open_files());
    Status status;
    bool done = false;
    drive(run_all(this, &status), &done);
    runtime_.run();
    CHECK(done);
    store_.reset();
    device_.reset();
    kv_.reset();
    offload_.reset();
    TRY_VOID(std::move(status));
    fmt::print("{}\n", result_.dump());
    return 0;
  }

 private:
  using Clock = std::chrono::steady_clock;

  struct Root {
    struct promise_type {
      Root get_return_object() { return {}; }
      std::suspend_never initial_suspend() noexcept { return {}; }
      std::suspend_never final_suspend() noexcept { return {}; }
      void return_void() {}
      [[noreturn]] void unhandled_exception() noexcept { std::terminate(); }
    };
  };
  Root drive(Task<void> task, bool* done) {
    co_await task;
    *done = true;
    runtime_.stop();
  }

  Status open_files() {
    const io::DeviceOptions options{.create = true, .allow_uring = !args_.threads};
    TRY(std::unique_ptr<io::BlockDevice> device,
        io::open_device(runtime_, args_.directory + "/data", options));
    device_ = std::make_unique<io::MeteredDevice>(runtime_, std::move(device));
    TRY(kv_, kv::RocksKv::open(args_.directory + "/index"));
    return {};
  }

  store::StoreOptions store_options() {
    store::StoreOptions options;
    options.journal_bytes = args_.journal_mb * 1_MiB;
    options.journal_directory = args_.journal_directory;
    options.journal = !args_.no_journal;
    options.journal_write_max = args_.journal_max_kb * 1_KiB;
    options.verify_on_read = !args_.no_verify;
    options.open_ring = [this](const std::string& directory, bool create) {
      const io::DeviceOptions device{.create = create, .allow_uring = !args_.threads};
      return io::open_device(runtime_, directory + "/cairn-journal", device);
    };
    options.offload = [this](std::move_only_function<Status()> job) {
      return offload_->run(std::move(job));
    };
    return options;
  }

  static Task<void> run_all(Bench* self, Status* status) {
    Status done = co_await self->run_workload();
    *status = std::move(done);
    if (self->store_ != nullptr) {
      const auto begun = Clock::now();
      const Status closed = co_await self->store_->close();
      self->result_["close_s"] = std::chrono::duration<double>(Clock::now() - begun).count();
      if (status->has_value() && !closed.has_value()) *status = closed;
    }
  }

  Task<Status> run_workload() {
    const auto begun = Clock::now();
    store::StoreOptions options = store_options();
    CO_TRY(store_, co_await store::PieceStore::open(&runtime_, device_.get(), kv_.get(), log_.get(),
                                                    std::move(options)));
    result_["open_s"] = std::chrono::duration<double>(Clock::now() - begun).count();
    const std::string& w = args_.workload;
    if (w == "open") co_return Status();
    if (w == "kill") {
      // Leaves a used ring behind: a start after this one replays it.
      co_await measure(&Bench::write_small, kBlockBytes);
      fmt::print("{}\n", result_.dump());
      std::fflush(stdout);
      ::_exit(0);
    }
    // Twice: then the whole data file has been written before, like the file beside it.
    const int fills = args_.warm ? 2 : w == "write" || w == "read" || w == "stream-read" ? 1 : 0;
    for (int i = 0; i < fills; ++i) {
      CO_TRY_VOID(co_await fill());
    }
    if (w == "write") co_await measure(&Bench::write_small, kBlockBytes);
    if (w == "read") co_await measure(&Bench::read_small, kBlockBytes);
    if (w == "stream-write") co_await measure(&Bench::write_stream, 1_MiB);
    if (w == "stream-read") co_await measure(&Bench::read_stream, 1_MiB);
    if (w == "create") co_await measure(&Bench::create_and_delete, kBlockBytes);
    if (w == "pieces") co_await measure(&Bench::create_only, kBlockBytes);
    co_return failure_;
  }

  std::uint64_t working_pieces() const { return std::max<std::uint64_t>(args_.bytes_mb / 64, 1); }

  store::PrepareRequest request(std::uint64_t piece, std::uint64_t first, std::uint64_t blocks) {
    store::PrepareRequest made;
    made.piece = piece_id(piece);
    made.version = ChunkVersion(1);
    Writer& writer = writers_[piece];
    const std::uint64_t seq = ++writer.seq;
    writer.under_way.insert(seq);
    made.op = {LeaseEpoch(1), OpSeq(seq)};
    // What was answered is decided.
    made.settled_below = OpSeq(*writer.under_way.begin());
    made.participants = 1;
    made.create = true;
    made.facts = {1, 1, 0, 1 << 20, piece, 0};
    made.writes = {{first, blocks}};
    made.crcs.assign(crcs_.begin(), crcs_.begin() + static_cast<std::ptrdiff_t>(blocks));
    return made;
  }
  Task<Status> put(std::uint64_t piece, std::uint64_t first, std::uint64_t blocks) {
    store::PrepareRequest made = request(piece, first, blocks);
    const std::uint64_t seq = made.op.seq.raw();
    Status done = co_await store_->prepare(std::move(made), block_.slice(0, blocks * kBlockBytes));
    writers_[piece].under_way.erase(seq);
    co_return done;
  }

  // The working set, whole, at home.
  Task<Status> fill() {
    for (std::uint64_t piece = 0; piece < working_pieces(); ++piece) {
      for (std::uint64_t at = 0; at < kPieceBlocks; at += 256) {
        CO_TRY_VOID(co_await put(piece, at, 256));
      }
    }
    co_return co_await store_->commit_all();
  }

  Task<Status> write_small(std::uint64_t) {
    const std::uint64_t piece = prng_.below(working_pieces());
    co_return co_await put(piece, prng_.below(kPieceBlocks), 1);
  }
  Task<Status> read_small(std::uint64_t) {
    std::vector<store::BlockRange> ranges{{prng_.below(kPieceBlocks), 1}};
    const PieceId piece = piece_id(prng_.below(working_pieces()));
    const Result<store::ReadAnswer> answer = co_await store_->read(piece, std::move(ranges));
    if (!answer.has_value()) co_return fail(answer.error());
    co_return answer->bytes.size() == kBlockBytes ? Status()
                                                  : fail(Code::kInternal, "a short read");
  }
  Task<Status> write_stream(std::uint64_t number) {
    const std::uint64_t at = number * 256 % (working_pieces() * kPieceBlocks);
    co_return co_await put(at / kPieceBlocks, at % kPieceBlocks, 256);
  }
  Task<Status> read_stream(std::uint64_t number) {
    const std::uint64_t at = number * 256 % (working_pieces() * kPieceBlocks);
    std::vector<store::BlockRange> ranges{{at % kPieceBlocks, 256}};
    const PieceId piece = piece_id(at / kPieceBlocks);
    const Result<store::ReadAnswer> answer = co_await store_->read(piece, std::move(ranges));
    if (!answer.has_value()) co_return fail(answer.error());
    co_return answer->bytes.size() == 1_MiB ? Status() : fail(Code::kInternal, "a short read");
  }
  Task<Status> create_only(std::uint64_t number) { co_return co_await put(number, 0, 1); }
  Task<Status> create_and_delete(std::uint64_t number) {
    CO_TRY_VOID(co_await put(number, 0, 1));
    co_return co_await store_->remove(piece_id(number));
  }

  using Op = Task<Status> (Bench::*)(std::uint64_t number);

  static Task<void> worker(Bench* self, Op op) {
    while (self->failure_.has_value() && self->more()) {
      const std::uint64_t number = self->started_++;
      const auto begun = Clock::now();
      Status done = co_await (self->*op)(number);
      if (!done.has_value() && self->failure_.has_value()) self->failure_ = std::move(done);
      self->latencies_.push_back(
          static_cast<float>(std::chrono::duration<double>(Clock::now() - begun).count() * 1e6));
    }
  }
  bool more() const {
    if (args_.workload == "pieces") return started_ < args_.pieces;
    return std::chrono::duration<double>(Clock::now() - begun_).count() < args_.seconds;
  }

  Task<void> measure(Op op, std::uint64_t unit) {
    const io::DeviceFigures before = device_->figures();
    const double cpu = cpu_now();
    begun_ = Clock::now();
    runtime::TaskGroup workers(runtime_);
    for (std::uint64_t i = 0; i < args_.depth; ++i) workers.spawn(worker(this, op));
    co_await workers.join();
    const double wall = std::chrono::duration<double>(Clock::now() - begun_).count();
    const double used = cpu_now() - cpu;
    const io::DeviceFigures after = device_->figures();
    std::sort(latencies_.begin(), latencies_.end());
    const auto quantile = [&](double q) {
      return latencies_.empty() ? 0.0F
                                : latencies_[static_cast<std::size_t>(
                                      q * static_cast<double>(latencies_.size() - 1))];
    };
    const auto n = static_cast<double>(std::max<std::size_t>(latencies_.size(), 1));
    const double bytes = n * static_cast<double>(unit);
    result_["ops"] = latencies_.size();
    result_["ops_per_s"] = n / wall;
    result_["p50_us"] = quantile(0.5);
    result_["p99_us"] = quantile(0.99);
    result_["max_us"] = quantile(1.0);
    result_["cpu_us_per_op"] = used / n * 1e6;
    result_["mib_per_s"] = bytes / wall / (1 << 20);
    result_["cpu_s_per_gib"] = used / (bytes / (1 << 30));
    result_["device_writes"] = after.writes - before.writes;
    result_["device_reads"] = after.reads - before.reads;
    result_["flushes"] = after.flushes - before.flushes;
    result_["bytes_written_per_byte"] =
        static_cast<double>(after.bytes_written - before.bytes_written) / bytes;
    result_["engine"] = device_->engine();
  }

  Arguments args_;
  Prng prng_;
  Buffer block_;
  std::vector<std::uint32_t> crcs_;
  Json result_;
  runtime::AsioRuntime runtime_;
  std::unique_ptr<observe::Log> log_ = observe::make_null_log();
  std::unique_ptr<io::Offload> offload_;
  std::unique_ptr<io::MeteredDevice> device_;
  std::unique_ptr<kv::RocksKv> kv_;
  std::unique_ptr<store::PieceStore> store_;
  struct Writer {
    std::uint64_t seq = 0;
    std::set<std::uint64_t> under_way;
  };
  std::unordered_map<std::uint64_t, Writer> writers_;  // by piece
  std::vector<float> latencies_;
  std::uint64_t started_ = 0;
  Clock::time_point begun_;
  Status failure_;
};

}  // namespace
}  // namespace cairn

int main(int argc, char** argv) {
  cairn::Arguments arguments;
  CLI::App app("One chunk store on real files");
  app.add_option("directory", arguments.directory, "an empty directory, or one of an earlier run")
      ->required();
  app.add_option(
         "workload", arguments.workload,
         "write, read: 4 KiB at random, durable; stream-write, stream-read: 1 MiB; create: "
         "4 KiB pieces made and removed; pieces: made; open: nothing; kill: write, then die")
      ->required()
      ->check(CLI::IsMember(
          {"write", "read", "stream-write", "stream-read", "create", "pieces", "open", "kill"}));
  app.add_option("--depth", arguments.depth);
  app.add_option("--seconds", arguments.seconds);
  app.add_option("--megabytes", arguments.bytes_mb, "working set");
  app.add_option("--pieces", arguments.pieces);
  app.add_option("--journal", arguments.journal_directory, "directory of the journal");
  app.add_option("--journal-mb", arguments.journal_mb);
  app.add_option("--journal-max-kb", arguments.journal_max_kb, "larger writes go straight home");
  app.add_flag("--no-journal", arguments.no_journal);
  app.add_flag("--threads", arguments.threads, "not io_uring");
  app.add_flag("--no-verify", arguments.no_verify, "no CRC on read");
  app.add_flag("--warm", arguments.warm, "on space that was written before");
  CLI11_PARSE(app, argc, argv);
  cairn::daemon::keep_freed_memory();
  cairn::Bench bench(arguments);
  const cairn::Result<int> code = bench.run();
  if (code.has_value()) return *code;
  std::fprintf(stderr, "cairn-store-bench: %s\n", code.error().to_string().c_str());
  return 1;
}
