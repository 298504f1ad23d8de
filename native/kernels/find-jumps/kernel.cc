// Brandt's chi-square tests for jumps, for all differences of a ramp from one forward and one backward sweep.
//
// With y = T^-1 (d - rate), h = T^-1 1, D = diag T^-1, c = 1'T^-1 1 (T: see ramp-inl.h), leaving out difference i lowers
// chi-square by y_i^2 / (D_i - h_i^2 / c), in units of the read variance. Leaving out neighbours i and i+1 lowers it by
// (y_i, y_{i+1}) Q^-1 (y_i, y_{i+1})' with Q the 2 x 2 block of T^-1 - h h' / c.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/find-jumps/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <limits>

#include "generated/find-jumps.h"
#include "native/core/ramp-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
using namespace ramp;                  // NOLINT: short names for what this kernel is made of
using namespace rampline::find_jumps;  // NOLINT: the generated ports and parameters

constexpr float kMissing = std::numeric_limits<float>::quiet_NaN();
// Of two differences that are equally bad but for rounding, the later is dropped first, on every CPU.
constexpr float kClearly = 1.001f;

// What one pass found: the rate of all differences, and where chi-square falls most.
template <int G>
struct Found {
  VF rate[G];
  hn::Mask<DF> hit[G];
  VF at[G];    // plane of the worst difference, or of the first of the worst pair
  VF pair[G];  // 1 where a pair is worst
};

