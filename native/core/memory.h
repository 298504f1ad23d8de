// Large buffers: 2 MiB aligned so that the kernel may back them with huge pages, and kept for the next exposure, because
// the first touch of a fresh 500 MB costs as much as the reduction itself.
#pragma once

#include <cstddef>
#include <memory>

namespace rampline {

constexpr size_t kHugePage = size_t{1} << 21;

// Asks the system to back the whole huge pages within a piece of memory with such. Advice only.
void AdviseHuge(void* data, size_t bytes);

class LargeBuffer {
 public:
  LargeBuffer() = default;
  ~LargeBuffer();
  LargeBuffer(LargeBuffer&& other) noexcept;
  LargeBuffer& operator=(LargeBuffer&& other) noexcept;
  LargeBuffer(const LargeBuffer&) = delete;
  LargeBuffer& operator=(const LargeBuffer&) = delete;

  // Takes a buffer of at least `bytes`, a kept one where one fits; data() is null when there is no memory.
  static LargeBuffer Take(size_t bytes);
  // Gives all kept buffers back to the system.
  static void ReleaseKept();

  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace rampline
