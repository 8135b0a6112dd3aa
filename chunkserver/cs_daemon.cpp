#include "chunkserver/cs_daemon.h"

#include <charconv>

#include "chunkserver/health/trouble.h"
#include "chunkserver/store_options.h"
#include "common/cluster/durable_file.h"
#include "common/daemon/daemon.h"

namespace cairn::chunkserver {
namespace {

constexpr Duration kLookAgain = 3s;     // whether the repository is there now
constexpr Duration kAttend = 1s;        // whether the store was fenced
constexpr Duration kStopPatience = 2s;  // for a drive, when the end was asked for
constexpr Duration kHung = 2s;
constexpr unsigned kIndexPatience = 4;  // times the limit: one job is many requests

constexpr const char* kPortFile = "/port";

std::uint16_t last_port(const std::string& directory) {
  const Result<std::string> text = cairn::cluster::read_small_file(directory + kPortFile);
  std::uint16_t port = 0;
  if (text.has_value()) std::from_chars(text->data(), text->data() + text->size(), port);
  return port;
}

// So that a restarted chunk server is found where it was. Losing it costs nothing.
void note_port(const std::string& directory, std::uint16_t port) {
  if (last_port(directory) == port) return;
  const Status noted =
      cairn::cluster::write_file_durably(directory + kPortFile, std::to_string(port) + "\n", 0644);
  ignore(noted, "the next start takes another port");
}

}  // namespace

// Says to the cluster that it cannot serve.
struct CsDaemon::Sick {
  Sick(CsDaemon& owner, const cluster::Failure& failure)
      : duties(failure),
        keeper(owner.runtime_, owner.mds_, owner.place_.identity, duties, owner.log_,
               owner.options_.on_mds_members) {}
  cluster::SickDuties duties;
  cluster::Keeper keeper;
};

CsDaemon::CsDaemon(runtime::AsioRuntime& runtime, net::Network& network, rpc::Caller& mds,
                   observe::Log& log, Whereabouts place, CsDaemonOptions options)
    : runtime_(runtime),
      network_(network),
      mds_(mds),
      log_(log),
      place_(std::move(place)),
      options_(std::move(options)),
      sickness_(runtime),
      group_(runtime) {
  places_.take = [this](const std::string& directory, ByteCount bytes) {
    return premises_->rings().take(directory, bytes);
  };
  places_.release = [this](const std::string& directory) {
    return premises_->rings().release(directory);
  };
  operator_.emplace(*this, log_);
  door_.emplace(runtime_, *operator_, log_);
}

CsDaemon::~CsDaemon() = default;

void CsDaemon::request_stop() {
  stopping_ = true;
  if (sleeper_.has_value()) sleeper_->set(true);
  runtime_.schedule(runtime_.after(kStopPatience), [this] { hurry(); });
}

// What hangs in a drive must not hold up the end. Nothing acknowledged is lost: it is durable.
void CsDaemon::hurry() {
  const Duration data = server_ == nullptr ? Duration{} : server_->device().oldest_request();
  const Duration ring = premises_ == nullptr ? Duration{} : premises_->rings().oldest_request();
  if (std::max(data, ring) >= kHung) {
    log_.error("a drive does not answer: ending without it");
    options_.leave_now();
    return;
  }
  runtime_.schedule(runtime_.after(kAttend), [this] { hurry(); });
}

Task<bool> CsDaemon::stopped_within(Duration duration) {
  if (stopping_) co_return true;
  sleeper_.emplace(runtime_);
  runtime::Completion<bool> sleeper = *sleeper_;
  const std::optional<bool> woken = co_await sleeper.wait_until(runtime_.after(duration));
  static_cast<void>(woken);
  sleeper_.reset();
  co_return stopping_;
}

Task<Status> CsDaemon::run() {
  const Status lived = co_await live();
  const Status closed = co_await close();
  if (!lived.has_value()) co_return lived;
  co_return closed;
}

Task<Status> CsDaemon::live() {
  if (place_.failure.has_value()) {
    co_await set_sick(place_.failure);
    options_.on_ready(place_.failure->text);
    if (!place_.repository.has_value()) co_await wait_for_home();
  }
  if (stopping_) co_return Status();
  if (!place_.failure.has_value()) {
    Status opened = move_in();
    if (opened.has_value()) opened = co_await open();
    if (!opened.has_value() && ends_with(opened.error())) co_return opened;
    co_await settle(opened);
    options_.on_ready(failure_.has_value() ? failure_->text : std::string());
    while (!opened.has_value()) {
      const bool there = co_await wait_for_journal();
      if (!there) break;
      co_await move_out();
      opened = co_await open();
      co_await settle(opened);
    }
  }
  co_await attend();
  co_return Status();
}

Task<void> CsDaemon::settle(Status opened) {
  std::optional<cluster::Failure> failure;
  if (!opened.has_value()) failure = health::failure_of(opened.error());
  co_await set_sick(failure);
  if (!opened.has_value()) co_return;
  log_.info("chunk server ready: {} at {}, engine {}", place_.directory,
            server_->address().to_string(), server_->engine());
}

// Its SSD may be mounted later than we are started. One that is there and cannot be read stays so.
Task<bool> CsDaemon::wait_for_journal() {
  if (premises_ == nullptr || premises_->rings().absent().empty()) co_return false;
  for (;;) {
    const bool stopped = co_await stopped_within(kLookAgain);
    if (stopped) co_return false;
    const Status there = co_await premises_->look_for_journal();
    if (stopping_) co_return false;
    if (!there.has_value()) continue;
    log_.info("the journal at {} is there now", premises_->rings().absent());
    co_return true;
  }
}

Task<void> CsDaemon::move_out() {
  if (server_ != nullptr) {
    const Status stopped = co_await server_->stop();
    ignore(stopped, "its store is not open");
  }
  co_await watch_->stop();
  server_.reset();
  watch_.reset();
  premises_.reset();
}

// The disk may be mounted later than we are started.
Task<void> CsDaemon::wait_for_home() {
  std::string said;
  for (;;) {
    const bool stopped = co_await stopped_within(kLookAgain);
    if (stopped) co_return;
    Result<Whereabouts> found = look_again(place_, options_.version);
    if (found.has_value()) {
      log_.info("the repository {} is there now", place_.directory);
      place_ = std::move(*found);
      if (place_.failure.has_value()) co_await set_sick(place_.failure);
      co_return;
    }
    const bool usual = found.error().code() == Code::kNotFound;
    if (!usual && said != found.error().message()) log_.error("{}", found.error().to_string());
    said = usual ? std::string() : found.error().message();
  }
}

Status CsDaemon::move_in() {
  TRY_VOID(daemon::lock_repository(place_.directory));
  Result<cairn::cluster::Socket> socket = cairn::cluster::listen_at_control(place_.directory);
  if (!socket.has_value()) {
    log_.warning("no control door (cairn configure-cs): {}", socket.error().message());
    return {};
  }
  listener_ = std::make_unique<control::UnixListener>(
      runtime_, std::move(*socket), log_,
      [this](std::unique_ptr<net::Stream> stream) { door_->accept(std::move(stream)); });
  return {};
}

bool CsDaemon::ends_with(const Error& error) const {
  // In use by another process, or a port is: nothing is wrong with a disk.
  if (error.code() == Code::kBusy || error.code() == Code::kAccessDenied) return true;
  if (error.code() == Code::kUnavailable || error.code() == Code::kInvalidArgument) return true;
  // It never was a store: who makes it should see at once why it does not become one.
  return error.code() != Code::kReadOnly && !Premises::made(place_.directory);
}

ChunkServerOptions CsDaemon::server_options() {
  ChunkServerOptions options;
  options.repository = *place_.repository;
  options.directory = place_.identity.repository();
  options.credentials = options_.credentials;
  options.version = options_.version;
  options.on_mds_members = options_.on_mds_members;
  if (options_.converters) options.make_converter = options_.converters(place_);
  options.scrub_state_path = place_.directory + "/scrub.state";
  options.store = store_options_of(*place_.repository);
  options.store.offload = premises_->offload_hook();
  options.store.open_ring = premises_->rings().open_hook();
  options.store.remove_ring = premises_->rings().remove_hook();
  options.preferred_port = last_port(place_.directory);
  options.ring_errors = [this] { return premises_->rings().io_errors(); };
  return options;
}

Task<Status> CsDaemon::open() {
  opening_ = true;
  premises_ = std::make_unique<Premises>(runtime_, place_.directory, *place_.repository,
                                         options_.allow_faults);
  watch_drives();
  Status opened = co_await premises_->open();
  if (opened.has_value()) {
    server_ = std::make_unique<ChunkServer>(runtime_, network_, mds_, premises_->take_device(),
                                            premises_->index(), log_, server_options());
    opened = co_await server_->start();
  }
  opening_ = false;
  if (!opened.has_value()) co_return opened;
  note_port(place_.directory, server_->address().port);
  co_return Premises::mark_made(place_.directory);
}

void CsDaemon::watch_drives() {
  std::vector<health::Watch::Probe> probes;
  probes.push_back({.name = "the drive of " + place_.directory, .age = [this] {
                      return server_ == nullptr ? Duration{} : server_->device().oldest_request();
                    }});
  probes.push_back({.name = "the drive of the journal",
                    .age = [this] { return premises_->rings().oldest_request(); }});
  probes.push_back({.name = "the index in " + place_.directory,
                    .age = [this] { return premises_->offload().oldest(); },
                    .patience = kIndexPatience});
  health::Watch::Hooks hooks;
  hooks.on_hang = [this](const Error& error) { on_hang(error); };
  watch_ = std::make_unique<health::Watch>(runtime_, std::move(probes), std::move(hooks),
                                           health::Watch::Options{.limit = options_.hang_limit});
  watch_->start();
}

void CsDaemon::on_hang(const Error& error) {
  if (!opening_ && server_ != nullptr && server_->open_store() != nullptr) {
    server_->store().fence(error);
    return;
  }
  // The start hangs: the cluster is told; should it go on, all is well.
  if (opening_) group_.spawn(set_sick(health::failure_of(error)));
}

Task<void> CsDaemon::set_sick(std::optional<cluster::Failure> failure) {
  const runtime::Semaphore::Permit guard = co_await sickness_.lock();
  if (sick_ != nullptr) {
    co_await sick_->keeper.stop();
    sick_.reset();
  }
  failure_ = failure;
  if (!failure.has_value() || stopping_) co_return;
  tell(*failure);
  sick_ = std::make_unique<Sick>(*this, *failure);
  sick_->keeper.start();
}

void CsDaemon::tell(const cluster::Failure& failure) {
  if (told_ == failure) return;
  told_ = failure;
  log_.error("NOT SERVING (flag {}): {}. docs/chunk-servers.md says what to do", failure.letter,
             failure.text);
}

Task<void> CsDaemon::attend() {
  for (;;) {
    const std::optional<cluster::Failure> failure = trouble();
    if (failure.has_value()) tell(*failure);
    const bool stopped = co_await stopped_within(kAttend);
    if (stopped) break;
  }
  log_.info("stopping");
}

Task<Status> CsDaemon::close() {
  listener_.reset();
  door_->close();
  Status closed;
  if (server_ != nullptr) closed = co_await server_->stop();
  co_await door_->stop();
  if (watch_ != nullptr) co_await watch_->stop();
  co_await set_sick(std::nullopt);
  co_await group_.join();
  if (place_.repository.has_value() && !place_.failure.has_value()) {
    cairn::cluster::remove_control(place_.directory);
  }
  if (closed.has_value()) log_.info("stopped");
  co_return closed;
}

}  // namespace cairn::chunkserver