template <bool kTwo, int G>
HWY_INLINE void OmitPass(DF d, const Params& params, Planes in, int64_t planes, const VF* x, const VF* start,
                         const VF* variance, float* HWY_RESTRICT work, Ahead& ahead, Found<G>& found) {
  const VF zero = hn::Zero(d), one = hn::Set(d, 1.0f), tiny = hn::Set(d, kTiny);
  VF a[G], p[G], zd[G], z1[G], cross[G], ones[G], good[G];
  for (int g = 0; g < G; g++) {
    a[g] = hn::Add(x[g], hn::Set(d, 2.0f));
    good[g] = p[g] = zd[g] = z1[g] = cross[g] = ones[g] = zero;
  }
  const float* plane = in.data;
  float* w = work;
  for (int64_t k = 0; k < planes; k++, plane += in.stride) {
    ahead.Step();
#pragma GCC unroll 4
    for (int g = 0; g < G; g++, w += 3 * kLanes) {
      VF v = hn::Sub(hn::LoadU(d, plane + g * kLanes), start[g]);
      const auto ok = hn::Eq(v, v);
      v = hn::IfThenElseZero(ok, v);
      const VF pn = hn::IfThenElseZero(ok, Reciprocal(d, hn::Sub(a[g], p[g])));
      zd[g] = hn::MulAdd(p[g], zd[g], v);
      z1[g] = hn::MulAdd(p[g], z1[g], one);
      p[g] = pn;
      const VF pz = hn::Mul(pn, z1[g]);
      cross[g] = hn::MulAdd(pz, zd[g], cross[g]);
      ones[g] = hn::MulAdd(pz, z1[g], ones[g]);
      if constexpr (kTwo) good[g] = hn::Add(good[g], hn::IfThenElseZero(ok, one));
      hn::Store(pn, d, w);
      hn::Store(zd[g], d, w + kLanes);
      hn::Store(z1[g], d, w + 2 * kLanes);
    }
  }
  VF inverse[G], change[G], y[G], h[G], diag[G], best[G], at[G], pair[G], y0[G], h0[G], q0[G], fall0[G], ratio0[G],
      penalty[G];
  for (int g = 0; g < G; g++) {
    inverse[g] = hn::Div(one, hn::Max(ones[g], tiny));
    change[g] = hn::Mul(cross[g], inverse[g]);
    y[g] = h[g] = diag[g] = best[g] = at[g] = pair[g] = y0[g] = h0[g] = zero;
    q0[g] = tiny;
    fall0[g] = ratio0[g] = zero;
    penalty[g] = hn::Mul(variance[g], hn::Set(d, params.twoThreshold - params.oneThreshold));
  }
  VF index = hn::Set(d, static_cast<float>(planes));
  for (int64_t k = planes - 1; k >= 0; k--) {
    ahead.Step();
    w -= 3 * kLanes * G;
    index = hn::Sub(index, one);
#pragma GCC unroll 4
    for (int g = 0; g < G; g++) {
      const VF pk = hn::Load(d, w + 3 * kLanes * g), z = hn::Load(d, w + 3 * kLanes * g + 2 * kLanes);
      const VF residual = hn::NegMulAdd(change[g], z, hn::Load(d, w + 3 * kLanes * g + kLanes));
      const VF next = hn::Mul(pk, diag[g]);  // element (k, k+1) of T^-1
      y[g] = hn::Mul(pk, hn::Add(residual, y[g]));
      h[g] = hn::Mul(pk, hn::Add(z, h[g]));
      diag[g] = hn::MulAdd(pk, next, pk);
      const VF hc = hn::Mul(h[g], inverse[g]);
      // All that belongs to a missing difference is 0, and 0/tiny is no hit.
      const VF q = hn::Max(hn::NegMulAdd(h[g], hc, diag[g]), tiny);
      const VF y2 = hn::Mul(y[g], y[g]);
      const VF ratio = kTwo ? Reciprocal(d, q) : hn::ApproximateReciprocal(q);
      const VF fall = hn::Mul(y2, ratio);
      if constexpr (kTwo) {
        // What the lesser of the two adds to the greater: of a large jump and its neighbour only this decides, and it
        // would drown in the rounding of the sum.
        const VF off = hn::NegMulAdd(hc, h0[g], next);
        const auto first = hn::Gt(fall, fall0[g]);  // this one is the greater
        const VF yOther = hn::IfThenElse(first, y0[g], y[g]), yThis = hn::IfThenElse(first, y[g], y0[g]);
        const VF qOther = hn::IfThenElse(first, q0[g], q),
                 share = hn::Mul(off, hn::IfThenElse(first, ratio, ratio0[g]));
        const VF rest = hn::NegMulAdd(share, yThis, yOther), room = hn::NegMulAdd(share, off, qOther);
        // Not for pairs of which one is missing, nor where fewer than two others would be left.
        const auto sound = hn::And(hn::And(hn::Gt(room, zero), hn::Gt(good[g], hn::Set(d, 3.5f))),
                                   hn::And(hn::Gt(q, tiny), hn::Gt(q0[g], tiny)));
        const VF adds = hn::Div(hn::Mul(rest, rest), hn::IfThenElse(sound, room, one));
        const VF fall2 = hn::IfThenElseZero(sound, hn::Add(hn::Max(fall, fall0[g]), hn::Sub(adds, penalty[g])));
        const auto better2 = hn::Gt(fall2, hn::Max(fall, best[g]));
        const auto better1 = hn::AndNot(better2, hn::Gt(fall, best[g]));
        best[g] = hn::IfThenElse(better2, fall2, hn::Max(fall, best[g]));
        at[g] = hn::IfThenElse(hn::Or(better1, better2), index, at[g]);
        pair[g] = hn::IfThenElse(better2, one, hn::IfThenElse(better1, zero, pair[g]));
        y0[g] = y[g];
        h0[g] = h[g];
        q0[g] = q;
        fall0[g] = fall;
        ratio0[g] = ratio;
      } else {
        const auto better = hn::Gt(fall, best[g]);
        best[g] = hn::IfThenElse(better, hn::Mul(fall, hn::Set(d, kClearly)), best[g]);
        at[g] = hn::IfThenElse(better, index, at[g]);
      }
    }
  }
  for (int g = 0; g < G; g++) {
    const VF rate = hn::Add(start[g], change[g]);
    const auto finite = hn::IsFinite(rate);
    found.rate[g] = hn::IfThenElse(finite, rate, start[g]);
    const VF least = hn::Mul(variance[g], hn::Set(d, params.oneThreshold * (kTwo ? 1.0f : kClearly)));
    found.hit[g] = hn::And(finite, hn::Gt(best[g], least));
    found.at[g] = at[g];
    found.pair[g] = pair[g];
  }
}

