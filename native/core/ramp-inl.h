// What the kernels of the up-the-ramp fit share. Differences of equally spaced single reads have the covariance
//
//   C = v T,  T = tridiag(x + 2; -1),  x = max(rate, 0) / (gain v)
//
// with v the variance of one read [DN^2] and the gain in electrons per DN. A missing difference is NaN; it drops its row
// and its column out of C, which in the recurrences below is p = 0.
//
// Every register holds as many pixels as it has lanes, and the ends of odd rows are copied into a full register, so a
// pixel's result cannot depend on where in a register, a row or a block it lies.
#if defined(RAMPLINE_CORE_RAMP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RAMPLINE_CORE_RAMP_INL_H_
#undef RAMPLINE_CORE_RAMP_INL_H_
#else
#define RAMPLINE_CORE_RAMP_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "generated/dq.h"
#include "native/core/kernel.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace ramp {
namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::ScalableTag<float>;
using VF = hn::Vec<DF>;
constexpr int kLanes = static_cast<int>(hn::MaxLanes(DF()));
// Registers that run side by side, so that one's reciprocal is computed while the others multiply. 16 registers of SSE
// and AVX2 hold the state of two.
constexpr int kGroup = HWY_TARGET <= HWY_AVX3 ? 4 : 2;
// The same for the sweeps of whole ramps, which divide nowhere in their loops.
constexpr int kPair = 2;
// A divisor that may be 0 because nothing is left to fit is raised to this.
constexpr float kTiny = 1e-30f;

// 1/q to the last bit or two: one Newton step on the hardware's estimate of 11 to 14 bits. 0 < q < 2^126.
HWY_INLINE VF Reciprocal(DF d, VF q) {
  const VF p = hn::ApproximateReciprocal(q);
  return hn::Mul(p, hn::NegMulAdd(q, p, hn::Set(d, 2.0f)));
}

// The first `count` lanes from memory; the spare ones repeat the last, and memory beyond it is left alone.
template <class D>
HWY_INLINE hn::Vec<D> LoadPart(D d, const hn::TFromD<D>* from, int count) {
  if (HWY_LIKELY(count == kLanes)) return hn::LoadU(d, from);
  HWY_ALIGN hn::TFromD<D> part[kLanes];
  for (int i = 0; i < kLanes; i++) part[i] = from[std::min(i, count - 1)];
  return hn::Load(d, part);
}

template <class D>
HWY_INLINE void StorePart(D d, hn::Vec<D> v, hn::TFromD<D>* to, int count) {
  if (HWY_LIKELY(count == kLanes)) {
    hn::StoreU(v, d, to);
    return;
  }
  HWY_ALIGN hn::TFromD<D> part[kLanes];
  hn::Store(v, d, part);
  // Not std::copy: the compiler does not see that count is at most kLanes, and warns.
  for (int i = 0; i < kLanes; i++) {
    if (i < count) to[i] = part[i];
  }
}

// A map that counts, from lanes that hold whole numbers.
HWY_INLINE void StoreCounts(DF, VF v, uint16_t* to, int count) {
  const hn::Rebind<uint16_t, DF> d16;
  StorePart(d16, hn::DemoteTo(d16, hn::NearestInt(v)), to, count);
}

HWY_INLINE VF LoadCounts(DF d, const uint16_t* from, int count) {
  const hn::Rebind<uint16_t, DF> d16;
  return hn::ConvertTo(d, hn::PromoteTo(hn::RebindToSigned<DF>(), LoadPart(d16, from, count)));
}

// Gain and read variance of some pixels, and where they are of any use: positive, with a product that single precision
// can divide by (1e-30 to 1e30).
struct Noise {
  VF gain, variance;  // 1 where not valid, so that nothing non-finite arises from them
  VF inverse;         // 1 / (gain variance)
  hn::Mask<DF> valid;

