#include "tests/sim/workload_write_crash_read.h"

#include "tests/sim/cluster.h"
#include "tests/sim/file_model.h"

namespace cairn::sim {

namespace {

constexpr Duration kOperationLimit = 300s;
constexpr unsigned kFiles = 3;
constexpr std::uint64_t kFileBytesMax = 6_MiB;

// Breaks things at random and mends them soon.
class Nemesis {
 public:
  Nemesis(SimWorld& world, SimCluster& cluster)
      : world_(world), cluster_(cluster), runtime_(world.make_runtime()) {}

  void start() {
    running_ = true;
    plan_next();
  }
  // No new faults; everything that is broken is mended.
  void stop() {
    running_ = false;
    cluster_.fabric().heal_all();
    if (!cluster_.mds_runs()) cluster_.start_mds();
    for (unsigned i = 0; i < cluster_.options().chunk_servers; ++i) {
      if (!cluster_.cs_runs(i)) cluster_.start_cs(i);
    }
  }
  std::uint64_t faults() const { return faults_; }

 private:
  void plan_next() {
    const auto pause =
        std::chrono::milliseconds(static_cast<std::int64_t>(world_.prng().between(20, 1500)));
    runtime_.schedule(runtime_.now() + pause, [this] {
      if (!running_) return;
      strike();
      plan_next();
    });
  }
  Duration outage() {
    return std::chrono::milliseconds(static_cast<std::int64_t>(world_.prng().between(1, 2500)));
  }
  void strike() {
    const std::uint64_t kind = world_.prng().below(10);
    if (kind < 6) {
      strike_cs();
    } else if (kind < 8) {
      strike_mds();
    } else {
      strike_link();
    }
  }
  void strike_cs() {
    const unsigned index =
        static_cast<unsigned>(world_.prng().below(cluster_.options().chunk_servers));
    if (!cluster_.cs_runs(index)) return;
    ++faults_;
    cluster_.kill_cs(index, world_.prng().chance(500));
    runtime_.schedule(runtime_.now() + outage(), [this, index] {
      if (!cluster_.cs_runs(index)) cluster_.start_cs(index);
    });
  }
  void strike_mds() {
    if (!cluster_.mds_runs()) return;
    ++faults_;
    cluster_.kill_mds();
    runtime_.schedule(runtime_.now() + outage(), [this] {
      if (!cluster_.mds_runs()) cluster_.start_mds();
    });
  }
  void strike_link() {
    const unsigned index =
        static_cast<unsigned>(world_.prng().below(cluster_.options().chunk_servers));
    const std::string host = "cs" + std::to_string(index);
    ++faults_;
    cluster_.fabric().cut("client0", host);
    runtime_.schedule(runtime_.now() + outage(),
                      [this, host] { cluster_.fabric().heal("client0", host); });
  }

  SimWorld& world_;
  SimCluster& cluster_;
  SimRuntime& runtime_;
  bool running_ = false;
  std::uint64_t faults_ = 0;
};

// The tasks of the workload; results go through pointers that outlive the client.
struct Steps {
  static Task<void> start(client::FileSystem* fs, Status* result) {
    *result = co_await fs->start();
  }

