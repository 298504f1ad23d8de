#include "native/core/guarded.h"

#include <sys/mman.h>
#include <unistd.h>

#include <limits>
#include <utility>

namespace rampline {

GuardedBuffer::GuardedBuffer(size_t bytes, bool atEnd) {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  if (bytes > std::numeric_limits<size_t>::max() - 3 * page) return;
  const size_t usable = (bytes + page - 1) / page * page;
  void* mapping = mmap(nullptr, usable + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) return;
  unsigned char* first = static_cast<unsigned char*>(mapping) + page;
  if (usable > 0 && mprotect(first, usable, PROT_READ | PROT_WRITE) != 0) {
    munmap(mapping, usable + 2 * page);
    return;
  }
  mapping_ = mapping;
  mapped_ = usable + 2 * page;
  data_ = atEnd ? first + (usable - bytes) : first;
  bytes_ = bytes;
}

GuardedBuffer::~GuardedBuffer() {
  if (mapping_ != nullptr) munmap(mapping_, mapped_);
}

GuardedBuffer::GuardedBuffer(GuardedBuffer&& other) noexcept
    : mapping_(std::exchange(other.mapping_, nullptr)),
      mapped_(std::exchange(other.mapped_, 0)),
      data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)) {}

GuardedBuffer& GuardedBuffer::operator=(GuardedBuffer&& other) noexcept {
  std::swap(mapping_, other.mapping_);
  std::swap(mapped_, other.mapped_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

}  // namespace rampline
