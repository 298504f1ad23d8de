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
  Sums<G> sums;
  const VF tiny = hn::Set(d, kTiny);
  for (int i = 1; i < params.iterations; i++) {
    for (int g = 0; g < G; g++) photons[g] = noise[g].Photons(d, start[g]);
    FitSweep<Sweep::kFit, G>(d, in, planes, photons, start, ahead, sums);
    for (int g = 0; g < G; g++) {
      start[g] = hn::MulAdd(sums.cross[g], Reciprocal(d, hn::Max(sums.ones[g], tiny)), start[g]);
    }
  }
  for (int g = 0; g < G; g++) photons[g] = noise[g].Photons(d, start[g]);
  const bool debias = params.debias != 0 && params.iterations == 1;
  if (debias) {
    FitSweep<Sweep::kSlope, G>(d, in, planes, photons, start, ahead, sums);
  } else {
    FitSweep<Sweep::kLast, G>(d, in, planes, photons, start, ahead, sums);
  }
  for (int g = 0; g < G; g++) {
    const VF perOnes = Reciprocal(d, hn::Max(sums.ones[g], tiny));
    const VF change = hn::Mul(sums.cross[g], perOnes);
    VF rate = hn::Add(start[g], change);
    // over the variance
    const VF chi2 =
        hn::Mul(hn::NegMulAdd(sums.cross[g], change, sums.square[g]), hn::Mul(noise[g].gain, noise[g].inverse));
    if (debias) rate = hn::Sub(rate, Bias(d, noise[g], photons[g], rate, sums.ones[g], sums.slope[g], sums.good[g]));
    const VF varianceOfRate = hn::Mul(noise[g].variance, perOnes);
    StoreFit(d, out, row, x + g * kLanes, count, noise[g], rate, varianceOfRate, chi2, sums.good[g], true);
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
  ForPixels(diffs.rows, diffs.cols, [&](int64_t row, int64_t x, int count, auto groups) HWY_ATTR {
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
