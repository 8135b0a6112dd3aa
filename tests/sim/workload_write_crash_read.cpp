#include "tests/sim/workload_write_crash_read.h"

#include "tests/sim/file_model.h"
#include "tests/sim/nemesis.h"
#include "tests/sim/planted_bugs.h"

namespace cairn::sim {

namespace {

constexpr Duration kOperationLimit = 300s;
constexpr unsigned kClients = 2;
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
  Workload(std::uint64_t seed, PlantedBug bug)
      : world_(seed),
        cluster_(world_, draw_options(world_.prng(), bug)),
        nemesis_(world_, cluster_, {.clients = kClients}) {}

  RunReport run() {
    if (!cluster_.bring_up()) return finish("the cluster did not come up");
    for (unsigned client = 0; client < kClients; ++client) {
      if (!mount(client)) return finish(failure_);
    }
    nemesis_.start();
    const std::uint64_t steps = world_.prng().between(20, 60);
    for (std::uint64_t i = 0; i < steps && failure_.empty(); ++i) step();
    nemesis_.stop();
    if (failure_.empty()) failure_ = nemesis_.settle();
    if (failure_.empty()) verify_all("at the end");
    if (failure_.empty()) remount_after_kill(0);
    if (failure_.empty()) cluster_.take_down();
    return finish(failure_);
  }

 private:
  struct File {
    InodeId inode;
    FileModel model;
    // Who may hold what no other one has: the last who changed it, until an fsync or until another
    // client touched it.
    std::optional<unsigned> writer;
  };

  static SimCluster::Options draw_options(Prng& prng, PlantedBug bug) {
    constexpr unsigned kGroups[] = {1, 3, 3, 3, 5};
    SimCluster::Options options;
    options.mds = kGroups[prng.below(std::size(kGroups))];
    options.mds_tables.keep_slots = prng.between(5, 200);
    options.mds_tables.flush_every_bytes = prng.between(1_KiB, 32_KiB);
    plant(bug, options);
    return options;
  }

  RunReport finish(const std::string& failure) {
    Coverage coverage = nemesis_.coverage();
    coverage.client_kills = client_kills_;
    return {.ok = failure.empty(),
            .failure = failure,
            .events = world_.events_run(),
            .trace_hash = world_.trace_hash(),
            .operations = operations_,
            .longest = longest_,
            .coverage = coverage};
  }
  void fail_run(std::string what) {
    if (failure_.empty()) failure_ = std::move(what);
  }

  // Runs a task on the client; its failure or a hang fails the run.
  template <class MakeTask>
  bool perform(unsigned client, const char* what, MakeTask make_task) {
    ++operations_;
    const Instant begun = world_.now();
    status_ = std::make_unique<Status>(fail(Code::kInternal, "not finished"));
    if (!cluster_.run(client, make_task(status_.get()), kOperationLimit)) {
      abandon();
      fail_run(std::string(what) + " hung");
      return false;
    }
    longest_ = std::max(longest_, world_.now() - begun);
    if (!status_->has_value()) {
      fail_run(std::string(what) + ": " + status_->error().to_string());
      return false;
    }
    return true;
  }
  // A task still refers to what it writes its result to.
  void abandon() { SimWorld::bury(std::shared_ptr<Status>(status_.release())); }