  HWY_INLINE Noise() = default;
  HWY_INLINE Noise(DF d, VF g, VF v) {
    const VF zero = hn::Zero(d), one = hn::Set(d, 1.0f), huge = hn::Set(d, 1e30f), product = hn::Mul(g, v);
    const auto usable = hn::And(hn::Gt(product, hn::Set(d, 1e-30f)), hn::Lt(product, huge));
    valid = hn::And(hn::And(usable, hn::And(hn::Gt(g, zero), hn::Lt(g, huge))),
                    hn::And(hn::Gt(v, hn::Set(d, 1e-30f)), hn::Lt(v, huge)));
    gain = hn::IfThenElse(valid, g, one);
    variance = hn::IfThenElse(valid, v, one);
    inverse = Reciprocal(d, hn::IfThenElse(valid, product, one));
  }
  // x of the covariance above
  HWY_INLINE VF Photons(DF d, VF rate) const { return hn::Mul(hn::Max(rate, hn::Zero(d)), inverse); }
};

// Trimmed mean of differences, added one after the other: the largest and the smallest are left out when there are three
// or more, so one jump does not disturb it.
struct Trimmed {
  VF sum, most, least, n;

  HWY_INLINE void Clear(DF d) {
    sum = n = hn::Zero(d);
    most = hn::Set(d, -3e38f);
    least = hn::Set(d, 3e38f);
  }
  HWY_INLINE void Add(DF d, VF v) {
    const auto good = hn::Eq(v, v);
    sum = hn::Add(sum, hn::IfThenElseZero(good, v));
    most = hn::Max(most, hn::IfThenElse(good, v, most));
    least = hn::Min(least, hn::IfThenElse(good, v, least));
    n = hn::Add(n, hn::IfThenElseZero(good, hn::Set(d, 1.0f)));
  }
  // Add for differences of which none is missing. A missing one makes the sum NaN, and all has to be added again.
  HWY_INLINE void AddGood(DF d, VF v) {
    // The same sum from the unit that multiplies: the one that adds is busy with the largest and the smallest.
    sum = HWY_NATIVE_FMA ? hn::MulAdd(v, hn::Set(d, 1.0f), sum) : hn::Add(sum, v);
    most = hn::Max(most, v);
    least = hn::Min(least, v);
  }
  // 0 when nothing was added or nothing finite comes out.
  HWY_INLINE VF Mean(DF d) const {
    const VF one = hn::Set(d, 1.0f), two = hn::Set(d, 2.0f);
    const VF trimmed = hn::Div(hn::Sub(sum, hn::Add(most, least)), hn::Max(hn::Sub(n, two), one));
    const VF mean = hn::IfThenElse(hn::Gt(n, two), trimmed, hn::Div(sum, hn::Max(n, one)));
    return hn::IfThenElseZero(hn::IsFinite(mean), mean);
  }
};

// The planes of `count` neighbouring pixels as full registers: the array itself, or a copy in `pack` (kLanes floats a
// plane) whose spare lanes repeat the last pixel.
struct Planes {
  const float* data;
  int64_t stride;
};
template <class T>
HWY_INLINE Planes PlanesOf(const View<T>& view, int64_t row, int64_t x, int count, float* pack) {
  if (HWY_LIKELY(count == kLanes)) return {view.at(0, row) + x, view.planeStride};
  for (int64_t k = 0; k < view.planes; k++) {
    for (int i = 0; i < kLanes; i++) pack[k * kLanes + i] = view.at(k, row)[x + std::min(i, count - 1)];
  }
  return {pack, kLanes};
}

// Trimmed means of G registers of pixels. Most have no missing difference; where one has, the sums are made again, with
// the same bits for the pixels that have none.
template <int G>
HWY_INLINE void AddPlanes(DF d, Planes in, int64_t planes, Ahead& ahead, Trimmed* all) {
  for (int g = 0; g < G; g++) all[g].Clear(d);
  const float* plane = in.data;
  for (int64_t k = 0; k < planes; k++, plane += in.stride) {
    ahead.Step();
#pragma GCC unroll 4
    for (int g = 0; g < G; g++) all[g].AddGood(d, hn::LoadU(d, plane + g * kLanes));
  }
  for (int g = 0; g < G; g++) {
    if (HWY_LIKELY(hn::AllTrue(d, hn::Eq(all[g].sum, all[g].sum)))) {
      all[g].n = hn::Set(d, static_cast<float>(planes));
      continue;
    }
    all[g].Clear(d);
    const float* again = in.data + g * kLanes;
    for (int64_t k = 0; k < planes; k++, again += in.stride) all[g].Add(d, hn::LoadU(d, again));
  }
}

