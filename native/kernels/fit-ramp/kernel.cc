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

// The rates of G registers of whole ramps with an even number of differences, with half the work: T is the same read
// from either end, so of the differences only the sums S_k = d_k + d_{n+1-k}, k = 1 .. h = n/2, count. They see the upper
// half of T with 1 taken from its last element, which with the sweep of ramp-inl.h over S gives
//
//   rate = (sum b_k f_k + w (b_{h+1} f_h - (1 + r^h) s)) / 2 (sum b_k^2 + w b_h b_{h+1}^2 (1 - r) / (1 + r))
//   w = r b_h / (1 + r^m),  s = sum r^k f_k = sum f_k - (1 - r) sum b_k f_k
template <int G>
HWY_INLINE void HalfRates(DF d, Planes in, int64_t planes, const VF* x, Ahead& ahead, VF* rate) {
  VF r[G];
  Sweep sweep[G];
  for (int g = 0; g < G; g++) {
    r[g] = Root(d, x[g]);
    sweep[g].Clear(d);
  }
  const float *up = in.data, *down = in.data + (planes - 1) * in.stride;
  for (int64_t k = 0; k < planes / 2; k++, up += in.stride, down -= in.stride) {
    ahead.Step();
#pragma GCC unroll 4
    for (int g = 0; g < G; g++) {
      sweep[g].template Add<false>(d, r[g], hn::Add(hn::LoadU(d, up + g * kLanes), hn::LoadU(d, down + g * kLanes)));
    }
  }
  const VF one = hn::Set(d, 1.0f), half = hn::Set(d, 0.5f);
  for (int g = 0; g < G; g++) {
    const Sweep& w = sweep[g];
    const VF rest = hn::Sub(one, r[g]), onePlus = hn::Add(one, r[g]);
    const VF next = hn::MulAdd(r[g], w.b, one), rh = hn::NegMulAdd(rest, w.b, one);
    const VF per = hn::Mul(hn::Mul(r[g], w.b), Reciprocal(d, hn::MulAdd(hn::Mul(r[g], rh), rh, one)));
    const VF s = hn::NegMulAdd(rest, w.cross, w.sumF), ends = hn::NegMulAdd(hn::Add(one, rh), s, hn::Mul(next, w.f));
    const VF last = hn::Mul(hn::Mul(w.b, hn::Mul(next, next)), hn::Mul(rest, Reciprocal(d, onePlus)));
    const VF cross = hn::MulAdd(per, ends, w.cross), ones = hn::MulAdd(per, last, w.ones);
    rate[g] = hn::Mul(hn::Mul(half, cross), Reciprocal(d, ones));
  }
}

struct Fit {
  VF rate, variance, chi2, good;  // variance: of the rate
};

class Fitter {
 public:
  explicit Fitter(const KernelCall& call)
      : params_(ParamsOf(call)),
        diffs_(call.ports[kDiffs].view<const float>()),
        gain_(call.ports[kGain].view<const float>()),
        variance_(call.ports[kReadVariance].view<const float>()),
        start_(call.ports[kStart].view<const float>()),
        out_{call.ports[kRate].view<float>(),
             call.ports[kError].view<float>(),
             call.ports[kChi2].view<float>(),
             call.ports[kGoodDiffs].view<uint16_t>(),
             call.ports[kDq].view<uint32_t>(),
             call.ports[kJumps].view<const uint16_t>(),
             call.ports[kLastGood].view<const uint16_t>(),
             diffs_.planes + 1,
             params_.maxReducedChi2,
             params_.unit == kElectronPerSecond,
             params_.readTimeSeconds},
        pack_(call.scratch.data),
        waitingDiffs_(call.scratch.data + kLanes * diffs_.planes),
        debias_(params_.debias != 0 && params_.iterations == 1) {
    if (call.ahead != nullptr) ahead_ = *call.ahead;
  }

  void Run() {
    ForPixels<kPair>(diffs_.rows, diffs_.cols, [this](int64_t row, int64_t x, int count, auto groups) HWY_ATTR {
      Pixels<decltype(groups)::value>(row, x, count);
    });
    if (waiting_.count > 0) FitWaiting();
  }
  const Ahead& ahead() const { return ahead_; }

 private:
  // Above so many broken ramps of a register the whole register is fitted where it lies.
  static constexpr size_t kMany = (kLanes + 3) / 4;