  bool mount(unsigned client) {
    client::FileSystem& fs = cluster_.start_client(client);
    if (!perform(client, "mount", [&](Status* s) { return Steps::start(&fs, s); })) return false;
    for (unsigned i = 0; i < kFiles; ++i) {
      auto opened = std::make_shared<Result<pb::Attributes>>(fail(Code::kInternal, "not finished"));
      SimWorld::bury(opened);
      const std::string name = "file" + std::to_string(i);
      if (!cluster_.run(client, Steps::open_file(&fs, name, opened.get()), kOperationLimit) ||
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
    // Mostly the same one, so that much is in its cache when it matters.
    const unsigned client = world_.prng().chance(750) ? 0 : 1;
    const std::uint64_t kind = world_.prng().below(100);
    if (kind < 93) touch(client, file);
    if (kind < 60) {
      write_something(client, file);
    } else if (kind < 75) {
      fsync(client, file);
    } else if (kind < 83) {
      truncate_somewhere(client, file);
    } else if (kind < 93) {
      verify(client, file, "in the middle");
    } else {
      remount_after_kill(client);
    }
    const auto pause =
        std::chrono::milliseconds(static_cast<std::int64_t>(world_.prng().below(400)));
    world_.run_for(pause);
    if (!nemesis_.failure().empty()) fail_run(nemesis_.failure());
  }

  // Another client's turn: it sees what the writer wrote, so that is durable from now on. Looking
  // is what makes it so.
  void touch(unsigned client, File& file) {
    if (!file.writer.has_value() || *file.writer == client) return;
    verify(client, file, "by another client");
    file.model.synced();
    file.writer.reset();
  }

  void fsync(unsigned client, File& file) {
    client::FileSystem* fs = cluster_.client(client);
    if (!perform(client, "fsync", [&](Status* s) { return Steps::fsync(fs, file.inode, s); })) {
      return;
    }
    file.model.synced();
    file.writer.reset();
  }

  void write_something(unsigned client, File& file) {
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
    file.writer = client;
    client::FileSystem* fs = cluster_.client(client);
    perform(client, "write",
            [&](Status* s) { return Steps::write(fs, file.inode, offset, bytes, s); });
  }

  void truncate_somewhere(unsigned client, File& file) {
    const std::uint64_t size = world_.prng().below(file.model.current().size() + 100'000);
    file.model.truncate(size);
    file.writer = client;
    client::FileSystem* fs = cluster_.client(client);
    perform(client, "truncate",
            [&](Status* s) { return Steps::truncate(fs, file.inode, size, s); });
  }

  bool read_file(unsigned client, const File& file, FileModel::Content* content) {
    auto kept = std::make_shared<FileModel::Content>();
    SimWorld::bury(kept);
    client::FileSystem* fs = cluster_.client(client);
    if (!perform(client, "read",
                 [&](Status* s) { return Steps::read_all(fs, file.inode, s, kept.get()); }))
      return false;
    *content = *kept;
    return true;
  }
  void verify(unsigned client, const File& file, const char* when) {
    FileModel::Content actual;
    if (!read_file(client, file, &actual)) return;
    if (actual == file.model.current()) return;
    const auto [a, b] = std::ranges::mismatch(actual, file.model.current());
    fail_run("other bytes are read than were written, " + std::string(when) + ", file of " +
             std::to_string(file.model.current().size()) + ", read " +
             std::to_string(actual.size()) + ", first difference at " +
             std::to_string(a - actual.begin()));
  }
  void verify_all(const char* when) {
    for (unsigned client = 0; client < kClients; ++client) {
      for (File& file : files_) {
        if (failure_.empty()) touch(client, file);
        if (failure_.empty()) verify(client, file, when);
      }
    }
  }

  void remount_after_kill(unsigned client) {
    ++client_kills_;
    cluster_.kill_client(client);
    world_.run_for(std::chrono::milliseconds(static_cast<std::int64_t>(world_.prng().below(3000))));
    if (!mount(client)) return;
    for (File& file : files_) {
      if (!failure_.empty()) return;
      if (file.writer != client) {
        touch(client, file);
        if (failure_.empty()) verify(client, file, "after a client that had written nothing died");
        continue;
      }
      FileModel::Content actual;
      if (!read_file(client, file, &actual)) return;
      const std::string wrong = file.model.check(actual);
      if (!wrong.empty()) return fail_run("after the writer was killed: " + wrong);
      file.model.adopt(std::move(actual));
      file.writer.reset();
    }
  }

  SimWorld world_;
  SimCluster cluster_;
  Nemesis nemesis_;
  std::array<File, kFiles> files_;
  std::unique_ptr<Status> status_;
  std::string failure_;
  std::uint64_t operations_ = 0;
  std::uint64_t client_kills_ = 0;
  Duration longest_{0};
};

}  // namespace

RunReport run_write_crash_read(std::uint64_t seed, PlantedBug bug) {
  // A failed run leaves tasks in the middle: nothing of it is unwound.
  auto workload = std::make_shared<Workload>(seed, bug);
  RunReport report = workload->run();
  if (!report.ok) SimWorld::bury(workload);
  return report;
}

}  // namespace cairn::sim