// Marks the pixels of whole ramps (ramp-inl.h) that leaving out some difference may mend: the only ones that have to be
// tested difference by difference. With u_k = b_k b_{m-k} everything has a closed form:
//
//   h_k = r u_k / (1 + r^m)        D_k - h_k^2 / c = h_k (2 B - (x B + 1/c) h_k),  B = (1 + r^m) / ((1 + r) b_m)
//   y_k = r (G_k - b_{m-k} (s / b_m + w b_k)),  G_k = f_k + r G_{k+1},  w = (change - (1 - r) s / b_m) / (1 + r^m)
//
// so the test, y_k^2 > threshold v (D_k - h_k^2 / c), takes a few multiply-adds and no division.
template <int G>
HWY_INLINE void Screen(DF d, const Params& params, int64_t planes, const VF* x, const VF* change, const VF* variance,
                       const Toeplitz* ramp, const Sums* sums, const float* HWY_RESTRICT work, Ahead& ahead,
                       hn::Mask<DF>* hit) {
  const VF zero = hn::Zero(d), one = hn::Set(d, 1.0f);
  VF first[G], each[G], most[G], fewer[G], solved[G], over[G];
  for (int g = 0; g < G; g++) {
    const VF r = ramp[g].r, bm = ramp[g].bm;
    const VF onePlus = hn::Add(one, ramp[g].rm), perOnePlus = hn::Div(one, onePlus);
    const VF limit = hn::Mul(variance[g], hn::Set(d, params.oneThreshold));
    const VF b = hn::Div(onePlus, hn::Mul(hn::Add(one, r), bm));
    first[g] = hn::Div(ramp[g].s, bm);
    each[g] = hn::Mul(perOnePlus, hn::NegMulAdd(ramp[g].rest, first[g], change[g]));
    most[g] = hn::Mul(limit, hn::Div(hn::Add(b, b), hn::Mul(r, onePlus)));
    fewer[g] =
        hn::Mul(hn::Mul(limit, hn::Mul(perOnePlus, perOnePlus)), hn::MulAdd(x[g], b, hn::Div(one, sums[g].ones)));
    solved[g] = zero;
    over[g] = hn::Set(d, -1.0f);
  }
  const float* w = work + 2 * G * kLanes * planes;  // f and b, from the last plane on
  const float* other = work + G * kLanes;           // b, from the first plane on
  for (int64_t k = planes - 1; k >= 0; k--, other += 2 * G * kLanes) {
    ahead.Step();
    w -= 2 * G * kLanes;
#pragma GCC unroll 4
    for (int g = 0; g < G; g++) {
      const VF b = hn::Load(d, w + (G + g) * kLanes), c = hn::Load(d, other + g * kLanes);
      solved[g] = hn::MulAdd(ramp[g].r, solved[g], hn::Load(d, w + g * kLanes));
      const VF y = hn::NegMulAdd(c, hn::MulAdd(each[g], b, first[g]), solved[g]);
      const VF u = hn::Mul(b, c);
      const VF limit = hn::Mul(u, hn::NegMulAdd(fewer[g], u, most[g]));
      over[g] = hn::Max(over[g], hn::MulSub(y, y, limit));
    }
  }
  for (int g = 0; g < G; g++) hit[g] = hn::Gt(over[g], zero);
}

// The few pixels with a jump wait here until a register is full of them, and are then tested until none has a hit.
struct Waiting {
  HWY_ALIGN float gain[kLanes];
  HWY_ALIGN float variance[kLanes];
  HWY_ALIGN float start[kLanes];
  float* diffs[kLanes];  // plane 0 of the pixel
  float* rate[kLanes];
  uint16_t* jumps[kLanes];
  int count = 0;
};

class Finder {
 public:
  explicit Finder(const KernelCall& call)
      : params_(ParamsOf(call)),
        diffs_(call.ports[kDiffs].view<float>()),
        gain_(call.ports[kGain].view<const float>()),
        variance_(call.ports[kReadVariance].view<const float>()),
        rate_(call.ports[kRate].view<float>()),
        jumps_(call.ports[kJumps].view<uint16_t>()),
        pack_(call.scratch.data),
        waitingDiffs_(pack_ + kLanes * diffs_.planes),
        work_(waitingDiffs_ + kLanes * diffs_.planes) {
    if (call.ahead != nullptr) ahead_ = *call.ahead;
  }

