// In double precision: differences of large sums decide, and a detector is fitted a few times for dozens of exposures.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/fit-transfer/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <limits>

#include "generated/dq.h"
#include "generated/fit-transfer.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;
using namespace rampline::fit_transfer;  // NOLINT: the generated ports and parameters

using DD = hn::ScalableTag<double>;
using VD = hn::Vec<DD>;
using MD = hn::Mask<DD>;
using DF = hn::Rebind<float, DD>;
constexpr int kLanes = static_cast<int>(hn::MaxLanes(DD()));
constexpr int kValues = 20;  // sums of an amplifier

// Spare lanes repeat the last pixel.
HWY_INLINE VD Load(DD d, const float* from, int count) {
  const DF df;
  if (HWY_LIKELY(count == kLanes)) return hn::PromoteTo(d, hn::LoadU(df, from));
  HWY_ALIGN float part[kLanes];
  for (int i = 0; i < kLanes; i++) part[i] = from[std::min(i, count - 1)];
  return hn::PromoteTo(d, hn::Load(df, part));
}

HWY_INLINE void Store(DD d, VD v, float* to, int count) {
  HWY_ALIGN double part[kLanes];
  hn::Store(v, d, part);
  for (int i = 0; i < count; i++) to[i] = static_cast<float>(part[i]);
}

struct Sum {
  VD n, rate, variance;  // means of the latter two; 0 where n < 1
  MD any;
};

HWY_INLINE Sum MeanOf(DD d, VD n, VD rate, VD variance) {
  const VD one = hn::Set(d, 1.0);
  const MD any = hn::Ge(n, one);
  const VD safe = hn::Max(n, one);
  return {hn::IfThenElseZero(any, n), hn::IfThenElseZero(any, hn::Div(rate, safe)),
          hn::IfThenElseZero(any, hn::Div(variance, safe)), any};
}

// First half, second half, both.
HWY_INLINE void LoadSums(DD d, const View<const float>& view, int64_t row, int64_t x, int count, Sum out[3]) {
  VD v[6];
  for (int i = 0; i < 6; i++) v[i] = Load(d, view.at(i, row) + x, count);
  out[0] = MeanOf(d, v[0], v[1], v[2]);
  out[1] = MeanOf(d, v[3], v[4], v[5]);
  out[2] = MeanOf(d, hn::Add(v[0], v[3]), hn::Add(v[1], v[4]), hn::Add(v[2], v[5]));
}

// Variance of the mean of n halves of squares of second differences; see README.
HWY_INLINE VD ErrorSquared(DD d, VD photons, VD v, VD n) {
  const VD p2 = hn::Mul(hn::Set(d, 3.0), hn::Mul(photons, photons));
  const VD pv = hn::Mul(hn::Set(d, 20.0), hn::Mul(photons, v)), v2 = hn::Mul(hn::Set(d, 35.0), hn::Mul(v, v));
  return hn::Div(hn::Add(hn::Add(p2, pv), v2), hn::Max(n, hn::Set(d, 1.0)));
}

class Fitter {
 public:
  explicit Fitter(const KernelCall& call)
      : call_(call),
        params_(ParamsOf(call)),
        dark_(call.ports[kDark].view<const float>()),
        flat_(call.ports[kFlat].view<const float>()) {}

  void Run() {
    const DD d;
    const float* table = call_.ports[kTable].view<const float>().at(0, 0);
    for (int64_t row = 0; row < dark_.rows; row++) {
      const int64_t y = call_.origin.row + row;
      const bool edge = y < params_.border || y >= call_.whole.rows - params_.border;
      double* out = call_.ports[kSums].view<double>().at(0, row);
      for (int64_t a = 0; a < 4; a++) {
        VD sums[kValues];
        for (VD& s : sums) s = hn::Zero(d);
        const int64_t to = dark_.cols * (a + 1) / 4;
        for (int64_t x = dark_.cols * a / 4; x < to; x += kLanes) {
          Fit(row, x, static_cast<int>(std::min<int64_t>(kLanes, to - x)), edge, table + 8 * a, sums);
        }
        for (int i = 0; i < kValues; i++) out[kValues * a + i] = hn::GetLane(hn::SumOfLanes(d, sums[i]));
      }
    }
  }

