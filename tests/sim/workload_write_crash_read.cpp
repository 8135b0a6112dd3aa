#include "tests/sim/workload_write_crash_read.h"

#include "tests/sim/file_model.h"
#include "tests/sim/nemesis.h"

namespace cairn::sim {

namespace {

constexpr Duration kOperationLimit = 300s;
constexpr Duration kConvergeLimit = 60s;
constexpr unsigned kFiles = 3;
constexpr std::uint64_t kFileBytesMax = 6_MiB;

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
      : world_(seed), cluster_(world_, draw_options(world_.prng())), nemesis_(world_, cluster_) {}

  RunReport run() {
    if (!cluster_.bring_up()) return finish("the cluster did not come up");
    if (!mount()) return finish(failure_);
    nemesis_.start();
    const std::uint64_t steps = world_.prng().between(20, 60);
    for (std::uint64_t i = 0; i < steps && failure_.empty(); ++i) step();
    nemesis_.stop();
    if (failure_.empty()) check_group();
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

  static SimCluster::Options draw_options(Prng& prng) {
    constexpr unsigned kGroups[] = {1, 3, 3, 3, 5};
    SimCluster::Options options;
    options.mds = kGroups[prng.below(std::size(kGroups))];
    options.mds_tables.keep_slots = prng.between(20, 2000);
    options.mds_tables.flush_every_bytes = prng.between(4_KiB, 256_KiB);
    return options;
  }

  // No fault is left: all members are in step soon, and have the same.
  void check_group() {
    if (!nemesis_.failure().empty()) return fail_run(nemesis_.failure());
    if (!cluster_.converge(kConvergeLimit)) return fail_run("the MDS do not come into step");
    std::string wrong = nemesis_.checker().check_contents();
    if (wrong.empty()) wrong = cluster_.check_mds();
    if (!wrong.empty()) fail_run(wrong);
  }

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
    if (!nemesis_.failure().empty()) fail_run(nemesis_.failure());
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
