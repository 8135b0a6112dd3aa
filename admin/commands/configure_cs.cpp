#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <optional>
#include <system_error>

#include "admin/commands/cs_commands.h"
#include "admin/commands/cs_control.h"
#include "admin/commands/cs_place.h"
#include "admin/commands/repository_checks.h"
#include "admin/view/cs_state.h"

namespace cairn::admin {
namespace {

constexpr const char* kWhat = "cannot configure the chunk server";

std::unexpected<Failure> usage(std::string why, std::string next = {}) {
  return failure({.code = Code::kInvalidArgument,
                  .what = kWhat,
                  .why = std::move(why),
                  .state = {},
                  .next = std::move(next)});
}

// What is to be done; the size is that of -s.
struct Wish {
  enum class Kind { kStatus, kCommit, kAdd, kDestroy, kResize, kTuneOnly } kind = Kind::kStatus;
  ByteCount bytes = 0;
  std::optional<cluster::Tune> tune;
};

Outcome<Wish> understand(const ConfigureCs& options) {
  Wish wish;
  if (!options.tune.empty()) {
    wish.tune = cluster::parse_tune(options.tune);
    if (!wish.tune.has_value()) return usage("-T " + options.tune + " is not one of ssd, hdd");
  }
  const bool resize = !options.journal_mb.empty() && options.add.empty();
  const int verbs = (options.add.empty() ? 0 : 1) + (options.destroy ? 1 : 0) +
                    (options.status ? 1 : 0) + (options.commit ? 1 : 0) + (resize ? 1 : 0);
  if (verbs > 1) {
    return usage(
        "-a, -d, -s without -a, --status and --commit exclude each other",
        "To move a journal name the new directory:  cairn configure-cs -r DIR -a NEW -s MB");
  }
  if (!options.journal_mb.empty()) {
    const Result<ByteCount> bytes = parse_journal_mb(options.journal_mb);
    if (!bytes.has_value()) return usage(bytes.error().message());
    wish.bytes = *bytes;
  }
  if (!options.add.empty() && options.journal_mb.empty()) {
    return usage("-a needs the journal's size", "Say how big it shall be:  -s MB");
  }
  using enum Wish::Kind;
  wish.kind = kStatus;
  if (options.commit) wish.kind = kCommit;
  if (options.destroy) wish.kind = kDestroy;
  if (!options.add.empty()) wish.kind = kAdd;
  if (resize) wish.kind = kResize;
  if (verbs == 0 && wish.tune.has_value()) wish.kind = kTuneOnly;
  if (verbs == 0 && wish.kind == kStatus) {
    return usage("it was not said what to do",
                 "Add a journal: -a DIR -s MB. Destroy it: -d. Resize it: -s MB. Look: --status");
  }
  return wish;
}

// DIR of DIR or DIR/data. The data may be a link to a drive: it is not followed.
Result<std::string> cs_repository(const std::string& given) {
  std::string spelled = given;
  while (spelled.size() > 1 && spelled.ends_with('/')) spelled.pop_back();
  const std::filesystem::path path = spelled;
  std::error_code ignored;
  if (path.filename() == "data") {
    const std::filesystem::path parent = path.has_parent_path() ? path.parent_path() : ".";
    if (std::filesystem::exists(parent / "cs.conf", ignored)) spelled = parent.string();
  }
  TRY(std::string repository, repository_path(spelled));
  if (std::filesystem::exists(repository + "/cs.conf", ignored)) return repository;
  return fail(Code::kNotFound, "there is no repository of a chunk server at " + repository);
}

class Terminal {
 public:
  void show(const control::Json& progress) {
    if (::isatty(STDERR_FILENO) == 0) return;
    const std::string line = cs_progress_text(progress);
    std::fprintf(stderr, "\r%-78s", line.substr(0, 78).c_str());
    std::fflush(stderr);
    shown_ = true;
  }
  ~Terminal() {
    if (shown_) std::fprintf(stderr, "\r%78s\r", "");
  }