  void Run() {
    if (params_.twoOmit != 0) {
      ForPixels(diffs_.rows, diffs_.cols, [this](int64_t row, int64_t x, int count, auto groups) HWY_ATTR {
        Test<true, decltype(groups)::value>(row, x, count);
      });
    } else {
      ForPixels<kPair>(diffs_.rows, diffs_.cols, [this](int64_t row, int64_t x, int count, auto groups) HWY_ATTR {
        Test<false, decltype(groups)::value>(row, x, count);
      });
    }
    if (waiting_.count > 0) Again();
  }
  const Ahead& ahead() const { return ahead_; }

 private:
  template <bool kTwo, int G>
  void Test(int64_t row, int64_t x, int count) {
    const DF d;
    VF start[G], photons[G], variance[G];
    hn::Mask<DF> valid[G];
    for (int g = 0; g < G; g++) {
      const int64_t at = x + g * kLanes;
      const Noise noise(d, LoadPart(d, gain_.at(0, row) + at, count), LoadPart(d, variance_.at(0, row) + at, count));
      start[g] = LoadPart(d, rate_.at(0, row) + at, count);
      photons[g] = noise.Photons(d, start[g]);
      variance[g] = noise.variance;
      valid[g] = noise.valid;
    }
    const Planes in = PlanesOf(diffs_, row, x, count, pack_);
    Found<G> found;
    if constexpr (kTwo) {
      OmitPass<true, G>(d, params_, in, diffs_.planes, photons, start, variance, work_, ahead_, found);
    } else {
      Quick<G>(in, photons, start, variance, valid, found);
    }
    for (int g = 0; g < G; g++) {
      const int64_t at = x + g * kLanes;
      StorePart(d, hn::IfThenElse(valid[g], found.rate[g], start[g]), rate_.at(0, row) + at, count);
      StoreCounts(d, hn::Zero(d), jumps_.at(0, row) + at, count);
      const auto hit = hn::And(found.hit[g], valid[g]);
      if (HWY_LIKELY(hn::AllFalse(d, hit))) continue;
      uint8_t bits[8] = {};
      HWY_ALIGN float first[kLanes];
      hn::StoreMaskBits(d, hit, bits);
      hn::Store(start[g], d, first);
      for (int i = 0; i < count; i++) {
        if ((bits[i / 8] >> (i % 8) & 1) != 0) Wait(row, at + i, first[i]);
      }
    }
  }

  // The one-omit test of whole ramps at once, of the others difference by difference; only rate and hit are found.
  template <int G>
  HWY_INLINE void Quick(Planes in, const VF* photons, const VF* start, const VF* variance, const hn::Mask<DF>* valid,
                        Found<G>& found) {
    const DF d;
    Toeplitz ramp[G];
    Sums sums[G];
    VF change[G];
    WholeSums<false, true, G>(d, in, diffs_.planes, photons, start, work_, ahead_, ramp, sums);
    for (int g = 0; g < G; g++) {
      change[g] = hn::Div(sums[g].cross, sums[g].ones);
      found.rate[g] = hn::Add(start[g], change[g]);
    }
    Screen<G>(d, params_, diffs_.planes, photons, change, variance, ramp, sums, work_, ahead_, found.hit);
    for (int g = 0; g < G; g++) {
      const auto whole = hn::And(ramp[g].complete, hn::IsFinite(found.rate[g]));
      if (HWY_LIKELY(hn::AllTrue(d, hn::Or(whole, hn::Not(valid[g]))))) continue;
      Ahead none;
      Found<1> one;
      OmitPass<false, 1>(d, params_, {in.data + g * kLanes, in.stride}, diffs_.planes, photons + g, start + g,
                         variance + g, work_, none, one);
      found.rate[g] = hn::IfThenElse(whole, found.rate[g], one.rate[0]);
      found.hit[g] = hn::Or(hn::And(whole, found.hit[g]), hn::AndNot(whole, one.hit[0]));
    }
  }