struct Sums {
  VF ones, cross, square, good;  // 1'T^-1 1, 1'T^-1 d, d'T^-1 d, the number of good differences
};

// Ramps without a missing difference
//
// T is then Toeplitz and one number, the root r of r + 1/r = x + 2 with 0 < r <= 1, says all of it. With L the bidiagonal
// matrix of 1 and -r, T = L L' / r + r e_1 e_1', so that two recurrences of one multiply-add each and a correction of rank
// one (Sherman and Morrison) solve it without a division:
//
//   f = L^-1 u:  f_k = u_k + r f_{k-1},  of ones: b_k = 1 + r b_{k-1} = (1 - r^k) / (1 - r)
//   a'T^-1 u = r (sum f(a) f(u) - g s(a) s(u)),  s = sum r^k f_k = sum f_k - (1 - r) sum b_k f_k,
//   g = (1 + r) / (b_m (1 + r^m)),  m = n + 1,  s(1) = r b_n b_m / (1 + r)
//
// Every sum of b has positive terms only: nothing cancels as r goes to 1 (no photons), where x itself vanishes.
struct Toeplitz {
  VF r, rest;             // r, 1 - r
  VF bm, rm;              // b_m, r^m
  VF s;                   // s of the differences
  hn::Mask<DF> complete;  // nothing was missing, and all that came out is finite
};

// What a forward sweep adds up, in one lane for each pixel.
struct Sweep {
  VF f, b, sumF, cross, ones, square;

  HWY_INLINE void Clear(DF d) { f = b = sumF = cross = ones = square = hn::Zero(d); }
  template <bool kSquare>
  HWY_INLINE void Add(DF d, VF r, VF u) {
    f = hn::MulAdd(r, f, u);
    b = hn::MulAdd(r, b, hn::Set(d, 1.0f));
    sumF = hn::Add(sumF, f);
    cross = hn::MulAdd(b, f, cross);
    ones = hn::MulAdd(b, b, ones);
    if constexpr (kSquare) square = hn::MulAdd(f, f, square);
  }
};

// The root r for x >= 0. 1/r is the larger root, which needs no subtraction.
HWY_INLINE VF Root(DF d, VF x) {
  const VF one = hn::Set(d, 1.0f), half = hn::Mul(x, hn::Set(d, 0.5f));
  const VF inner = hn::Sqrt(hn::MulAdd(half, half, x));  // sqrt(x + x^2 / 4): x / 2 where the square would overflow
  const VF root = hn::IfThenElse(hn::Lt(x, hn::Set(d, 1e15f)), inner, half);
  return hn::Div(one, hn::Add(one, hn::Add(half, root)));
}

// The sums of T^-1 from those of a sweep over an unbroken run of differences.
template <bool kSquare>
HWY_INLINE void Close(DF d, VF r, const Sweep& sweep, Toeplitz& run, Sums& sums) {
  const VF one = hn::Set(d, 1.0f), rest = hn::Sub(one, r);
  const VF bm = hn::MulAdd(r, sweep.b, one), rm = hn::NegMulAdd(rest, bm, one);
  const VF s = hn::NegMulAdd(rest, sweep.cross, sweep.sumF), rb = hn::Mul(r, sweep.b);
  const VF perRm = Reciprocal(d, hn::Add(one, rm)), gt = hn::Mul(rb, perRm);  // g t = r b_n / (1 + r^m), t = s(1)
  const VF onePlus = hn::Add(one, r), t = hn::Mul(hn::Mul(rb, bm), Reciprocal(d, onePlus));
  sums.ones = hn::Mul(r, hn::NegMulAdd(gt, t, sweep.ones));
  sums.cross = hn::Mul(r, hn::NegMulAdd(gt, s, sweep.cross));
  VF all = sums.cross;
  if constexpr (kSquare) {
    const VF scaled = hn::Mul(hn::Mul(hn::Mul(onePlus, perRm), Reciprocal(d, bm)), s);
    sums.square = hn::Mul(r, hn::NegMulAdd(scaled, s, sweep.square));
    all = hn::Add(all, sums.square);
  }
  run.r = r;
  run.rest = rest;
  run.bm = bm;
  run.rm = rm;
  run.s = s;
  run.complete = hn::IsFinite(all);
}

