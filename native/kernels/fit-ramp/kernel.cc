// Generalised least squares on the differences of a ramp: README.md has the equations.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/fit-ramp/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cmath>

#include "generated/fit-ramp.h"
#include "native/core/ramp-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
using namespace ramp;                // NOLINT: short names for what this kernel is made of
using namespace rampline::fit_ramp;  // NOLINT: the generated ports and parameters

// d(1'T^-1 1)/dx, from the derivative of the sweep for 1 and any missing differences (p_k = 0):
//   p_k = 1 / (x + 2 - p_{k-1}),  z_k = 1 + p_{k-1} z_{k-1},  1'T^-1 1 = sum p_k z_k^2
HWY_NOINLINE VF Slope(DF d, Planes in, int64_t planes, VF x) {
  const VF zero = hn::Zero(d), one = hn::Set(d, 1.0f), a = hn::Add(x, hn::Set(d, 2.0f));
  VF p = zero, z = zero, dp = zero, dz = zero, slope = zero;
  const float* plane = in.data;
  for (int64_t k = 0; k < planes; k++, plane += in.stride) {
    const VF v = hn::LoadU(d, plane);
    const VF pn = hn::IfThenElseZero(hn::Eq(v, v), Reciprocal(d, hn::Sub(a, p)));
    dz = hn::MulAdd(dp, z, hn::Mul(p, dz));  // p' = -p^2 (1 - p'_{k-1}),  z' = (p z)'_{k-1}
    dp = hn::Mul(hn::Mul(pn, pn), hn::Sub(dp, one));
    z = hn::MulAdd(p, z, one);
    p = pn;
    slope = hn::MulAdd(hn::MulAdd(dp, z, hn::Mul(hn::Add(p, p), dz)), z, slope);
  }
  return slope;
}

// Brandt 2024's bias of the rate when the photon noise comes from the plain mean of the same differences. For single
// reads it has a closed form (README.md): (sum of w^2 - 1/n) / gain, times the probability that the mean is positive.
// Pixel by pixel: it runs only when somebody asks for one iteration from a plain mean.
VF Bias(DF d, const Noise& noise, VF x, VF rate, VF ones, VF slope, VF good) {
  HWY_ALIGN float g[kLanes], v[kLanes], xs[kLanes], r[kLanes], c[kLanes], s[kLanes], n[kLanes], bias[kLanes];
  hn::Store(noise.gain, d, g);
  hn::Store(noise.variance, d, v);
  hn::Store(x, d, xs);
  hn::Store(rate, d, r);
  hn::Store(ones, d, c);
  hn::Store(slope, d, s);
  hn::Store(good, d, n);
  for (int i = 0; i < kLanes; i++) {
    const float squares = -s[i] / (c[i] * c[i]);                      // w = T^-1 1 / c and d(1'T^-1 1)/dx = -|T^-1 1|^2
    const float sigma = std::sqrt(v[i] * (2 + n[i] * xs[i])) / n[i];  // of the mean
    const float positive = 0.5f * (1 + std::erf(r[i] / sigma * 0.70710678f));
    bias[i] = n[i] > 1 ? (squares - 1 / n[i]) / g[i] * positive : 0.0f;
  }
  return hn::Load(d, bias);
}

template <int G>
void FitPixels(DF d, const Params& params, const Outputs& out, const KernelCall& call, Planes in, int64_t planes,
               int64_t row, int64_t x, int count, Ahead& ahead) {
  const View<const float> gain = call.ports[kGain].view<const float>();
  const View<const float> variance = call.ports[kReadVariance].view<const float>();
  const View<const float> first = call.ports[kStart].view<const float>();
  VF start[G], photons[G];
  Noise noise[G];
  for (int g = 0; g < G; g++) {
    const int64_t at = x + g * kLanes;
    start[g] = LoadPart(d, first.at(0, row) + at, count);
    noise[g] = Noise(d, LoadPart(d, gain.at(0, row) + at, count), LoadPart(d, variance.at(0, row) + at, count));
  }
  Sums sums[G];
  const VF tiny = hn::Set(d, kTiny);
  for (int i = 1; i < params.iterations; i++) {
    for (int g = 0; g < G; g++) photons[g] = noise[g].Photons(d, start[g]);
    FitSums<false, G>(d, in, planes, photons, start, ahead, sums);
    for (int g = 0; g < G; g++) {
      start[g] = hn::MulAdd(sums[g].cross, Reciprocal(d, hn::Max(sums[g].ones, tiny)), start[g]);
    }
  }
  for (int g = 0; g < G; g++) photons[g] = noise[g].Photons(d, start[g]);
  const bool debias = params.debias != 0 && params.iterations == 1;
  FitSums<true, G>(d, in, planes, photons, start, ahead, sums);
  for (int g = 0; g < G; g++) {
    const VF perOnes = Reciprocal(d, hn::Max(sums[g].ones, tiny));
    const VF change = hn::Mul(sums[g].cross, perOnes);
    VF rate = hn::Add(start[g], change);
    // over the variance
    const VF chi2 =
        hn::Mul(hn::NegMulAdd(sums[g].cross, change, sums[g].square), hn::Mul(noise[g].gain, noise[g].inverse));
    if (debias) {
      const VF slope = Slope(d, {in.data + g * kLanes, in.stride}, planes, photons[g]);
      rate = hn::Sub(rate, Bias(d, noise[g], photons[g], rate, sums[g].ones, slope, sums[g].good));
    }
    const VF varianceOfRate = hn::Mul(noise[g].variance, perOnes);
    StoreFit(d, out, row, x + g * kLanes, count, noise[g], rate, varianceOfRate, chi2, sums[g].good, true);
  }
}

Status FitRamp(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto diffs = call.ports[kDiffs].view<const float>();
  const Outputs out = {call.ports[kRate].view<float>(),
                       call.ports[kError].view<float>(),
                       call.ports[kChi2].view<float>(),
                       call.ports[kGoodDiffs].view<uint16_t>(),
                       call.ports[kDq].view<uint32_t>(),
                       call.ports[kJumps].view<const uint16_t>(),
                       call.ports[kLastGood].view<const uint16_t>(),
                       diffs.planes + 1,
                       params.maxReducedChi2,
                       params.unit == kElectronPerSecond,
                       params.readTimeSeconds};
  Ahead none;
  Ahead ahead = call.ahead != nullptr ? *call.ahead : none;  // a copy stays in registers
  ForPixels<kPair>(diffs.rows, diffs.cols, [&](int64_t row, int64_t x, int count, auto groups) HWY_ATTR {
    const Planes in = PlanesOf(diffs, row, x, count, call.scratch.data);
    FitPixels<decltype(groups)::value>(DF(), params, out, call, in, diffs.planes, row, x, count, ahead);
  });
  if (call.ahead != nullptr) *call.ahead = ahead;
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::fit_ramp {
namespace {
HWY_EXPORT(FitRamp);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(FitRamp)(call); }
}  // namespace rampline::fit_ramp
#endif
