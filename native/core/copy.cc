#include "native/core/copy.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/core/copy.cc"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void StreamCopyTarget(const std::byte* from, size_t fromStride, std::byte* to, size_t toStride, size_t bytes,
                      size_t lines) {
  const hn::ScalableTag<uint8_t> d;
  const auto* in = reinterpret_cast<const uint8_t*>(from);
  auto* out = reinterpret_cast<uint8_t*>(to);
  for (; lines > 0; lines--, in += fromStride, out += toStride) {
    for (size_t i = 0; i < bytes; i += hn::Lanes(d)) hn::Stream(hn::Load(d, in + i), d, out + i);
  }
  hwy::FlushStream();
}

}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline {
HWY_EXPORT(StreamCopyTarget);
void StreamCopy(const std::byte* from, size_t fromStride, std::byte* to, size_t toStride, size_t bytes, size_t lines) {
  HWY_DYNAMIC_DISPATCH(StreamCopyTarget)(from, fromStride, to, toStride, bytes, lines);
}
}  // namespace rampline
#endif
