#include "chunkserver/offline.h"

#include <fcntl.h>
#include <unistd.h>

#include "chunkserver/control/cs_operator.h"
#include "chunkserver/control/unix_stream.h"
#include "chunkserver/house_state.h"
#include "chunkserver/premises.h"
#include "chunkserver/store_options.h"
#include "common/daemon/daemon.h"

namespace cairn::chunkserver {
namespace {

class OfflineHouse final : public control::House {
 public:
  OfflineHouse(runtime::AsioRuntime& runtime, observe::Log& log, const Whereabouts& place,
               std::string version)
      : runtime_(runtime),
        log_(log),
        directory_(place.directory),
        repository_(*place.repository),
        version_(std::move(version)),
        premises_(runtime, directory_, repository_, false) {
    places_.take = [this](const std::string& directory, ByteCount bytes) {
      return premises_.rings().take(directory, bytes);
    };
    places_.release = [this](const std::string& directory) {
      return premises_.rings().release(directory);
    };
  }

  Task<Status> open() {
    CO_TRY_VOID(co_await premises_.open());
    device_ = premises_.take_device();
    store::StoreOptions options = store_options_of(repository_);
    options.offload = premises_.offload_hook();
    options.open_ring = premises_.rings().open_hook();
    options.remove_ring = premises_.rings().remove_hook();
    CO_TRY(store_, co_await store::PieceStore::open(&runtime_, device_.get(), &premises_.index(),
                                                    &log_, std::move(options)));
    co_return Premises::mark_made(directory_);
  }
  void cannot_open(const Error& error) { failure_ = error; }
  Task<Status> close() {
    if (store_ == nullptr) co_return Status();
    co_return co_await store_->close();
  }

  control::protocol::Json state() const override {
    control::protocol::Json json =
        identity_state(directory_, repository_.cluster, repository_.cs_id.raw(), version_);
    json["running"] = false;
    json["serving"] = false;
    json["failure"] = failure_.has_value() ? failure_->to_string() : "";
    put_configuration(repository_, &json);
    if (store_ != nullptr) put_store(store_->statistics(), &json);
    return json;
  }
  Result<store::PieceStore*> store() override {
    if (failure_.has_value()) return fail(*failure_);
    return store_.get();
  }
  const control::JournalPlaces& places() const override { return places_; }
  Status set_tune(cairn::cluster::Tune tune) override {
    repository_.tune = tune;
    return repository_.save(directory_);
  }
  Status set_fault(control::protocol::FaultRequest) override {
    return fail(Code::kUnsupported, "the chunk server does not run");
  }

 private:
  runtime::AsioRuntime& runtime_;
  observe::Log& log_;
  std::string directory_;
  cairn::cluster::CsRepository repository_;
  std::string version_;
  Premises premises_;
  control::JournalPlaces places_;
  std::unique_ptr<io::BlockDevice> device_;
  std::unique_ptr<store::PieceStore> store_;
  std::optional<Error> failure_;
};

}  // namespace

Task<Status> serve_offline(runtime::AsioRuntime* runtime, observe::Log* log,
                           const Whereabouts* place, std::string version) {
  if (!place->repository.has_value()) co_return fail(Code::kNotFound, place->failure->text);
  if (place->failure.has_value()) co_return fail(Code::kReadOnly, place->failure->text);
  CO_TRY_VOID(daemon::lock_repository(place->directory));
  cairn::cluster::Socket socket(::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3));
  CO_TRY(std::unique_ptr<net::Stream> stream,
         control::make_unix_stream(*runtime, std::move(socket)));
  OfflineHouse house(*runtime, *log, *place, std::move(version));
  const Status opened = co_await house.open();
  if (!opened.has_value()) house.cannot_open(opened.error());
  control::CsOperator work(house, *log);
  control::ControlDoor door(*runtime, work, *log);
  co_await door.serve(std::move(stream));
  co_await door.stop();
  co_return co_await house.close();
}

}  // namespace cairn::chunkserver
