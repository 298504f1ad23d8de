// Last read less first read, over the number of differences between them.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/dcs/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "generated/dcs.h"
#include "native/core/ramp-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
using namespace ramp;           // NOLINT: short names for what this kernel is made of
using namespace rampline::dcs;  // NOLINT: the generated ports and parameters

Status Dcs(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto diffs = call.ports[kDiffs].view<const float>();
  const auto gain = call.ports[kGain].view<const float>();
  const auto variance = call.ports[kReadVariance].view<const float>();
  const Outputs out = {call.ports[kRate].view<float>(),
                       call.ports[kError].view<float>(),
                       call.ports[kChi2].view<float>(),
                       call.ports[kGoodDiffs].view<uint16_t>(),
                       call.ports[kDq].view<uint32_t>(),
                       call.ports[kJumps].view<const uint16_t>(),
                       call.ports[kLastGood].view<const uint16_t>(),
                       diffs.planes + 1,
                       0,
                       params.unit == kElectronPerSecond,
                       params.readTimeSeconds};
  const DF d;
  const VF zero = hn::Zero(d), one = hn::Set(d, 1.0f);
  Ahead none;
  Ahead ahead = call.ahead != nullptr ? *call.ahead : none;  // a copy stays in registers
  ForPixels(diffs.rows, diffs.cols, [&](int64_t row, int64_t x, int count, auto groups) HWY_ATTR {
    constexpr int G = decltype(groups)::value;
    const Planes in = PlanesOf(diffs, row, x, count, call.scratch.data);
    VF sum[G], good[G], runs[G], before[G];
    for (int g = 0; g < G; g++) sum[g] = good[g] = runs[g] = before[g] = zero;
    const float* plane = in.data;
    for (int64_t k = 0; k < diffs.planes; k++, plane += in.stride) {
      ahead.Step();
#pragma GCC unroll 4
      for (int g = 0; g < G; g++) {
        const VF v = hn::LoadU(d, plane + g * kLanes);
        const auto ok = hn::Eq(v, v);
        const VF use = hn::IfThenElseZero(ok, one);
        sum[g] = hn::Add(sum[g], hn::IfThenElseZero(ok, v));
        good[g] = hn::Add(good[g], use);
        runs[g] = hn::Add(runs[g], hn::Max(hn::Sub(use, before[g]), zero));  // a good difference after none
        before[g] = use;
      }
    }
    for (int g = 0; g < G; g++) {
      const int64_t at = x + g * kLanes;
      const Noise noise(d, LoadPart(d, gain.at(0, row) + at, count), LoadPart(d, variance.at(0, row) + at, count));
      const VF n = hn::Max(good[g], one);
      const VF reads = hn::Mul(hn::Add(runs[g], runs[g]), noise.variance);  // each run has its own first and last read
      const VF photons = hn::Div(hn::Max(sum[g], zero), noise.gain);
      const VF varianceOfRate = hn::Div(hn::Add(reads, photons), hn::Mul(n, n));
      StoreFit(d, out, row, at, count, noise, hn::Div(sum[g], n), varianceOfRate, zero, good[g], false);
    }
  });
  if (call.ahead != nullptr) *call.ahead = ahead;
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::dcs {
namespace {
HWY_EXPORT(Dcs);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(Dcs)(call); }
}  // namespace rampline::dcs
#endif
