#include "tests/sim/names_player.h"

namespace cairn::sim {

namespace {
constexpr unsigned kNames = 10;
constexpr std::uint32_t kEntriesAtOnce = 7;  // few, so that a listing takes several calls
}  // namespace

NamesPlayer::Operation NamesPlayer::draw() {
  const auto any = [this] { return "name" + std::to_string(prng_.below(kNames)); };
  Operation operation{.kind = Kind::kLookup, .name = any(), .target = any(), .number = 0};
  const auto at = model_.find(operation.name);
  const bool present = at != model_.end();
  const bool directory = present && at->second.second;
  const std::uint64_t kind = prng_.below(100);
  if (kind < 25) {
    operation.kind = Kind::kCreate;  // also of names that are there
  } else if (kind < 35) {
    operation.kind = Kind::kMakeDirectory;
  } else if (kind < 55) {
    operation.kind = Kind::kUnlink;  // also of names that are not
  } else if (kind < 75 && present && operation.name != operation.target) {
    // Onto a name of the same type, or a free one.
    const auto target = model_.find(operation.target);
    if (target == model_.end() || target->second.second == directory) {
      operation.kind = Kind::kRename;
    }
  } else if (kind < 85 && present && !directory && !model_.contains(operation.target)) {
    operation.kind = Kind::kLink;
  } else if (kind >= 90) {
    operation.kind = Kind::kCommon;
    operation.number = common_.next;
  }
  return operation;
}

Task<Result<std::uint64_t>> NamesPlayer::perform(client::FileSystem* fs, Operation operation) {
  switch (operation.kind) {
    case Kind::kCreate:
    case Kind::kMakeDirectory:
    case Kind::kCommon: {
      const bool common = operation.kind == Kind::kCommon;
      const bool directory = operation.kind == Kind::kMakeDirectory;
      pb::MakeNode request;
      request.set_parent(common ? common_.inode.raw() : directory_.raw());
      request.set_name(common ? std::to_string(operation.number) : operation.name);
      request.set_type(directory ? pb::TYPE_DIRECTORY : pb::TYPE_REGULAR);
      request.set_mode(0700);
      const Result<pb::Attributes> made = co_await fs->make_node(std::move(request), false);
      if (!made.has_value()) co_return fail(made.error());
      co_return made->inode();
    }
    case Kind::kUnlink: {
      const auto at = model_.find(operation.name);
      const bool directory = at != model_.end() && at->second.second;
      std::string name = operation.name;
      const Status done = co_await fs->unlink(directory_, std::move(name), directory);
      if (!done.has_value()) co_return fail(done.error());
      co_return std::uint64_t{0};
    }
    case Kind::kRename: {
      pb::Rename request;
      request.set_old_parent(directory_.raw());
      request.set_old_name(operation.name);
      request.set_new_parent(directory_.raw());
      request.set_new_name(operation.target);
      const Status done = co_await fs->rename(std::move(request));
      if (!done.has_value()) co_return fail(done.error());
      co_return std::uint64_t{0};
    }
    case Kind::kLink: {
      const InodeId inode = InodeId::from_raw(model_.at(operation.name).first);
      std::string name = operation.target;
      const Result<pb::Attributes> done = co_await fs->link(inode, directory_, std::move(name));
      if (!done.has_value()) co_return fail(done.error());
      co_return done->inode();
    }
    case Kind::kLookup:
      break;
  }
  std::string name = operation.name;
  const Result<pb::Attributes> found = co_await fs->lookup(directory_, std::move(name));
  if (!found.has_value()) co_return fail(found.error());
  co_return found->inode();
}

Code NamesPlayer::expected(const Operation& operation) const {
  const bool present = model_.contains(operation.name);
  switch (operation.kind) {
    case Kind::kCreate:
    case Kind::kMakeDirectory:
      return present ? Code::kExists : Code();
    case Kind::kUnlink:
    case Kind::kLookup:
      return present ? Code() : Code::kNotFound;
    case Kind::kRename:
    case Kind::kLink:
    case Kind::kCommon:
      return Code();
  }
  return Code();
}

NamesPlayer::Model NamesPlayer::after(const Operation& operation, std::uint64_t inode) const {
  Model next = model_;
  if (expected(operation) != Code()) return next;
  switch (operation.kind) {
    case Kind::kCreate:
    case Kind::kMakeDirectory:
      next[operation.name] = {inode, operation.kind == Kind::kMakeDirectory};
      break;
    case Kind::kUnlink:
      next.erase(operation.name);
      break;
    case Kind::kRename:
      // Of two names of one file nothing happens, says POSIX.
      if (next.contains(operation.target) &&
          next[operation.target].first == next[operation.name].first) {
        break;
      }
      next[operation.target] = next[operation.name];
      next.erase(operation.name);
      break;
    case Kind::kLink:
      next[operation.target] = next[operation.name];
      break;
    case Kind::kLookup:
    case Kind::kCommon:
      break;
  }
  return next;
}

void NamesPlayer::judge(const Operation& operation, const Result<std::uint64_t>& result) {
  if (operation.kind == Kind::kCommon) return judge_common(operation, result);
  const Code want = expected(operation);
  const Code got = result.has_value() ? Code() : result.error().code();
  if (want != got) {
    failure_ = "player " + std::to_string(number_) + ", operation " +
               std::to_string(static_cast<int>(operation.kind)) + " of " + operation.name + ": " +
               (result.has_value() ? std::string("it was done, and should not")
                                   : result.error().to_string());
    return;
  }
  const bool finds = operation.kind == Kind::kLookup || operation.kind == Kind::kLink;
  if (finds && result.has_value() && model_.at(operation.name).first != *result) {
    failure_ = "player " + std::to_string(number_) + " finds another inode at " + operation.name;
    return;
  }
  model_ = after(operation, result.has_value() ? *result : 0);
}

void NamesPlayer::judge_common(const Operation& operation, const Result<std::uint64_t>& result) {
  CommonDirectory::Name& name = common_.names[operation.number];
  name.trying.erase(number_);
  common_.next = std::max(common_.next, operation.number + 1);
  const std::string what =
      "player " + std::to_string(number_) + ", common name " + std::to_string(operation.number);
  if (result.has_value()) {
    if (name.owner.has_value()) failure_ = what + " was created twice";
    name.owner = number_;
  } else if (result.error().code() != Code::kExists) {
    failure_ = what + ": " + result.error().to_string();
  } else if (!name.owner.has_value() && name.trying.empty() && !name.lost) {
    failure_ = what + " exists, but nobody created it: the request was executed twice";
  }
}

void NamesPlayer::killed() {
  playing_ = false;
  if (!pending_.has_value() || pending_->kind != Kind::kCommon) return;
  CommonDirectory::Name& name = common_.names[pending_->number];
  name.trying.erase(number_);
  name.lost = true;
}

Task<void> NamesPlayer::play(NamesPlayer* self, runtime::Runtime* runtime, client::FileSystem* fs,
                             const bool* ending) {
  self->playing_ = true;
  while (!*ending && self->failure_.empty()) {
    const Operation operation = self->draw();
    self->pending_ = operation;
    if (operation.kind == Kind::kCommon) {
      self->common_.names[operation.number].trying.insert(self->number_);
    }
    const Instant begun = runtime->now();
    Operation copy = operation;
    const Result<std::uint64_t> result = co_await self->perform(fs, std::move(copy));
    self->longest_ = std::max(self->longest_, runtime->now() - begun);
    ++self->operations_;
    self->judge(operation, result);
    self->pending_.reset();
    const Duration pause =
        std::chrono::milliseconds(static_cast<std::int64_t>(self->prng_.below(60)));
    co_await runtime::sleep_for(*runtime, pause);
  }
  self->playing_ = false;
}

bool NamesPlayer::equal(const Model& model, const Model& actual) {
  if (model.size() != actual.size()) return false;
  for (const auto& [name, node] : model) {
    const auto at = actual.find(name);
    if (at == actual.end() || at->second.second != node.second) return false;
    if (node.first != 0 && at->second.first != node.first) return false;
  }
  return true;
}

Task<void> NamesPlayer::verify(NamesPlayer* self, client::FileSystem* fs, bool* done) {
  Model actual;
  std::map<std::uint64_t, std::uint32_t> links;
  std::string last;
  for (bool end = false; !end;) {
    pb::ReadDir request;
    request.set_inode(self->directory_.raw());
    request.set_after(last);
    request.set_limit(kEntriesAtOnce);
    request.set_attributes(true);
    const Result<pb::ReadDirReply> part = co_await fs->read_dir(std::move(request));
    if (!part.has_value()) {
      self->failure_ = "read_dir: " + part.error().to_string();
      co_return;
    }
    for (const pb::ReadDirReply::Entry& entry : part->entries()) {
      actual[entry.name()] = {entry.inode(), entry.type() == pb::TYPE_DIRECTORY};
      if (entry.type() != pb::TYPE_DIRECTORY) links[entry.inode()] = entry.attributes().nlink();
      last = entry.name();
    }
    end = part->end() || part->entries().empty();
  }
  for (const auto& [name, node] : actual) {
    if (!node.second) --links[node.first];
  }
  for (const auto& [inode, rest] : links) {
    if (rest != 0) self->failure_ = "inode " + std::to_string(inode) + " has a wrong link count";
  }
  const bool happened =
      self->pending_.has_value() && equal(self->after(*self->pending_, 0), actual);
  if (!equal(self->model_, actual) && !happened) {
    self->failure_ = "the directory of player " + std::to_string(self->number_) +
                     " is not what its operations made of it";
  }
  self->model_ = std::move(actual);
  self->pending_.reset();
  *done = true;
}

}  // namespace cairn::sim