  template <int G>
  HWY_INLINE void Pixels(int64_t row, int64_t x, int count) {
    const DF d;
    const Planes in = PlanesOf(diffs_, row, x, count, pack_);
    const VF tiny = hn::Set(d, kTiny);
    VF first[G], start[G], photons[G];
    Noise noise[G];
    for (int g = 0; g < G; g++) {
      const int64_t at = x + g * kLanes;
      first[g] = start[g] = LoadPart(d, start_.at(0, row) + at, count);
      noise[g] = Noise(d, LoadPart(d, gain_.at(0, row) + at, count), LoadPart(d, variance_.at(0, row) + at, count));
    }
    Toeplitz ramp[G];
    Sums sums[G];
    for (int i = 1; i < params_.iterations; i++) {
      for (int g = 0; g < G; g++) photons[g] = noise[g].Photons(d, start[g]);
      if (diffs_.planes > 0 && diffs_.planes % 2 == 0) {
        HalfRates<G>(d, in, diffs_.planes, photons, ahead_, start);
        continue;
      }
      WholeSums<false, false, G>(d, in, diffs_.planes, photons, start, nullptr, ahead_, ramp, sums);
      for (int g = 0; g < G; g++) {
        start[g] = hn::MulAdd(sums[g].cross, Reciprocal(d, hn::Max(sums[g].ones, tiny)), start[g]);
      }
    }
    for (int g = 0; g < G; g++) photons[g] = noise[g].Photons(d, start[g]);
    WholeSums<true, false, G>(d, in, diffs_.planes, photons, start, nullptr, ahead_, ramp, sums);
    for (int g = 0; g < G; g++) {
      const Planes mine = {in.data + g * kLanes, in.stride};
      const int64_t at = x + g * kLanes;
      Fit fit = Conclude(mine, noise[g], photons[g], start[g], sums[g]);
      // What is missing makes all that comes after it NaN, so a ramp is broken where its sums are.
      const auto broken = hn::Not(ramp[g].complete);
      if (HWY_LIKELY(hn::AllFalse(d, broken))) {
        Store(row, at, count, noise[g], fit);
      } else if (hn::CountTrue(d, broken) > kMany) {
        const Fit other = FitBroken(mine, noise[g], first[g]);
        fit.rate = hn::IfThenElse(broken, other.rate, fit.rate);
        fit.variance = hn::IfThenElse(broken, other.variance, fit.variance);
        fit.chi2 = hn::IfThenElse(broken, other.chi2, fit.chi2);
        fit.good = hn::IfThenElse(broken, other.good, fit.good);
        Store(row, at, count, noise[g], fit);
      } else {
        HWY_ALIGN uint32_t dq[kLanes];
        const hn::RebindToUnsigned<DF> du;
        hn::Store(LoadPart(du, out_.dq.at(0, row) + at, count), du, dq);  // as it is before anything is flagged
        Store(row, at, count, noise[g], fit);
        Wait(row, at, count, broken, dq);
      }
    }
  }

  HWY_INLINE void Store(int64_t row, int64_t x, int count, const Noise& noise, const Fit& fit) {
    StoreFit(DF(), out_, row, x, count, noise, fit.rate, fit.variance, fit.chi2, fit.good, true);
  }

  HWY_INLINE Fit Conclude(Planes in, const Noise& noise, VF photons, VF start, const Sums& sums) {
    const DF d;
    const VF perOnes = Reciprocal(d, hn::Max(sums.ones, hn::Set(d, kTiny)));
    const VF change = hn::Mul(sums.cross, perOnes), perVariance = hn::Mul(noise.gain, noise.inverse);
    Fit fit = {hn::Add(start, change), hn::Mul(noise.variance, perOnes),
               hn::Mul(hn::NegMulAdd(sums.cross, change, sums.square), perVariance), sums.good};
    if (debias_) {
      const VF slope = Slope(d, in, diffs_.planes, photons);
      fit.rate = hn::Sub(fit.rate, Bias(d, noise, photons, fit.rate, sums.ones, slope, sums.good));
    }
    return fit;
  }