// The sums for pixels of which any difference may be missing. A missing one cuts the ramp in two that know nothing of each
// other, so each unbroken run is closed by itself; a ramp without a gap gets the bits that WholeSums gives it.
template <bool kSquare>
HWY_NOINLINE void BrokenSums(DF d, Planes in, int64_t planes, VF r, VF start, Sums& sums) {
  const VF zero = hn::Zero(d), one = hn::Set(d, 1.0f);
  sums.ones = sums.cross = sums.square = sums.good = zero;
  Sweep sweep;
  sweep.Clear(d);
  const auto close = [&](hn::Mask<DF> where) HWY_ATTR {
    Toeplitz run;
    Sums part;
    Close<kSquare>(d, r, sweep, run, part);
    sums.ones = hn::Add(sums.ones, hn::IfThenElseZero(where, part.ones));
    sums.cross = hn::Add(sums.cross, hn::IfThenElseZero(where, part.cross));
    if constexpr (kSquare) sums.square = hn::Add(sums.square, hn::IfThenElseZero(where, part.square));
    for (VF* v : {&sweep.f, &sweep.b, &sweep.sumF, &sweep.cross, &sweep.ones, &sweep.square}) {
      *v = hn::IfThenZeroElse(where, *v);
    }
  };
  const float* plane = in.data;
  for (int64_t k = 0; k < planes; k++, plane += in.stride) {
    const VF u = hn::Sub(hn::LoadU(d, plane), start);
    const auto gap = hn::Not(hn::Eq(u, u));
    const auto ends = hn::And(gap, hn::Gt(sweep.b, zero));
    if (!hn::AllFalse(d, ends)) close(ends);
    sweep.Add<kSquare>(d, r, hn::IfThenZeroElse(gap, u));
    if (!hn::AllFalse(d, gap)) {  // as if it were not there
      for (VF* v : {&sweep.f, &sweep.b, &sweep.sumF, &sweep.cross, &sweep.ones, &sweep.square}) {
        *v = hn::IfThenZeroElse(gap, *v);
      }
    }
    sums.good = hn::Add(sums.good, hn::IfThenZeroElse(gap, one));
  }
  close(hn::Gt(sweep.b, zero));
}

// The forward sweep of G registers of pixels, of the differences less `start`, as if none were missing; `sums` means
// nothing where not `complete`. With kKeep f and b go to `work`, 2 G registers a plane.
template <bool kSquare, bool kKeep, int G>
HWY_INLINE void WholeSums(DF d, Planes in, int64_t planes, const VF* x, const VF* start, float* HWY_RESTRICT work,
                          Ahead& ahead, Toeplitz* ramp, Sums* sums) {
  VF r[G];
  Sweep sweep[G];
  for (int g = 0; g < G; g++) {
    r[g] = Root(d, x[g]);
    sweep[g].Clear(d);
  }
  const float* plane = in.data;
  for (int64_t k = 0; k < planes; k++, plane += in.stride) {
    ahead.Step();
#pragma GCC unroll 4
    for (int g = 0; g < G; g++) {
      sweep[g].template Add<kSquare>(d, r[g], hn::Sub(hn::LoadU(d, plane + g * kLanes), start[g]));
      if constexpr (kKeep) {
        hn::Store(sweep[g].f, d, work + (2 * G * k + g) * kLanes);
        hn::Store(sweep[g].b, d, work + (2 * G * k + G + g) * kLanes);
      }
    }
  }
  for (int g = 0; g < G; g++) {
    Close<kSquare>(d, r[g], sweep[g], ramp[g], sums[g]);
    sums[g].good = hn::Set(d, static_cast<float>(planes));
  }
}