  static Task<void> open_file(client::FileSystem* fs, std::string name,
                              Result<pb::Attributes>* result) {
    Result<pb::Attributes> found = co_await fs->lookup(kRootInode, name);
    if (found.has_value()) {
      const InodeId inode = InodeId::from_raw(found->inode());
      *result = co_await fs->open(inode, client::OpenMode::kWrite);
      co_return;
    }
    if (found.error().code() != Code::kNotFound) {
      *result = fail(found.error());
      co_return;
    }
    pb::MakeNode request;
    request.set_parent(kRootInode.raw());
    request.set_name(name);
    request.set_type(pb::TYPE_REGULAR);
    request.set_mode(0644);
    *result = co_await fs->make_node(std::move(request), true);
  }
  static Task<void> write(client::FileSystem* fs, InodeId inode, std::uint64_t offset,
                          std::shared_ptr<FileModel::Content> bytes, Status* result) {
    *result = co_await fs->write(inode, FileOffset(offset), Bytes(*bytes), false);
  }
  static Task<void> truncate(client::FileSystem* fs, InodeId inode, std::uint64_t size,
                             Status* result) {
    pb::SetAttr change;
    change.set_size(size);
    const Result<pb::Attributes> done = co_await fs->set_attributes(inode, std::move(change));
    *result = done.has_value() ? Status() : Status(fail(done.error()));
  }
  static Task<void> fsync(client::FileSystem* fs, InodeId inode, Status* result) {
    *result = co_await fs->fsync(inode);
  }
  static Task<void> read_all(client::FileSystem* fs, InodeId inode, Status* result,
                             FileModel::Content* into) {
    into->clear();
    while (true) {
      const FileOffset offset(into->size());
      Result<std::vector<Buffer>> parts = co_await fs->read(inode, offset, 1_MiB);
      if (!parts.has_value()) {
        *result = fail(parts.error());
        co_return;
      }
      std::size_t got = 0;
      for (const Buffer& part : *parts) {
        into->insert(into->end(), part.span().begin(), part.span().end());
        got += part.size();
      }
      if (got == 0) break;
    }
    *result = Status();
  }
};

class Workload {
 public:
  explicit Workload(std::uint64_t seed)
      : world_(seed), cluster_(world_, {}), nemesis_(world_, cluster_) {}

  RunReport run() {
    if (!cluster_.bring_up()) return finish("the cluster did not come up");
    if (!mount()) return finish(failure_);
    nemesis_.start();
    const std::uint64_t steps = world_.prng().between(20, 60);
    for (std::uint64_t i = 0; i < steps && failure_.empty(); ++i) step();
    nemesis_.stop();
    if (failure_.empty()) verify_all("at the end, by the writer");
    if (failure_.empty()) remount_after_kill();
    if (failure_.empty()) cluster_.take_down();
    return finish(failure_);
  }

 private:
  struct File {
    InodeId inode;
    FileModel model;
  };

  RunReport finish(const std::string& failure) {
    if (failure.empty())
      return {true, {}, world_.events_run(), world_.trace_hash(), operations_, nemesis_.faults()};
    return {false,       failure,          world_.events_run(), world_.trace_hash(),
            operations_, nemesis_.faults()};
  }
  void fail_run(std::string what) {
    if (failure_.empty()) failure_ = std::move(what);
  }

  // Runs a task on the client; its failure or a hang fails the run.
  template <class MakeTask>
  bool perform(const char* what, MakeTask make_task) {
    ++operations_;
    status_ = std::make_unique<Status>(fail(Code::kInternal, "not finished"));
    if (!cluster_.run(0, make_task(status_.get()), kOperationLimit)) {
      abandon();
      fail_run(std::string(what) + " hung");
      return false;
    }
    if (!status_->has_value()) {
      fail_run(std::string(what) + ": " + status_->error().to_string());
      return false;
    }
    return true;
  }
  // A task still refers to what it writes its result to.
  void abandon() { SimWorld::bury(std::shared_ptr<Status>(status_.release())); }

  bool mount() {
    client::FileSystem& fs = cluster_.start_client(0);
    if (!perform("mount", [&](Status* s) { return Steps::start(&fs, s); })) return false;
    for (unsigned i = 0; i < kFiles; ++i) {
      auto opened = std::make_shared<Result<pb::Attributes>>(fail(Code::kInternal, "not finished"));
      SimWorld::bury(opened);
      const std::string name = "file" + std::to_string(i);
      if (!cluster_.run(0, Steps::open_file(&fs, name, opened.get()), kOperationLimit) ||
          !opened->has_value()) {
        fail_run("open " + name + ": " +
                 (opened->has_value() ? "hung" : opened->error().to_string()));
        return false;
      }
      files_[i].inode = InodeId::from_raw((*opened)->inode());
    }
    return true;
  }