 private:
  HWY_INLINE void Fit(int64_t row, int64_t x, int count, bool edge, const float* t, VD* sums) {
    const DD d;
    const auto set = [d](double v) HWY_ATTR { return hn::Set(d, v); };
    const VD zero = hn::Zero(d), one = set(1.0);
    const MD no = hn::Lt(zero, zero);
    // The pixels of this register that are there, and those of them that light reaches.
    const VD column = hn::Add(hn::Iota(d, 0.0), set(static_cast<double>(x)));
    const MD here = hn::FirstN(d, static_cast<size_t>(count));
    const MD inside = hn::And(hn::Ge(column, set(params_.border)),
                              hn::Lt(column, set(static_cast<double>(dark_.cols - params_.border))));
    const MD science = edge ? no : hn::And(here, inside);
    const auto add = [&](int i, MD where, VD v) HWY_ATTR { sums[i] = hn::Add(sums[i], hn::IfThenElseZero(where, v)); };
    Sum dark[3], flat[3];
    LoadSums(d, dark_, row, x, count, dark);
    LoadSums(d, flat_, row, x, count, flat);
    const VD h = set(t[0]), v0 = set(t[6]), clip2 = set(static_cast<double>(params_.clip) * params_.clip);
    const auto photonsOf = [&](const Sum& s) HWY_ATTR { return hn::Mul(h, hn::Max(s.rate, zero)); };
    const auto readVariance = [&](const Sum& s)
                                  HWY_ATTR { return hn::Div(hn::Sub(s.variance, photonsOf(s)), set(3.0)); };

    const VD darkPhotons = photonsOf(dark[2]), v = readVariance(dark[2]);
    const VD safe = hn::Max(hn::Max(v, hn::Mul(set(0.25), v0)), set(1e-6));
    const VD vVariance =
        hn::IfThenElseZero(dark[2].any, hn::Div(ErrorSquared(d, darkPhotons, safe, dark[2].n), set(9.0)));
    const MD measured = hn::And(dark[2].any, hn::Gt(v, zero));
    const VD off = hn::Sub(v, v0), off2 = hn::Mul(off, off);
    // What a pixel like the amplifier's would show; its own variance would excuse whatever it does.
    const VD expected = hn::Div(ErrorSquared(d, darkPhotons, t[6] > 0 ? v0 : safe, dark[2].n), set(9.0));
    const VD bound = hn::Add(set(t[7]), hn::IfThenElseZero(dark[2].any, expected));
    MD good = hn::And(measured, science);
    if (t[6] != 0) good = hn::And(good, hn::Le(off2, hn::Mul(clip2, bound)));
    add(11, good, one);
    add(12, good, off);
    add(13, good, off2);
    add(14, good, vVariance);
    const MD both = hn::And(good, hn::And(dark[0].any, dark[1].any));
    const VD va = hn::Sub(readVariance(dark[0]), v0), vb = hn::Sub(readVariance(dark[1]), v0), vab = hn::Mul(va, vb);
    add(15, both, va);
    add(16, both, vb);
    add(17, both, vab);
    add(18, both, hn::Mul(vab, vab));
    // A pixel like its amplifier's is drawn towards it; another keeps its own.
    const MD alike = t[6] > 0 ? hn::And(dark[2].any, hn::Le(off2, hn::Mul(set(16.0), bound))) : no;
    const VD share = hn::Div(set(t[7]), hn::IfThenElse(hn::Gt(bound, zero), bound, one));
    const VD drawn = hn::IfThenElse(alike, hn::MulAdd(share, off, v0), v);
    const VD spreadV = hn::IfThenElse(alike, hn::Mul(hn::Sub(one, share), set(t[7])), vVariance);
    const MD has = hn::And(hn::Gt(drawn, zero), hn::Or(alike, measured));
    const VD positive = hn::IfThenElse(has, drawn, one);
    const VD bend =
        hn::Div(hn::IfThenElse(alike, hn::Neg(spreadV), spreadV), hn::Mul(set(8.0), hn::Mul(positive, positive)));
    const VD noise = hn::Mul(hn::Sqrt(positive), hn::Add(one, bend));
    const MD plausible =
        hn::And(has, hn::And(hn::Ge(noise, set(params_.lowNoise)), hn::Le(noise, set(params_.highNoise))));
    Put(kNoise, row, x, count, plausible, noise);
    Put(kNoiseError, row, x, count, plausible, hn::Mul(set(0.5), hn::Sqrt(hn::Div(spreadV, positive))));
    const MD above = hn::And(hn::Gt(off, zero),
                             hn::Gt(off2, hn::Mul(set(static_cast<double>(params_.noisy) * params_.noisy), bound)));
    const MD noisy = t[6] > 0 ? hn::And(measured, above) : no;
    Flag(kNoiseDq, row, x, count, science, plausible, noisy);

    // Its error knows the noise of pixels like this one, not what chance made of it: that would pick the quiet ones.
    const VD v1 = hn::IfThenElse(alike, hn::Max(hn::Max(drawn, hn::Mul(set(0.25), v0)), set(1e-6)), safe);
    const VD rate = hn::Sub(flat[2].rate, dark[2].rate), scale = set(t[3]);
    MD lit = hn::And(hn::And(science, hn::Gt(rate, zero)), hn::And(dark[2].any, flat[2].any));
    const VD safeRate = hn::IfThenElse(lit, rate, one);
    const VD own = hn::Div(hn::Mul(scale, hn::Sub(flat[2].variance, dark[2].variance)), safeRate);
    const VD perRate = hn::Div(scale, safeRate);
    const VD error = hn::Mul(hn::Mul(perRate, perRate), hn::Add(ErrorSquared(d, photonsOf(flat[2]), v1, flat[2].n),
                                                                ErrorSquared(d, darkPhotons, v1, dark[2].n)));
    if (t[0] != 0) lit = hn::And(lit, hn::Lt(error, hn::Mul(h, h)));
    add(19, lit, one);
    const VD away = hn::Sub(own, h), t2 = set(t[1]);
    MD counts = lit;
    if (t[0] != 0) counts = hn::And(counts, hn::Le(hn::Mul(away, away), hn::Mul(clip2, hn::Add(error, t2))));
    VD dv[2], dr[2], variance[2], centred[2];
    for (int i = 0; i < 2; i++) {
      dv[i] = hn::Sub(flat[i].variance, dark[i].variance);
      dr[i] = hn::Sub(flat[i].rate, dark[i].rate);
      variance[i] = hn::Add(ErrorSquared(d, photonsOf(flat[i]), v1, flat[i].n),
                            ErrorSquared(d, photonsOf(dark[i]), v1, dark[i].n));
      counts = hn::And(hn::And(counts, hn::Gt(dr[i], zero)), hn::And(dark[i].any, flat[i].any));
      const VD safeHalf = hn::IfThenElse(hn::Gt(dr[i], zero), dr[i], one);
      centred[i] = hn::Sub(hn::Div(dv[i], safeHalf), set(t[4 + i]));
      const VD e = hn::Div(variance[i], hn::Mul(safeHalf, safeHalf));
      const MD near = hn::Le(hn::Mul(centred[i], centred[i]), hn::Mul(clip2, hn::Add(e, t2)));
      if (t[0] != 0) counts = hn::And(counts, hn::And(near, hn::Lt(e, hn::Mul(h, h))));
    }
    add(0, counts, one);
    for (int i = 0; i < 2; i++) {
      add(1 + 2 * i, counts, dv[i]);
      add(2 + 2 * i, counts, dr[i]);
      add(5 + i, counts, variance[i]);
      add(7 + i, counts, centred[i]);
    }
    const VD product = hn::Mul(centred[0], centred[1]);
    add(9, counts, product);
    add(10, counts, hn::Mul(product, product));

    const VD weight = hn::IfThenElseZero(lit, hn::Div(t2, hn::Add(t2, error))), rest = hn::Sub(one, weight);
    const VD posterior = hn::Add(h, hn::Mul(weight, away));
    const VD spread = hn::Sqrt(hn::Add(hn::Mul(rest, t2), hn::Mul(hn::Mul(rest, rest), set(t[2]))));
    const VD margin = hn::Mul(set(5.0), hn::Sqrt(error));
    const MD tooLow = hn::Gt(hn::Mul(hn::Sub(own, margin), set(params_.lowGain)), one);
    const MD tooHigh = hn::Lt(hn::Mul(hn::Add(own, margin), set(params_.highGain)), one);
    const MD outside = hn::And(lit, hn::Or(tooLow, tooHigh));
    const VD gain = hn::Div(one, posterior);
    const MD kept =
        hn::AndNot(outside, hn::And(hn::Ge(gain, set(params_.lowGain)), hn::Le(gain, set(params_.highGain))));
    Put(kGain, row, x, count, kept, gain);
    Put(kGainError, row, x, count, kept, hn::Mul(spread, hn::Mul(gain, gain)));
    Flag(kGainDq, row, x, count, science, kept, no);
  }

