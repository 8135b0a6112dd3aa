#include "common/rpc/stream_batch.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "common/rpc/stream.h"

namespace cairn::rpc {
namespace {

using Message = std::shared_ptr<const std::string>;

constexpr std::uint8_t kMessageTag = 0x0a;  // field 1, length-delimited
constexpr std::uint8_t kPartTag = 0x12;     // field 2
constexpr std::size_t kCopyMax = 4096;      // below, a copy is cheaper than a slice of its own

void put_head(std::string& to, std::uint8_t tag, std::size_t size) {
  to.push_back(static_cast<char>(tag));
  for (; size >= 0x80; size >>= 7) to.push_back(static_cast<char>(size | 0x80));
  to.push_back(static_cast<char>(size));
}

void forget(void* shared) { delete static_cast<Message*>(shared); }

grpc::Slice share(const BatchItem& item) {
  // gRPC does not write to it.
  return grpc::Slice(const_cast<char*>(item.message->data()) + item.offset, item.size, forget,
                     new Message(item.message));
}

// Reads across the slices that gRPC received.
class Cursor {
 public:
  explicit Cursor(const std::vector<grpc::Slice>& slices) : slices_(slices) { skip_empty(); }
  bool at_end() const { return slice_ == slices_.size(); }
  std::size_t left() const {
    std::size_t sum = 0;
    for (std::size_t i = slice_; i < slices_.size(); ++i) sum += slices_[i].size();
    return sum - offset_;
  }
  // Not at the end.
  std::uint8_t next() {
    const std::uint8_t byte = slices_[slice_].begin()[offset_++];
    skip_empty();
    return byte;
  }
  // As many are left.
  void append_to(std::string& to, std::size_t size) {
    while (size > 0) {
      const std::size_t n = std::min(size, slices_[slice_].size() - offset_);
      to.append(reinterpret_cast<const char*>(slices_[slice_].begin()) + offset_, n);
      size -= n;
      offset_ += n;
      skip_empty();
    }
  }

 private:
  void skip_empty() {
    while (slice_ < slices_.size() && offset_ == slices_[slice_].size()) {
      ++slice_;
      offset_ = 0;
    }
  }
  const std::vector<grpc::Slice>& slices_;
  std::size_t slice_ = 0;
  std::size_t offset_ = 0;
};

bool read_head(Cursor& cursor, std::uint8_t& tag, std::size_t& size) {
  tag = cursor.next();
  if (tag != kMessageTag && tag != kPartTag) return false;
  size = 0;
  for (unsigned shift = 0; shift < 35 && !cursor.at_end(); shift += 7) {
    const std::uint8_t byte = cursor.next();
    size |= std::size_t{byte & 0x7fU} << shift;
    if ((byte & 0x80) == 0) return true;
  }
  return false;
}

}  // namespace

grpc::ByteBuffer pack_batch(const std::vector<BatchItem>& items) {
  std::vector<grpc::Slice> slices;
  std::string copied;
  for (const BatchItem& item : items) {
    put_head(copied, item.is_part() ? kPartTag : kMessageTag, item.size);
    if (item.size <= kCopyMax) {
      copied.append(*item.message, item.offset, item.size);
      continue;
    }
    slices.emplace_back(copied);
    copied.clear();
    slices.push_back(share(item));
  }
  if (!copied.empty()) slices.emplace_back(copied);
  return grpc::ByteBuffer(slices.data(), slices.size());
}

Result<std::vector<std::string>> BatchReader::read(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  if (!buffer.Dump(&slices).ok()) return fail(Code::kProtocol, "unreadable message of a stream");
  Cursor cursor(slices);
  std::vector<std::string> messages;
  while (!cursor.at_end()) {
    std::uint8_t tag = 0;
    std::size_t size = 0;
    if (!read_head(cursor, tag, size) || size > cursor.left()) {
      return fail(Code::kProtocol, "undecodable message of a stream");
    }
    if (begun_.size() + size > kStreamMessageBytesMax) {
      return fail(Code::kProtocol, "a message too large for a stream");
    }
    cursor.append_to(begun_, size);
    if (tag == kMessageTag) messages.push_back(std::exchange(begun_, {}));
  }
  return messages;
}

}  // namespace cairn::rpc
