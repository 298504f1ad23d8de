// Columns of binary tables: fixed-width, bits, and variable-length ones with hostile descriptors.
#include <memory>

#include "native/codec/scale.h"
#include "native/codec/swap.h"
#include "native/codec/table.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* in, size_t size) {
  using namespace rampline;
  constexpr size_t kParameters = 10;
  if (size < kParameters) return 0;
  static constexpr int kWidths[] = {1, 2, 4, 8, 3};
  static constexpr int kBitpix[] = {8, 16, 32, 64, -32, -64};
  const size_t bytes = size - kParameters;
  const std::unique_ptr<uint8_t[]> data(new uint8_t[bytes]);
  for (size_t i = 0; i < bytes; ++i) data[i] = in[kParameters + i];
  const size_t rows = in[0], stride = in[1], offset = in[2], repeat = in[3];
  const int width = kWidths[in[4] % 5];
  const bool flip = in[5] & 1;

  // Claims that the data cannot hold are refused before there is memory for them, as the reader's are.
  if (rows * repeat <= bytes * 8) {
    const size_t out = rows * repeat * static_cast<size_t>(width);
    const std::unique_ptr<uint8_t[]> values(new uint8_t[out]);
    (void)GatherElements(data.get(), bytes, rows, stride, offset, repeat, width, flip, values.get(), out).ok();
    (void)UnpackBits(data.get(), bytes, rows, stride, offset, repeat, values.get(), rows * repeat).ok();
    const int bitpix = kBitpix[in[6] % 6];
    const size_t wide = in[5] & 2 ? 8 : 4;
    const std::unique_ptr<uint8_t[]> scaled(new uint8_t[repeat * wide]);
    (void)ScaleElements(data.get(), bytes, repeat, bitpix, in[7] * 0.5, in[8] - 128.0, in[5] & 4, in[9], wide == 8,
                        scaled.get(), repeat * wide)
        .ok();
  }

  HeapColumn column;
  column.data = data.get();
  column.bytes = bytes;
  column.rows = rows;
  column.stride = stride;
  column.offset = offset;
  column.wide = in[5] & 8;
  column.heapOffset = in[7] | (in[8] & 3) << 8;
  column.elementBits = in[5] & 16 ? 1 : kWidths[in[4] % 4] * 8 * (in[5] & 32 ? 2 : 1);
  const std::unique_ptr<int64_t[]> offsets(new int64_t[rows + 1]);
  if (!MeasureHeapColumn(column, offsets.get(), rows + 1).ok()) return 0;
  const size_t elementBytes = column.elementBits < 8 ? 1 : static_cast<size_t>(column.elementBits) / 8;
  const size_t total = static_cast<size_t>(offsets[rows]) * elementBytes;
  const std::unique_ptr<uint8_t[]> values(new uint8_t[total]);
  (void)GatherHeapColumn(column, offsets.get(), column.elementBits == 1 ? 1 : kWidths[in[4] % 4], flip, values.get(),
                         total)
      .ok();
  return 0;
}