  HWY_INLINE void Put(size_t port, int64_t row, int64_t x, int count, MD good, VD v) {
    if (call_.ports[port].data == nullptr) return;
    const DD d;
    const VD none = hn::Set(d, std::numeric_limits<double>::quiet_NaN());
    Store(d, hn::IfThenElse(good, v, none), call_.ports[port].view<float>().at(0, row) + x, count);
  }

  HWY_INLINE void Flag(size_t port, int64_t row, int64_t x, int count, MD science, MD good, MD noisy) {
    if (call_.ports[port].data == nullptr) return;
    const DD d;
    HWY_ALIGN double part[kLanes];
    const auto bit = [d](MD where, uint32_t b)
                         HWY_ATTR { return hn::IfThenElseZero(where, hn::Set(d, static_cast<double>(b))); };
    const VD bits = hn::Add(hn::Add(bit(hn::Not(science), dq::kReferencePixel), bit(hn::Not(good), dq::kNoCalibration)),
                            bit(noisy, dq::kNoisy));
    hn::Store(bits, d, part);
    uint32_t* to = call_.ports[port].view<uint32_t>().at(0, row) + x;
    for (int i = 0; i < count; i++) to[i] = static_cast<uint32_t>(part[i]);
  }

  const KernelCall& call_;
  const Params& params_;
  View<const float> dark_, flat_;
};

Status FitTransfer(const KernelCall& call) {
  Fitter(call).Run();
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::fit_transfer {
namespace {
HWY_EXPORT(FitTransfer);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(FitTransfer)(call); }
}  // namespace rampline::fit_transfer
#endif
