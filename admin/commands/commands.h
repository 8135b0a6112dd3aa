// The commands of `cairn`, one function each: options in, text and warnings out. They print
// nothing.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "admin/commands/command.h"

namespace cairn::admin {

enum class PasswordFrom { kNowhere, kTerminal, kStandardInput };

struct MakeMds {
  bool init = false;                   // -I
  std::string address;                 // -a ADDR[:PORT]
  std::string repository;              // -r
  std::vector<std::string> bootstrap;  // -b ADDR[:PORT],... of the cluster it joins
  PasswordFrom password = PasswordFrom::kNowhere;
  bool force = false;  // less than 10 GB free, a cluster name already known here
};
// The first of a new cluster (-I), or one more.
Outcome<Output> make_mds(const Globals& globals, const MakeMds& options);
Outcome<Output> join_mds(const Globals& globals, const MakeMds& options);

struct RmMds {
  std::string id;
};
Outcome<Output> rm_mds(const Globals& globals, const RmMds& options);

struct ConfigureMds {
  std::string repository;          // -r
  std::vector<std::string> nodes;  // -n ID@ADDR[:PORT]
  bool force = false;              // ids that this MDS does not know
};
Outcome<Output> configure_mds(const Globals& globals, const ConfigureMds& options);

Outcome<Output> check_mds(const Globals& globals);

struct AuthNode {
  PasswordFrom password = PasswordFrom::kTerminal;
  std::vector<std::string> addresses;  // -b ADDR[:PORT],...
};
Outcome<Output> auth_node(const Globals& globals, const AuthNode& options);

struct SetAttr {
  bool recursive = false;          // -R
  bool from_root = false;          // -p
  std::vector<std::string> words;  // PATH name=value...
  bool convert = false;            // --convert: also back from an encoding to replicas
  bool keep_data = false;          // --no-convert
  bool wait = false;               // --wait: until no file waits for conversion any more
  // Told while it waits, a few times a second at most; empty: nobody looks.
  std::function<void(const std::string& line)> on_progress = {};
};
Outcome<Output> set_attr(const Globals& globals, const SetAttr& options);

struct PathArgument {
  bool from_root = false;  // -p
  std::string path;
};
Outcome<Output> get_attr(const Globals& globals, const PathArgument& options);
Outcome<Output> show_file(const Globals& globals, const PathArgument& options);  // info

struct ListServices {
  bool mds = true;
  bool cs = true;
};
Outcome<Output> list_services(const Globals& globals, const ListServices& options);

struct Stat {
  bool chunks = true;    // counts chunk states: walks the chunk map
  bool verbose = false;  // -v
};
Outcome<Output> stat(const Globals& globals, const Stat& options);

struct SetConfig {
  std::vector<std::string> words;  // name=value...
};
Outcome<Output> set_config(const Globals& globals, const SetConfig& options);

struct GetConfig {
  std::vector<std::string> names;  // none: all
  bool verbose = false;            // -v
};
Outcome<Output> get_config(const Globals& globals, const GetConfig& options);

struct ScrubNow {
  bool from_root = false;  // -p
  std::string path;
  bool wait = true;  // else --no-wait
  // Told while it waits, a few times a second at most; empty: nobody looks.
  std::function<void(const std::string& line)> on_progress;
};
Outcome<Output> scrub_now(const Globals& globals, const ScrubNow& options);

struct ScrubStatus {
  std::string job;  // empty: all
};
Outcome<Output> scrub_status(const Globals& globals, const ScrubStatus& options);

struct GetEvent {
  std::uint64_t after = 0;
  std::uint32_t count = 100;
};
Outcome<Output> get_event(const Globals& globals, const GetEvent& options);

Outcome<Output> version(const Globals& globals);

}  // namespace cairn::admin
