// Memory whose first and last byte lie next to pages that nobody may touch, so that a kernel or a decoder that reads or
// writes past its buffer stops at once. For tests and fuzzers; nothing in production allocates here.
#pragma once

#include <cstddef>

namespace rampline {

// `bytes` of zeroed memory between two PROT_NONE pages. The side that is flush with its page is chosen by atEnd: true
// puts the last byte right before the upper page, false puts the first byte right after the lower one; the other side
// has less than a page of slack. Of 0 bytes the address is that of the guard page itself. data() is null when the
// system refused the mapping.
class GuardedBuffer {
 public:
  GuardedBuffer(size_t bytes, bool atEnd);
  ~GuardedBuffer();
  GuardedBuffer(GuardedBuffer&& other) noexcept;
  GuardedBuffer& operator=(GuardedBuffer&& other) noexcept;
  GuardedBuffer(const GuardedBuffer&) = delete;
  GuardedBuffer& operator=(const GuardedBuffer&) = delete;

  unsigned char* data() const { return data_; }
  size_t size() const { return bytes_; }

 private:
  void* mapping_ = nullptr;
  size_t mapped_ = 0;
  unsigned char* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace rampline
