// Physical values from stored ones: value = stored * scale + zero (FITS 4.0, section 4.4.2.5), in double precision.
#pragma once

#include <cstddef>
#include <cstdint>

#include "native/core/status.h"

namespace rampline {

// `in` holds `count` native-endian elements of FITS type `bitpix` (8 unsigned, 16, 32, 64, -32, -64); `out` receives
// float32, or float64 when wide. Integers equal to `blank` become NaN when hasBlank. Errors as SwapElements.
Status ScaleElements(const uint8_t* in, size_t inBytes, size_t count, int bitpix, double scale, double zero,
                     bool hasBlank, int64_t blank, bool wide, uint8_t* out, size_t outBytes);

}  // namespace rampline
