// Copies that do not come through the cache: for a cube that will be read only after all of it was written.
#pragma once

#include <cstddef>

namespace rampline {

// Both pointers 64-byte aligned, bytes a multiple of 64.
void StreamCopy(const std::byte* from, std::byte* to, size_t bytes);

}  // namespace rampline