  // The fit of a register of pixels that may miss any difference.
  HWY_NOINLINE Fit FitBroken(Planes in, const Noise& noise, VF start) {
    const DF d;
    Sums sums;
    for (int i = 1; i < params_.iterations; i++) {
      BrokenSums<false>(d, in, diffs_.planes, Root(d, noise.Photons(d, start)), start, sums);
      start = hn::MulAdd(sums.cross, Reciprocal(d, hn::Max(sums.ones, hn::Set(d, kTiny))), start);
    }
    const VF photons = noise.Photons(d, start);
    BrokenSums<true>(d, in, diffs_.planes, Root(d, photons), start, sums);
    return Conclude(in, noise, photons, start, sums);
  }

  // Sets the pixels of broken ramps aside until a register is full of them.
  HWY_NOINLINE void Wait(int64_t row, int64_t x, int count, hn::Mask<DF> broken, const uint32_t* dq) {
    uint8_t bits[8] = {};
    hn::StoreMaskBits(DF(), broken, bits);
    Waiting& w = waiting_;
    for (int i = 0; i < count; i++) {
      if ((bits[i / 8] >> (i % 8) & 1) == 0) continue;
      w.row[w.count] = row;
      w.x[w.count] = x + i;
      w.gain[w.count] = gain_.at(0, row)[x + i];
      w.variance[w.count] = variance_.at(0, row)[x + i];
      w.start[w.count] = start_.at(0, row)[x + i];
      w.dq[w.count] = dq[i];
      if (out_.jumps.data != nullptr) w.jumps[w.count] = out_.jumps.at(0, row)[x + i];
      if (out_.lastGood.data != nullptr) w.lastGood[w.count] = out_.lastGood.at(0, row)[x + i];
      const float* from = diffs_.at(0, row) + x + i;
      float* to = waitingDiffs_ + w.count;
      for (int64_t k = 0; k < diffs_.planes; k++, from += diffs_.planeStride, to += kLanes) *to = *from;
      if (++w.count == kLanes) FitWaiting();
    }
  }

  HWY_NOINLINE void FitWaiting() {
    const DF d;
    Waiting& w = waiting_;
    for (int i = w.count; i < kLanes; i++) {  // spare lanes repeat the first
      w.gain[i] = w.gain[0];
      w.variance[i] = w.variance[0];
      w.start[i] = w.start[0];
      for (int64_t k = 0; k < diffs_.planes; k++) waitingDiffs_[k * kLanes + i] = waitingDiffs_[k * kLanes];
    }
    const Noise noise(d, hn::Load(d, w.gain), hn::Load(d, w.variance));
    const Fit fit = FitBroken({waitingDiffs_, kLanes}, noise, hn::Load(d, w.start));
    float rate[kLanes], error[kLanes], chi2[kLanes];
    uint16_t good[kLanes];
    Outputs out = out_;
    out.rate = {rate};
    out.error = {error};
    out.chi2 = {chi2};
    out.goodDiffs = {good};
    out.dq = {w.dq};
    if (out_.jumps.data != nullptr) out.jumps = {w.jumps};
    if (out_.lastGood.data != nullptr) out.lastGood = {w.lastGood};
    StoreFit(d, out, 0, 0, kLanes, noise, fit.rate, fit.variance, fit.chi2, fit.good, true);
    for (int i = 0; i < w.count; i++) {
      const int64_t row = w.row[i], x = w.x[i];
      out_.rate.at(0, row)[x] = rate[i];
      out_.error.at(0, row)[x] = error[i];
      out_.chi2.at(0, row)[x] = chi2[i];
      out_.goodDiffs.at(0, row)[x] = good[i];
      out_.dq.at(0, row)[x] = w.dq[i];
    }
    w.count = 0;
  }

  struct Waiting {
    HWY_ALIGN float gain[kLanes];
    HWY_ALIGN float variance[kLanes];
    HWY_ALIGN float start[kLanes];
    int64_t row[kLanes], x[kLanes];
    uint32_t dq[kLanes] = {};
    uint16_t jumps[kLanes] = {}, lastGood[kLanes] = {};
    int count = 0;
  };

  const Params& params_;
  View<const float> diffs_, gain_, variance_, start_;
  Outputs out_;
  float *pack_, *waitingDiffs_;
  bool debias_;
  Ahead ahead_;
  Waiting waiting_;
};

Status FitRamp(const KernelCall& call) {
  Fitter fitter(call);
  fitter.Run();
  if (call.ahead != nullptr) *call.ahead = fitter.ahead();
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
