// Copies that do not come through the cache: for a cube that will be read only after all of it was written.
#pragma once

#include <cstddef>

namespace rampline {

// Copies `lines` pieces of `bytes` each. Pointers, strides (in bytes) and bytes are multiples of 64.
void StreamCopy(const std::byte* from, size_t fromStride, std::byte* to, size_t toStride, size_t bytes, size_t lines);

}  // namespace rampline