  void Wait(int64_t row, int64_t x, float start) {
    Waiting& w = waiting_;
    w.gain[w.count] = gain_.at(0, row)[x];
    w.variance[w.count] = variance_.at(0, row)[x];
    w.start[w.count] = start;
    w.diffs[w.count] = diffs_.at(0, row) + x;
    w.rate[w.count] = rate_.at(0, row) + x;
    w.jumps[w.count] = jumps_.at(0, row) + x;
    const float* from = diffs_.at(0, row) + x;
    float* to = waitingDiffs_ + w.count;
    for (int64_t k = 0; k < diffs_.planes; k++, from += diffs_.planeStride, to += kLanes) *to = *from;
    if (++w.count == kLanes) Again();
  }

  // Two differences decide nothing between them, so a ramp is tested while it has three, and a pair while it has four.
  bool Drop(int i, float good, int64_t at, bool pair) {
    if (good < (pair ? 4 : 3)) return false;
    for (int64_t k = at; k <= at + pair; k++) {
      waitingDiffs_[k * kLanes + i] = waiting_.diffs[i][k * diffs_.planeStride] = kMissing;
    }
    *waiting_.jumps[i] = static_cast<uint16_t>(*waiting_.jumps[i] + (pair ? 2 : 1));
    return true;
  }

  HWY_NOINLINE void Again() {
    const DF d;
    const int64_t planes = diffs_.planes;
    Waiting& w = waiting_;
    for (int i = w.count; i < kLanes; i++) {  // spare lanes repeat the first
      w.gain[i] = w.gain[0];
      w.variance[i] = w.variance[0];
      w.start[i] = w.start[0];
      for (int64_t k = 0; k < planes; k++) waitingDiffs_[k * kLanes + i] = waitingDiffs_[k * kLanes];
    }
    Ahead none;
    const Planes in = {waitingDiffs_, kLanes};
    const Noise noise(d, hn::Load(d, w.gain), hn::Load(d, w.variance));
    VF start = hn::Load(d, w.start);
    for (uint32_t open = (1u << w.count) - 1; open != 0;) {
      const VF photons = noise.Photons(d, start);
      Found<1> found;
      if (params_.twoOmit != 0) {
        OmitPass<true, 1>(d, params_, in, planes, &photons, &start, &noise.variance, work_, none, found);
      } else {
        OmitPass<false, 1>(d, params_, in, planes, &photons, &start, &noise.variance, work_, none, found);
      }
      Trimmed all;
      AddPlanes<1>(d, in, planes, none, &all);
      uint8_t bits[8] = {};
      HWY_ALIGN float worst[kLanes], pair[kLanes], rate[kLanes], good[kLanes];
      hn::StoreMaskBits(d, found.hit[0], bits);
      hn::Store(found.at[0], d, worst);
      hn::Store(found.pair[0], d, pair);
      hn::Store(found.rate[0], d, rate);
      hn::Store(all.n, d, good);
      for (int i = 0; i < w.count; i++) {
        if ((open >> i & 1) == 0) continue;
        const bool hit = (bits[i / 8] >> (i % 8) & 1) != 0;
        if (hit && Drop(i, good[i], static_cast<int64_t>(worst[i]), pair[i] != 0)) continue;
        *w.rate[i] = rate[i];
        open &= ~(1u << i);
      }
      // The estimate that the photon noise comes from forgets the difference dropped: a trimmed mean of the rest.
      if (open == 0) break;
      AddPlanes<1>(d, in, planes, none, &all);
      start = all.Mean(d);
    }
    w.count = 0;
  }

  const Params& params_;
  View<float> diffs_;
  View<const float> gain_, variance_;
  View<float> rate_;
  View<uint16_t> jumps_;
  float *pack_, *waitingDiffs_, *work_;
  Ahead ahead_;
  Waiting waiting_;
};

Status FindJumps(const KernelCall& call) {
  Finder finder(call);
  finder.Run();
  if (call.ahead != nullptr) *call.ahead = finder.ahead();
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::find_jumps {
namespace {
HWY_EXPORT(FindJumps);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(FindJumps)(call); }
}  // namespace rampline::find_jumps
#endif
