#include "tests/sim/data_conversions.h"

#include "mds/state/keys.h"
#include "mds/state/rows.h"
#include "proto/log_record.pb.h"

namespace cairn::sim {

namespace {
namespace keys = mds::state::keys;
namespace rows = mds::state::rows;

constexpr Duration kTasksLimit = 120s;
constexpr unsigned kWorkers = 2;
constexpr Duration kAtOnce = 1s;  // later the question may have been repeated

bool same(const pb::Encoding& a, const pb::Encoding& b) {
  return a.data() == b.data() && a.parity() == b.parity();
}
std::string text(const pb::Encoding& code) {
  return std::to_string(code.data()) + "+" + std::to_string(code.parity());
}
}  // namespace

DataConversions::DataConversions(SimWorld& world, SimCluster& cluster, DataFiles& files,
                                 std::vector<pb::Encoding> codes)
    : world_(world),
      cluster_(cluster),
      files_(files),
      codes_(std::move(codes)),
      runtime_(world.make_runtime()),
      tasks_(cluster.admin_runtime()) {}

void DataConversions::start(std::uint64_t pause_ms_max) {
  ++round_;
  pause_ms_max_ = pause_ms_max;
  if (on()) plan_next();
}

void DataConversions::plan_next() {
  const auto pause = std::chrono::milliseconds(
      static_cast<std::int64_t>(world_.prng().between(10, pause_ms_max_)));
  runtime_.schedule(runtime_.now() + pause, [this, round = round_] {
    if (round != round_) return;
    if (world_.prng().chance(60)) {
      ++paused_;
      tasks_.spawn(set_workers(this, static_cast<unsigned>(world_.prng().below(4))));
    } else {
      ask(files_.slot(static_cast<unsigned>(world_.prng().below(files_.count()))));
    }
    plan_next();
  });
}

void DataConversions::stop() {
  ++round_;
  if (!on()) return;
  if (paused_ != 0) tasks_.spawn(set_workers(this, kWorkers));
  if (world_.run_until([this] { return tasks_.running() == 0; }, kTasksLimit)) return;
  files_.fail_run("the administrator gets no answer");
}

void DataConversions::ask_for_all() {
  if (!on()) return;
  for (unsigned i = 0; i < files_.count(); ++i) {
    wishes_[files_.slot(i).name()].murky = false;
    ask(files_.slot(i));
  }
  stop();
}

void DataConversions::ask(const FileSlot& slot) {
  std::string name = slot.name();
  ++asked_;
  ++asking_[name];
  wishes_[name].sure = false;
  const pb::Encoding code = codes_[world_.prng().below(codes_.size())];
  tasks_.spawn(ask_one(this, std::move(name), code, world_.prng().chance(50)));
}

Task<void> DataConversions::ask_one(DataConversions* self, std::string name, pb::Encoding encoding,
                                    bool keep_data) {
  pb::SetPolicyRequest request;
  request.mutable_target()->set_path("/" + name);
  *request.mutable_policy()->mutable_encoding() = encoding;
  request.set_keep_data(keep_data);
  const Instant begun = self->world_.now();
  const Result<pb::SetPolicyReply> set = co_await self->cluster_.set_policy(std::move(request));
  const bool alone = --self->asking_[name] == 0;
  Wish& wish = self->wishes_[name];
  if (self->world_.now() - begun >= kAtOnce) wish.murky = true;
  wish.encoding = encoding;
  wish.sure = alone && set.has_value() && !keep_data && !wish.murky;
  if (!set.has_value() && set.error().code() == Code::kInvalidArgument) {
    self->files_.fail_run("set-attr " + name + ": " + set.error().to_string());
  }
}

Task<void> DataConversions::set_workers(DataConversions* self, unsigned workers) {
  pb::SetConfigRequest request;
  request.set_cluster(kSimCluster);
  request.set_from("the simulator");
  pb::Setting* setting = request.add_settings();
  setting->set_name("mds.convert.workers");
  setting->set_value(std::to_string(workers));
  const Result<pb::SetConfigReply> set = co_await self->cluster_.set_config(std::move(request));
  // The last one of a round is asked in quiet times.
  ignore(set, "while things fail it may stay as it was");
}

std::string DataConversions::unfinished(const std::set<std::uint64_t>& open) const {
  SimMds* master = cluster_.master();
  if (master == nullptr) return "there is no master";
  std::string left;
  const Status waiting = rows::each<pb::ConversionRecord>(
      master->tables(), keys::all_of(keys::Table::kConversion), "",
      [&](std::string_view, const pb::ConversionRecord& row) {
        left = "a file waits for its conversion to " + text(row.encoding());
        return false;
      });
  CHECK(waiting.has_value());
  const Status orphans = rows::each<pb::InodeRecord>(
      master->tables(), keys::all_of(keys::Table::kInode), "",
      [&](std::string_view, const pb::InodeRecord& record) {
        const pb::Attributes& attributes = record.attributes();
        if (record.shadow_of() != 0) left = "a copy is left: " + record.ShortDebugString();
        const bool nameless = attributes.type() == pb::TYPE_REGULAR && attributes.nlink() == 0;
        if (left.empty() && nameless && !open.contains(attributes.inode())) {
          left = "the data of a nameless file is left: " + record.ShortDebugString();
        }
        return left.empty();
      });
  CHECK(orphans.has_value());
  return left;
}

std::string DataConversions::wrong() const {
  SimMds* master = cluster_.master();
  if (master == nullptr || !on()) return {};
  std::map<std::uint64_t, const Wish*> by_inode;
  const Status names =
      rows::each<pb::DentryRecord>(master->tables(), keys::all_of(keys::Table::kDentry), "",
                                   [&](std::string_view key, const pb::DentryRecord& entry) {
                                     const auto name = keys::decode_name(keys::Table::kDentry, key);
                                     CHECK(name.has_value());
                                     const auto wish = wishes_.find(std::string(name->name));
                                     if (wish != wishes_.end() && wish->second.sure)
                                       by_inode[entry.inode()] = &wish->second;
                                     return true;
                                   });
  CHECK(names.has_value());
  std::string found;
  const Status files = rows::each<pb::InodeRecord>(
      master->tables(), keys::all_of(keys::Table::kInode), "",
      [&](std::string_view, const pb::InodeRecord& record) {
        const auto wish = by_inode.find(record.attributes().inode());
        if (wish == by_inode.end() || !record.has_layout()) return true;
        const pb::Encoding& wanted = wish->second->encoding;
        if (same(record.layout().encoding(), wanted)) return true;
        found = "inode " + std::to_string(record.attributes().inode()) + " is " +
                text(record.layout().encoding()) + ", wanted was " + text(wanted);
        return false;
      });
  CHECK(files.has_value());
  return found;
}

void DataConversions::tell(DataCoverage& coverage) const {
  coverage.count("conversion.asked", asked_);
  coverage.count("conversion.paused", paused_);
}

}  // namespace cairn::sim
