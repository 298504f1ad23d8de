#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/count-common-flags/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "generated/count-common-flags.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

HWY_INLINE void CountOne(uint32_t bits, int32_t* out) {
  for (; bits != 0; bits &= bits - 1) out[__builtin_ctz(bits)]++;
}

Status CountCommonFlags(const KernelCall& call) {
  using namespace rampline::count_common_flags;  // NOLINT: the generated ports
  const auto a = call.ports[kA].view<const uint32_t>(), b = call.ports[kB].view<const uint32_t>();
  const auto counts = call.ports[kCounts].view<int32_t>();
  const hn::ScalableTag<uint32_t> d;
  const auto n = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t row = 0; row < a.rows; row++) {
    const uint32_t *u = a.at(0, row), *v = b.at(0, row);
    int32_t* out = counts.at(0, row);
    for (int bit = 0; bit < 32; bit++) out[bit] = 0;
    int64_t x = 0;
    for (; x + n <= a.cols; x += n) {
      // Most pixels have no bit at all.
      const auto both = hn::And(hn::LoadU(d, u + x), hn::LoadU(d, v + x));
      if (hn::AllTrue(d, hn::Eq(both, hn::Zero(d)))) continue;
      for (int64_t i = x; i < x + n; i++) CountOne(u[i] & v[i], out);
    }
    for (; x < a.cols; x++) CountOne(u[x] & v[x], out);
  }
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::count_common_flags {
namespace {
HWY_EXPORT(CountCommonFlags);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(CountCommonFlags)(call); }
}  // namespace rampline::count_common_flags
#endif
