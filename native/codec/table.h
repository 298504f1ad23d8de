// Binary table columns (FITS 4.0, section 7.3): fixed-width ones by GatherElements (swap.h), variable-length ones here.
#pragma once

#include <cstddef>
#include <cstdint>

#include "native/core/status.h"

namespace rampline {

// One array descriptor: how many elements, and where in the heap.
struct Descriptor {
  int64_t count = 0, offset = 0;
};

// Reads the descriptor at `at` (P: two int32; Q, wide: two int64) and checks that its elements lie within heapBytes.
// elementBits is 1 for bit arrays, else 8 x width.
Status ReadDescriptor(const uint8_t* at, bool wide, int elementBits, int64_t heapBytes, Descriptor* out);

// Where a column of descriptors lies and what it points at.
struct HeapColumn {
  const uint8_t* data = nullptr;  // the HDU's data, rows first
  size_t bytes = 0;
  size_t rows = 0, stride = 0, offset = 0;  // bytes
  bool wide = false;
  int64_t heapOffset = 0;  // from `data`; THEAP
  int elementBits = 8;
};

// Writes rows + 1 prefix sums: element offsets[i] is the first of row i in the gathered array. Bit arrays count whole
// bytes. kInput when a descriptor is negative or reaches outside the heap, or when all of them together claim more
// bytes than the heap holds (so that no small file asks for a large array).
Status MeasureHeapColumn(const HeapColumn& column, int64_t* offsets, size_t capacity);

// Copies the arrays one after another, big-endian to native. `width` is that of what is swapped: half of elementBits / 8
// for complex numbers. offsets are those that MeasureHeapColumn wrote; each is checked again.
Status GatherHeapColumn(const HeapColumn& column, const int64_t* offsets, int width, bool flipSign, uint8_t* out,
                        size_t outBytes);

// Bits, first the most significant of each byte, as one byte of 0 or 1 each. `repeat` bits in every row of `stride` bytes.
Status UnpackBits(const uint8_t* in, size_t inBytes, size_t rows, size_t stride, size_t offset, size_t repeat,
                  uint8_t* out, size_t outBytes);

}  // namespace rampline
