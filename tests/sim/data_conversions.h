// DataConversions: the administrator of the data-path workload, who brings files into other
// encodings while they are in use, and changes his mind.
//
// Promises: asks only for encodings that were given to it.
// Requires: stop() before the cluster is looked at.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "common/runtime/task_group.h"
#include "proto/types.pb.h"
#include "tests/sim/cluster.h"
#include "tests/sim/coverage_data.h"
#include "tests/sim/data_files.h"

namespace cairn::sim {

class DataConversions {
 public:
  // `codes`: what files may be converted to; fewer than two: nobody converts anything.
  DataConversions(SimWorld& world, SimCluster& cluster, DataFiles& files,
                  std::vector<pb::Encoding> codes);

  bool on() const { return codes_.size() > 1; }
  void start(std::uint64_t pause_ms_max);
  // Asks for nothing more; conversions are not paused any more.
  void stop();
  // Asks for all files.
  void ask_for_all();
  // What must not stay so in quiet times: files that wait, copies that nobody needs. `open`: inodes
  // that some client has open.
  std::string unfinished(const std::set<std::uint64_t>& open) const;
  // When nothing is unfinished: "" or the file that has not the encoding it shall have.
  std::string wrong() const;
  void tell(DataCoverage& coverage) const;

 private:
  struct Wish {
    pb::Encoding encoding;
    bool sure = false;   // the answer came at once, and no other question is under way
    bool murky = false;  // an old question may still be on its way somewhere
  };
  void plan_next();
  void ask(const FileSlot& slot);
  static Task<void> ask_one(DataConversions* self, std::string name, pb::Encoding encoding,
                            bool keep_data);
  static Task<void> set_workers(DataConversions* self, unsigned workers);

  SimWorld& world_;
  SimCluster& cluster_;
  DataFiles& files_;
  const std::vector<pb::Encoding> codes_;
  SimRuntime& runtime_;
  runtime::TaskGroup tasks_;
  std::uint64_t pause_ms_max_ = 1000;
  std::uint64_t round_ = 0;
  std::map<std::string, Wish> wishes_;      // by name; of files without: nobody knows
  std::map<std::string, unsigned> asking_;  // questions under way
  std::uint64_t asked_ = 0;
  std::uint64_t paused_ = 0;
};

}  // namespace cairn::sim
