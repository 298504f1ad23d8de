// A ramp file as a source of rows: every read is an image HDU, either plain (unsigned 16-bit by the BZERO convention) or
// tile-compressed with Rice, one tile a row; and the reads either stand as they are or as the APOGEE "apz" differences:
//
//   image 0  average difference A (int32)     image 1  first read R1 (uint16)     image k+1  residual r_k (int32)
//   R_{k+1} = R_k + A + r_k
//
// The file is read with pread in groups of rows, so that the compressed bytes are in the cache when they are decoded, a
// file that shrinks while it is read is an error and not a crash, and memory does not grow with the file.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "native/core/source.h"

namespace rampline {

// Where one image lies in the file. Offsets are bytes from the start of the file.
struct RampImage {
  int32_t hdu = -1;  // for messages
  bool compressed = false;
  int64_t dataOffset = 0;       // plain: the pixels; compressed: the table of tile descriptors
  int64_t dataBytes = 0;        // of the whole data unit, gap and heap included
  int64_t tableRowBytes = 0;    // compressed: bytes of a table row
  int64_t descriptor = 0;       // compressed: offset in a table row of the (count, offset) pair
  bool wideDescriptor = false;  // 64-bit pairs ("Q") instead of 32-bit ones ("P")
  int64_t heapOffset = 0;       // compressed: of the heap, from the start of the data unit
  int bytesPerPixel = 0;        // compressed: of the Rice coder, 2 or 4
  int blockSize = 32;
};

struct RampLayout {
  int fd = -1;  // stays open as long as the source lives; the source does not close it
  int64_t fileBytes = 0;
  int64_t rows = 0, cols = 0;
  bool differences = false;
  std::vector<RampImage> images;
};

// Checks the layout, reads the tile descriptors, and checks that every tile lies in its heap.
Status OpenRamp(const RampLayout& layout, std::shared_ptr<RowSource>* source);

}  // namespace rampline
