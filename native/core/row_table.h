// The state of a global kernel that keeps a few integers for each row and read: rows are gathered by whichever thread
// meets them, and merging copies those that the other thread has seen, so the result is the same for any cutting.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace rampline {

class RowTable {
 public:
  static size_t Bytes(int64_t planes, int64_t rows, int64_t width) {
    return sizeof(Header) + static_cast<size_t>(rows * planes * width) * sizeof(int32_t) + static_cast<size_t>(rows);
  }

  // Takes the memory over; every row counts as not seen.
  static RowTable Begin(void* memory, int64_t planes, int64_t rows, int64_t width) {
    std::memset(memory, 0, Bytes(planes, rows, width));
    *static_cast<Header*>(memory) = {planes, rows, width};
    return RowTable(memory);
  }

  explicit RowTable(void* memory)
      : header_(static_cast<Header*>(memory)),
        values_(reinterpret_cast<int32_t*>(header_ + 1)),
        seen_(reinterpret_cast<uint8_t*>(values_ + header_->rows * header_->planes * header_->width)) {}

  int64_t rows() const { return header_->rows; }
  int64_t planes() const { return header_->planes; }
  int32_t* At(int64_t plane, int64_t row) const { return values_ + (row * header_->planes + plane) * header_->width; }
  void MarkSeen(int64_t row) const { seen_[row] = 1; }
  // The first row that was not gathered, -1 if all were.
  int64_t FirstUnseen() const {
    for (int64_t row = 0; row < header_->rows; row++) {
      if (seen_[row] == 0) return row;
    }
    return -1;
  }
  void MergeFrom(const RowTable& other) const {
    const size_t bytes = static_cast<size_t>(header_->planes * header_->width) * sizeof(int32_t);
    for (int64_t row = 0; row < header_->rows; row++) {
      if (other.seen_[row] == 0) continue;
      seen_[row] = 1;
      std::memcpy(At(0, row), other.At(0, row), bytes);
    }
  }

 private:
  struct Header {
    int64_t planes, rows, width;
  };
  Header* header_;
  int32_t* values_;
  uint8_t* seen_;
};

}  // namespace rampline
