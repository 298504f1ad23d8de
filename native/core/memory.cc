#include "native/core/memory.h"

#include <sys/mman.h>

#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

namespace rampline {
namespace {

constexpr size_t kKept = 2;  // one cube for each of the exposures that a two-core node reduces at once

struct Kept {
  std::byte* data;
  size_t bytes;
};
std::mutex mutex;
std::vector<Kept>& List() {
  static std::vector<Kept>* list = new std::vector<Kept>;  // never destroyed: worker threads may outlive main's statics
  return *list;
}

std::byte* Map(size_t bytes) {
  // One huge page more than asked for, so that an aligned start can be cut out.
  const size_t raw = bytes + kHugePage;
  void* start = mmap(nullptr, raw, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (start == MAP_FAILED) return nullptr;
  const auto address = reinterpret_cast<uintptr_t>(start);
  const uintptr_t aligned = (address + kHugePage - 1) / kHugePage * kHugePage;
  if (aligned > address) munmap(start, aligned - address);
  const size_t tail = address + raw - (aligned + bytes);
  if (tail > 0) munmap(reinterpret_cast<void*>(aligned + bytes), tail);
  madvise(reinterpret_cast<void*>(aligned), bytes, MADV_HUGEPAGE);  // advice only: a refusal costs speed, not truth
  return reinterpret_cast<std::byte*>(aligned);
}

}  // namespace

void AdviseHuge(void* data, size_t bytes) {
  const auto address = reinterpret_cast<uintptr_t>(data);
  const uintptr_t first = (address + kHugePage - 1) / kHugePage * kHugePage;
  const uintptr_t last = (address + bytes) / kHugePage * kHugePage;
  if (last > first) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
}

LargeBuffer::~LargeBuffer() {
  if (data_ == nullptr) return;
  {
    const std::lock_guard lock(mutex);
    if (List().size() < kKept) {
      List().push_back({data_, bytes_});
      return;
    }
  }
  munmap(data_, bytes_);
}

LargeBuffer::LargeBuffer(LargeBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

LargeBuffer& LargeBuffer::operator=(LargeBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

LargeBuffer LargeBuffer::Take(size_t bytes) {
  const size_t rounded = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  LargeBuffer buffer;
  {
    const std::lock_guard lock(mutex);
    auto& list = List();
    // The smallest that fits, however large: what was touched of it is resident whether it is used or not.
    size_t best = list.size();
    for (size_t i = 0; i < list.size(); i++) {
      if (list[i].bytes >= rounded && (best == list.size() || list[i].bytes < list[best].bytes)) best = i;
    }
    const bool fits = best < list.size();
    // None: a smaller one makes room, so that there are never more than were in use at once.
    if (!fits && !list.empty()) best = 0;
    if (best < list.size()) {
      const Kept kept = list[best];
      list.erase(list.begin() + static_cast<std::ptrdiff_t>(best));
      if (fits) {
        buffer.data_ = kept.data;
        buffer.bytes_ = kept.bytes;
        return buffer;
      }
      munmap(kept.data, kept.bytes);
    }
  }
  if (rounded < bytes) return buffer;  // overflow
  buffer.data_ = Map(rounded);
  buffer.bytes_ = buffer.data_ == nullptr ? 0 : rounded;
  return buffer;
}

void LargeBuffer::ReleaseKept() {
  const std::lock_guard lock(mutex);
  for (const Kept& kept : List()) munmap(kept.data, kept.bytes);
  List().clear();
}

}  // namespace rampline