// Calls body(row, x, count, G constant) for all pixels: groups of registers, single registers, the rest of the row.
template <int kMost = kGroup, class Body>
HWY_INLINE void ForPixels(int64_t rows, int64_t cols, Body body) {
  for (int64_t row = 0; row < rows; row++) {
    int64_t x = 0;
    for (; x + kMost * kLanes <= cols; x += kMost * kLanes) {
      body(row, x, kLanes, std::integral_constant<int, kMost>());
    }
    for (; x < cols; x += kLanes) {
      body(row, x, static_cast<int>(std::min<int64_t>(kLanes, cols - x)), std::integral_constant<int, 1>());
    }
  }
}

// Where a fit's results go, and what decides their data quality. jumps and lastGood may be without data.
struct Outputs {
  View<float> rate, error, chi2;
  View<uint16_t> goodDiffs;
  View<uint32_t> dq;
  View<const uint16_t> jumps, lastGood;
  int64_t reads;
  float maxReducedChi2;
  bool electrons;         // e-/s rather than DN/read
  float readTimeSeconds;  // of one read
};

// Stores the results of one register of pixels. Where there is nothing to say (no difference, no calibration, or numbers
// that single precision cannot hold) all of them are 0 and the quality says so.
HWY_INLINE void StoreFit(DF d, const Outputs& out, int64_t row, int64_t x, int count, const Noise& noise, VF rate,
                         VF variance, VF chi2, VF good, bool hasChi2) {
  const hn::RebindToUnsigned<DF> du;
  const VF zero = hn::Zero(d), one = hn::Set(d, 1.0f);
  VF error = hn::Sqrt(hn::Max(variance, zero));
  if (out.electrons) {
    const VF scale = hn::Div(noise.gain, hn::Set(d, out.readTimeSeconds));
    rate = hn::Mul(rate, scale);
    error = hn::Mul(error, scale);
  }
  const auto usable = hn::And(
      hn::And(noise.valid, hn::Gt(good, zero)),
      hn::And(hn::And(hn::IsFinite(rate), hn::IsFinite(error)), hn::And(hn::IsFinite(chi2), hn::Gt(error, zero))));
  const VF dof = hn::Sub(good, one);
  const auto noChi2 = hasChi2 ? hn::Or(hn::Lt(dof, one), hn::Not(usable)) : hn::Eq(zero, zero);
  chi2 = hn::IfThenZeroElse(noChi2, hn::Max(chi2, zero));
  const auto badChi2 = hn::AndNot(noChi2, hn::Gt(chi2, hn::Mul(dof, hn::Set(d, out.maxReducedChi2))));

  auto flags = LoadPart(du, out.dq.at(0, row) + x, count);
  const auto flag = [&](hn::Mask<DF> where, uint32_t bit) HWY_ATTR {
    flags = hn::Or(flags, hn::IfThenElseZero(hn::RebindMask(du, where), hn::Set(du, bit)));
  };
  flag(hn::Not(usable), dq::kNoData);
  flag(hn::Not(noise.valid), dq::kNoCalibration);
  flag(noChi2, dq::kNoChi2);
  flag(badChi2, dq::kBadChi2);
  if (out.jumps.data != nullptr) {
    const VF jumps = LoadCounts(d, out.jumps.at(0, row) + x, count);
    flag(hn::Eq(jumps, one), dq::kJump);
    flag(hn::Gt(jumps, one), dq::kJumps);
  }
  if (out.lastGood.data != nullptr) {
    const VF last = LoadCounts(d, out.lastGood.at(0, row) + x, count);
    const auto cut = hn::Lt(last, hn::Set(d, static_cast<float>(out.reads)));
    const auto none = hn::Le(last, one);  // one read makes no difference
    flag(hn::And(cut, none), dq::kSaturated);
    flag(hn::AndNot(none, cut), dq::kPartlySaturated);
  }
  StorePart(du, flags, out.dq.at(0, row) + x, count);
  StorePart(d, hn::IfThenElseZero(usable, rate), out.rate.at(0, row) + x, count);
  StorePart(d, hn::IfThenElseZero(usable, error), out.error.at(0, row) + x, count);
  StorePart(d, chi2, out.chi2.at(0, row) + x, count);
  StoreCounts(d, hn::IfThenElseZero(noise.valid, good), out.goodDiffs.at(0, row) + x, count);
}

}  // namespace ramp
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();
#endif