 private:
  bool shown_ = false;
};

// Says what there is after something went wrong: it may be half done.
std::unexpected<Failure> failed(CsControl& cs, const control::Json& before, const Error& error) {
  std::string state = "It goes on";
  if (error.code() != Code::kTimeout) {
    const Result<control::Json> now = cs.ask(control::StatusRequest{});
    const std::string is = now.has_value() ? cs_journal_text(*now) : std::string();
    state = is.empty()                      ? "The state is not known; no write was lost"
            : is == cs_journal_text(before) ? "Nothing was changed: there is " + is
                                            : "Now there is " + is + "; no write was lost";
  }
  std::string next;
  if (error.code() == Code::kBusy) {
    next =
        "One journal directory is for one chunk server: name another, or wait for the end of what "
        "is under way";
  }
  return failure(kWhat, error, std::move(state), std::move(next));
}

// The journal that is asked for. `now` is the state.
Outcome<control::JournalRequest> wanted_journal(const ConfigureCs& options, const Wish& wish,
                                                const std::string& repository,
                                                const control::Json& now, Output* output) {
  control::JournalRequest request;
  request.timeout = std::chrono::seconds(options.wait_s);
  const bool on = cs_journal_on(now);
  const std::string directory = cs_journal_directory(now);
  if (wish.kind == Wish::Kind::kDestroy) {
    request.on = false;
    request.bytes = cluster::kJournalBytesDefault;
    return request;
  }
  request.bytes = wish.bytes;
  if (wish.kind == Wish::Kind::kResize) {
    if (!on) {
      return usage("there is no journal that could be resized",
                   "Add one:  cairn configure-cs -r " + repository + " -a DIR -s MB");
    }
    request.directory = directory;
    return request;
  }
  Result<std::string> place = journal_place(repository, options.add);
  if (!place.has_value()) return failure(kWhat, place.error());
  request.directory = std::move(*place);
  if (request.directory.empty()) return request;
  if (request.directory != directory) {
    const Status room = check_journal_room(request.directory, request.bytes);
    if (!room.has_value()) return failure(kWhat, room.error());
  }
  if (auto warning = journal_warning(repository, request.directory)) {
    output->warnings.push_back(std::move(*warning));
  }
  return request;
}

Outcome<control::Json> carry_out(CsControl& cs, const ConfigureCs& options, const Wish& wish,
                                 const std::string& repository, control::Json state,
                                 Output* output) {
  Terminal terminal;
  const CsControl::OnProgress show = [&terminal](const control::Json& json) {
    terminal.show(json);
  };
  if (wish.kind == Wish::Kind::kCommit) {
    const control::CommitRequest request{.timeout = std::chrono::seconds(options.wait_s)};
    Result<control::Json> done = cs.ask(request, show);
    if (!done.has_value()) return failed(cs, state, done.error());
    return std::move(*done);
  }
  if (wish.kind == Wish::Kind::kTuneOnly) return state;
  const Outcome<control::JournalRequest> request =
      wanted_journal(options, wish, repository, state, output);
  if (!request.has_value()) return std::unexpected(request.error());
  Result<control::Json> done = cs.ask(*request, show);
  if (!done.has_value()) return failed(cs, state, done.error());
  return std::move(*done);
}

}  // namespace

Outcome<Output> configure_cs(const Globals& globals, const ConfigureCs& options) {
  const Outcome<Wish> wish = understand(options);
  if (!wish.has_value()) return std::unexpected(wish.error());
  const Result<std::string> repository = cs_repository(options.repository);
  if (!repository.has_value()) {
    return failure(kWhat, repository.error(), {}, "See which there are:  cairn list-services -C");
  }
  Result<CsControl> cs = CsControl::open(*repository);
  if (!cs.has_value()) return failure(kWhat, cs.error());
  Result<control::Json> before = cs->ask(control::StatusRequest{});
  if (!before.has_value()) return failure(kWhat, before.error());
  Output output;
  control::Json state = *before;
  std::string text;
  if (wish->kind != Wish::Kind::kStatus) {
    Outcome<control::Json> done = carry_out(*cs, options, *wish, *repository, state, &output);
    if (!done.has_value()) return std::unexpected(done.error());
    state = std::move(*done);
    text = cs_change_text(*before, state);
  }
  if (wish->tune.has_value()) {
    Result<control::Json> tuned = cs->ask(control::TuneRequest{.tune = *wish->tune});
    if (!tuned.has_value()) return failed(*cs, *before, tuned.error());
    state = std::move(*tuned);
    text += std::string("tuned for ") + cluster::tune_word(*wish->tune) +
            (cs->running() ? ": counts when the chunk server is started again\n" : "\n");
  }
  if (wish->kind == Wish::Kind::kStatus) text = cs_state_text(state);
  state["schema"] = 1;
  cs->finish();
  output.text = globals.json
                    ? state.dump(2, ' ', false, control::Json::error_handler_t::replace) + "\n"
                    : text;
  return output;
}

}  // namespace cairn::admin
