// Reads that are already in memory, as a source of rows.
#pragma once

#include <cstring>
#include <memory>

#include "native/core/array.h"
#include "native/core/source.h"

namespace rampline {

class ArraySource final : public RowSource {
 public:
  explicit ArraySource(const View<const uint16_t>& reads) : reads_(reads) {}

  int64_t planes() const override { return reads_.planes; }
  int64_t rows() const override { return reads_.rows; }
  int64_t cols() const override { return reads_.cols; }
  std::unique_ptr<RowReader> MakeReader() override { return std::make_unique<Reader>(reads_); }

 private:
  class Reader final : public RowReader {
   public:
    explicit Reader(const View<const uint16_t>& reads) : reads_(reads) {}
    Status Read(int64_t row, int64_t cols, uint16_t* out, int64_t planeStride) override {
      for (int64_t k = 0; k < reads_.planes; k++) {
        std::memcpy(out + k * planeStride, reads_.at(k, row), static_cast<size_t>(cols) * sizeof(uint16_t));
      }
      return Ok();
    }

   private:
    View<const uint16_t> reads_;
  };

  View<const uint16_t> reads_;
};

}  // namespace rampline