  void step() {
    File& file = files_[world_.prng().below(kFiles)];
    client::FileSystem* fs = cluster_.client(0);
    const std::uint64_t kind = world_.prng().below(100);
    if (kind < 60) {
      write_something(fs, file);
    } else if (kind < 75) {
      if (perform("fsync", [&](Status* s) { return Steps::fsync(fs, file.inode, s); }))
        file.model.synced();
    } else if (kind < 83) {
      truncate_somewhere(fs, file);
    } else if (kind < 93) {
      verify(file, "in the middle");
    } else {
      remount_after_kill();
    }
    const auto pause =
        std::chrono::milliseconds(static_cast<std::int64_t>(world_.prng().below(400)));
    world_.run_for(pause);
  }

  void write_something(client::FileSystem* fs, File& file) {
    Prng& prng = world_.prng();
    const std::uint64_t length =
        prng.chance(300) ? prng.between(1, 10'000) : prng.between(1, 1_MiB);
    const std::uint64_t end =
        std::min<std::uint64_t>(file.model.current().size() + 300'000, kFileBytesMax - length);
    const std::uint64_t offset = prng.below(end + 1);
    auto bytes = std::make_shared<FileModel::Content>(length);
    std::uint64_t word = prng.next();
    for (std::size_t i = 0; i < length; ++i) {
      if (i % 8 == 0) word = word * 6364136223846793005ULL + 1442695040888963407ULL;
      (*bytes)[i] = static_cast<std::byte>(word >> (8 * (i % 8)));
    }
    SimWorld::bury(bytes);
    file.model.write(offset, *bytes);
    perform("write", [&](Status* s) { return Steps::write(fs, file.inode, offset, bytes, s); });
  }

  void truncate_somewhere(client::FileSystem* fs, File& file) {
    const std::uint64_t size = world_.prng().below(file.model.current().size() + 100'000);
    file.model.truncate(size);
    perform("truncate", [&](Status* s) { return Steps::truncate(fs, file.inode, size, s); });
  }

  bool read_file(const File& file, FileModel::Content* content) {
    auto kept = std::make_shared<FileModel::Content>();
    SimWorld::bury(kept);
    client::FileSystem* fs = cluster_.client(0);
    if (!perform("read", [&](Status* s) { return Steps::read_all(fs, file.inode, s, kept.get()); }))
      return false;
    *content = *kept;
    return true;
  }
  void verify(const File& file, const char* when) {
    FileModel::Content actual;
    if (!read_file(file, &actual)) return;
    if (actual == file.model.current()) return;
    const auto [a, b] = std::ranges::mismatch(actual, file.model.current());
    fail_run("the writer reads other bytes than it wrote, " + std::string(when) + ", file of " +
             std::to_string(file.model.current().size()) + ", read " +
             std::to_string(actual.size()) + ", first difference at " +
             std::to_string(a - actual.begin()));
  }
  void verify_all(const char* when) {
    for (const File& file : files_) {
      if (failure_.empty()) verify(file, when);
    }
  }

  void remount_after_kill() {
    cluster_.kill_client(0);
    world_.run_for(std::chrono::milliseconds(static_cast<std::int64_t>(world_.prng().below(3000))));
    if (!mount()) return;
    for (File& file : files_) {
      FileModel::Content actual;
      if (!read_file(file, &actual)) return;
      const std::string wrong = file.model.check(actual);
      if (!wrong.empty()) return fail_run("after the writer was killed: " + wrong);
      file.model.adopt(std::move(actual));
    }
  }

  SimWorld world_;
  SimCluster cluster_;
  Nemesis nemesis_;
  std::array<File, kFiles> files_;
  std::unique_ptr<Status> status_;
  std::string failure_;
  std::uint64_t operations_ = 0;
};

}  // namespace

RunReport run_write_crash_read(std::uint64_t seed) {
  // A failed run leaves tasks in the middle: nothing of it is unwound.
  auto workload = std::make_shared<Workload>(seed);
  RunReport report = workload->run();
  if (!report.ok) SimWorld::bury(workload);
  return report;
}

}  // namespace cairn::sim
