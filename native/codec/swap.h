// Big-endian file elements to native ones and back, at the speed of memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "native/core/status.h"

namespace rampline {

// Copies `count` elements of `width` bytes (1, 2, 4 or 8) with their bytes reversed. flipSign inverts the top bit of each,
// which is what BZERO = 2^(8 width - 1) (or -128 for bytes) does to the unsigned (or int8) conventions of FITS 4.0, table
// 11, exactly. `in` may equal `out`; otherwise they must not overlap.
//
// kUsage when a width is none of these; kInput when `in` is too short, kUsage when `out` is.
Status SwapElements(const uint8_t* in, size_t inBytes, size_t count, int width, bool flipSign, uint8_t* out,
                    size_t outBytes);

// The way back: native elements to big-endian ones, with the same convention.
Status StoreBigEndian(const uint8_t* in, size_t inBytes, size_t count, int width, bool flipSign, uint8_t* out,
                      size_t outBytes);

// SwapElements from strided rows: element j of row i lies at in[i * stride + offset + j * width]. Used for table columns.
Status GatherElements(const uint8_t* in, size_t inBytes, size_t rows, size_t stride, size_t offset, size_t repeat,
                      int width, bool flipSign, uint8_t* out, size_t outBytes);

}  // namespace rampline
