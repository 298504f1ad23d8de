#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/count-flags/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "generated/count-flags.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

HWY_INLINE void CountOne(uint32_t bits, int32_t* out) {
  for (; bits != 0; bits &= bits - 1) out[__builtin_ctz(bits)]++;
}

Status CountFlags(const KernelCall& call) {
  using namespace rampline::count_flags;  // NOLINT: the generated ports
  const auto mask = call.ports[kMask].view<const uint32_t>();
  const auto counts = call.ports[kCounts].view<int32_t>();
  const hn::ScalableTag<uint32_t> d;
  const auto n = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t row = 0; row < mask.rows; row++) {
    const uint32_t* in = mask.at(0, row);
    int32_t* out = counts.at(0, row);
    for (int bit = 0; bit < 32; bit++) out[bit] = 0;
    int64_t x = 0;
    for (; x + n <= mask.cols; x += n) {
      const auto flags = hn::LoadU(d, in + x);
      if (hn::AllTrue(d, hn::Eq(flags, hn::Zero(d)))) continue;
      // Few different bits are set in neighbours: each is counted in all lanes at once.
      uint32_t any = 0;
      for (int64_t i = x; i < x + n; i++) any |= in[i];
      for (; any != 0; any &= any - 1) {
        const int bit = __builtin_ctz(any);
        out[bit] += static_cast<int32_t>(hn::CountTrue(d, hn::TestBit(flags, hn::Set(d, uint32_t{1} << bit))));
      }
    }
    for (; x < mask.cols; x++) CountOne(in[x], out);
  }
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::count_flags {
namespace {
HWY_EXPORT(CountFlags);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(CountFlags)(call); }
}  // namespace rampline::count_flags
#endif
