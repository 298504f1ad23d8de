// Where a chain's reads come from: a decoder of some file, or an array. A source yields one detector row of all reads at
// a time, because a row of all reads is what stays in the cache (reference: bench results, block height).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "native/core/status.h"

namespace rampline {

// Reads rows for one thread. Rows are asked for in rising order within groups of RowSource::kGroup.
class RowReader {
 public:
  virtual ~RowReader() = default;
  // Writes the first `cols` values of row `row` of every read: read k starts at out + k * planeStride. Damage is looked for
  // in what is asked for; only with all RowSource::cols() is a row known to be whole.
  virtual Status Read(int64_t row, int64_t cols, uint16_t* out, int64_t planeStride) = 0;
};

class RowSource {
 public:
  static constexpr int64_t kGroup = 16;  // rows that one thread takes at a time

  virtual ~RowSource() = default;
  virtual int64_t planes() const = 0;
  virtual int64_t rows() const = 0;
  virtual int64_t cols() const = 0;
  virtual std::unique_ptr<RowReader> MakeReader() = 0;
  // FITS checksums of the stored images, summed on the way, after every row was read at least once. Empty where the
  // source has none or cannot tell.
  virtual std::vector<uint32_t> DataSums() const { return {}; }
};

}  // namespace rampline
