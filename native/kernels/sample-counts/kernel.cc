#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/sample-counts/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "generated/sample-counts.h"
#include "native/core/ramp-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
using namespace ramp;                     // NOLINT: short names for what this kernel is made of
using namespace rampline::sample_counts;  // NOLINT: the generated ports

Status SampleCounts(const KernelCall& call) {
  const DF d;
  const auto counts = call.ports[kCounts].view<const float>();
  const auto c2 = call.ports[kC2].view<const float>(), c3 = call.ports[kC3].view<const float>();
  const auto samples = call.ports[kSamples].view<float>();
  ForPixels<1>(counts.rows, counts.cols, [&](int64_t row, int64_t x, int count, auto) HWY_ATTR {
    const VF a2 = c2.data == nullptr ? hn::Zero(d) : LoadPart(d, c2.at(0, row) + x, count);
    const VF a3 = c3.data == nullptr ? hn::Zero(d) : LoadPart(d, c3.at(0, row) + x, count);
    const auto linear = [&](int64_t k) HWY_ATTR {
      const VF v = LoadPart(d, counts.at(k, row) + x, count);
      return hn::MulAdd(hn::Mul(v, v), hn::MulAdd(a3, v, a2), v);
    };
    const VF first = linear(0);
    for (int64_t i = 0; i < samples.planes; i++) {
      const VF sample = hn::Sub(linear((counts.planes - 1) * (i + 1) / samples.planes), first);
      StorePart(d, sample, samples.at(i, row) + x, count);
    }
  });
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::sample_counts {
namespace {
HWY_EXPORT(SampleCounts);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(SampleCounts)(call); }
}  // namespace rampline::sample_counts
#endif
