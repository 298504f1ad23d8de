// The clip at so many interquartile ranges above the mean. Quartiles need a sort, but few pixels need quartiles: where
// counting shows that the range between them is wide enough to keep even the largest difference, nothing is dropped.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/clip-jumps/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <limits>

#include "generated/clip-jumps.h"
#include "native/core/ramp-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
using namespace ramp;                  // NOLINT: short names for what this kernel is made of
using namespace rampline::clip_jumps;  // NOLINT: the generated ports and parameters

constexpr float kMissing = std::numeric_limits<float>::quiet_NaN();
constexpr float kIqrOfSigma = 1.34896f;  // interquartile range of a normal distribution with sigma 1

using Count = hn::Vec<hn::RebindToSigned<DF>>;

// One more where the mask is set: a masked add where there is one, elsewhere the mask itself is -1.
HWY_INLINE Count CountOne(DF d, hn::Mask<DF> where, Count count) {
  const hn::RebindToSigned<DF> di;
#if HWY_TARGET <= HWY_AVX3
  return hn::IfThenElse(hn::RebindMask(di, where), hn::Add(count, hn::Set(di, 1)), count);
#else
  return hn::Sub(count, hn::BitCast(di, hn::VecFromMask(d, where)));
#endif
}

// Sorts n registers in each lane: Batcher's merge exchange (Knuth, The Art of Computer Programming 3, 5.2.2 M).
void SortLanes(DF d, float* v, int64_t n) {
  const auto exchange = [&](int64_t i, int64_t j) HWY_ATTR {
    const VF a = hn::Load(d, v + i * kLanes), b = hn::Load(d, v + j * kLanes);
    hn::Store(hn::Min(a, b), d, v + i * kLanes);
    hn::Store(hn::Max(a, b), d, v + j * kLanes);
  };
  int64_t top = 1;
  while (2 * top < n) top *= 2;
  for (int64_t p = top; p > 0; p /= 2) {
    int64_t q = top, r = 0, step = p;
    for (;;) {
      for (int64_t run = r; run + step < n; run += 2 * p) {  // the i with i & p = r
        for (int64_t i = run; i < std::min(run + p, n - step); i++) exchange(i, i + step);
      }
      if (q == p) break;
      step = q - p;
      q /= 2;
      r = p;
    }
  }
}

class Clipper {
 public:
  explicit Clipper(const KernelCall& call)
      : sigmas_(ParamsOf(call).sigmas),
        diffs_(call.ports[kDiffs].view<float>()),
        rate_(call.ports[kRate].view<float>()),
        jumps_(call.ports[kJumps].view<uint16_t>()),
        pack_(call.scratch.data),
        sorted_(call.scratch.data + kLanes * diffs_.planes) {
    if (call.ahead != nullptr) ahead_ = *call.ahead;
  }

  void Run() {
    ForPixels(diffs_.rows, diffs_.cols, [this](int64_t row, int64_t x, int count, auto groups) HWY_ATTR {
      Test<decltype(groups)::value>(row, x, count);
    });
    if (count_ > 0) Sort();
  }
  const Ahead& ahead() const { return ahead_; }

 private:
  template <int G>
  void Test(int64_t row, int64_t x, int count) {
    const DF d;
    const VF zero = hn::Zero(d), one = hn::Set(d, 1.0f);
    const Planes in = PlanesOf(diffs_, row, x, count, pack_);
    Trimmed all[G];
    AddPlanes<G>(d, in, diffs_.planes, ahead_, all);
    // The range that just keeps the largest difference, with a margin for rounding, laid around the mean.
    VF low[G], high[G];
    Count below[G], above[G];
    for (int g = 0; g < G; g++) {
      const VF mean = hn::Div(all[g].sum, hn::Max(all[g].n, one));
      const VF half = hn::Mul(hn::Sub(all[g].most, mean), hn::Set(d, 0.5f * 1.001f * kIqrOfSigma / sigmas_));
      low[g] = hn::Sub(mean, half);
      high[g] = hn::Add(mean, half);
      below[g] = above[g] = hn::Zero(hn::RebindToSigned<DF>());
    }
    const float* plane = in.data;
    for (int64_t k = 0; k < diffs_.planes; k++, plane += in.stride) {
      ahead_.Step();
#pragma GCC unroll 4
      for (int g = 0; g < G; g++) {
        const VF v = hn::LoadU(d, plane + g * kLanes);
        below[g] = CountOne(d, hn::Le(v, low[g]), below[g]);
        above[g] = CountOne(d, hn::Ge(v, high[g]), above[g]);
      }
    }
    for (int g = 0; g < G; g++) {
      const int64_t at = x + g * kLanes;
      StorePart(d, all[g].Mean(d), rate_.at(0, row) + at, count);
      StoreCounts(d, zero, jumps_.at(0, row) + at, count);
      // A quartile lies between the values of ranks floor and ceil of (n - 1)/4 from its end; the outer one suffices when
      // ranks 0 .. ceil are all beyond the bound.
      const VF need = hn::Add(hn::Ceil(hn::Mul(hn::Sub(all[g].n, one), hn::Set(d, 0.25f))), one);
      const auto wide = hn::And(hn::Ge(hn::ConvertTo(d, hn::Min(below[g], above[g])), need), hn::Lt(low[g], high[g]));
      const auto ask = hn::AndNot(wide, hn::Gt(all[g].n, hn::Set(d, 2.0f)));
      if (HWY_LIKELY(hn::AllFalse(d, ask))) continue;
      uint8_t bits[8] = {};
      hn::StoreMaskBits(d, ask, bits);
      for (int i = 0; i < count; i++) {
        if ((bits[i / 8] >> (i % 8) & 1) == 0) continue;
        waitingDiffs_[count_] = diffs_.at(0, row) + at + i;
        waitingRate_[count_] = rate_.at(0, row) + at + i;
        waitingJumps_[count_] = jumps_.at(0, row) + at + i;
        if (++count_ == kLanes) Sort();
      }
    }
  }

  // A register of pixels with the test as it is defined. Missing differences sort to the end.
  HWY_NOINLINE void Sort() {
    const DF d;
    const int64_t planes = diffs_.planes;
    const VF infinity = hn::Set(d, std::numeric_limits<float>::infinity());
    for (int i = count_; i < kLanes; i++) waitingDiffs_[i] = waitingDiffs_[0];
    Trimmed all;
    all.Clear(d);
    for (int64_t k = 0; k < planes; k++) {
      for (int i = 0; i < kLanes; i++) pack_[k * kLanes + i] = waitingDiffs_[i][k * diffs_.planeStride];
    }
    // In a loop of its own: a register loaded right after the writes of its parts would wait for them.
    for (int64_t k = 0; k < planes; k++) {
      const VF v = hn::Load(d, pack_ + k * kLanes);
      all.Add(d, v);
      hn::Store(hn::IfThenElse(hn::Eq(v, v), v, infinity), d, sorted_ + k * kLanes);
    }
    SortLanes(d, sorted_, planes);
    HWY_ALIGN float n[kLanes], sum[kLanes], cut[kLanes];
    hn::Store(all.n, d, n);
    hn::Store(all.sum, d, sum);
    for (int i = 0; i < kLanes; i++) {
      const float mean = sum[i] / n[i];
      const auto quantile = [&](float fraction) {  // type 7: linear between the ranks around (n - 1) fraction
        const float h = (n[i] - 1) * fraction;
        const int64_t rank = static_cast<int64_t>(h);
        const float a = sorted_[rank * kLanes + i];
        const float b = sorted_[std::min<int64_t>(rank + 1, static_cast<int64_t>(n[i]) - 1) * kLanes + i];
        return a + (h - static_cast<float>(rank)) * (b - a);
      };
      const float iqr = quantile(0.75f) - quantile(0.25f);
      cut[i] = iqr > 0 ? sigmas_ / kIqrOfSigma * iqr + mean : std::numeric_limits<float>::infinity();
    }
    const VF limit = hn::Load(d, cut);
    Trimmed rest;
    rest.Clear(d);
    VF dropped = hn::Zero(d);
    for (int64_t k = 0; k < planes; k++) {
      const VF v = hn::Load(d, pack_ + k * kLanes);
      const auto out = hn::Ge(v, limit);
      rest.Add(d, hn::IfThenElse(out, hn::NaN(d), v));
      if (HWY_LIKELY(hn::AllFalse(d, out))) continue;
      dropped = hn::Add(dropped, hn::IfThenElseZero(out, hn::Set(d, 1.0f)));
      uint8_t bits[8] = {};
      hn::StoreMaskBits(d, out, bits);
      for (int i = 0; i < count_; i++) {
        if ((bits[i / 8] >> (i % 8) & 1) != 0) waitingDiffs_[i][k * diffs_.planeStride] = kMissing;
      }
    }
    HWY_ALIGN float mean[kLanes], number[kLanes];
    hn::Store(rest.Mean(d), d, mean);
    hn::Store(dropped, d, number);
    for (int i = 0; i < count_; i++) {
      *waitingRate_[i] = mean[i];
      *waitingJumps_[i] = static_cast<uint16_t>(number[i]);
    }
    count_ = 0;
  }

  float sigmas_;
  View<float> diffs_, rate_;
  View<uint16_t> jumps_;
  float *pack_, *sorted_;
  Ahead ahead_;
  // Pixels wait here until a register is full of them.
  float *waitingDiffs_[kLanes], *waitingRate_[kLanes];
  uint16_t* waitingJumps_[kLanes];
  int count_ = 0;
};

Status ClipJumps(const KernelCall& call) {
  Clipper clipper(call);
  clipper.Run();
  if (call.ahead != nullptr) *call.ahead = clipper.ahead();
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::clip_jumps {
namespace {
HWY_EXPORT(ClipJumps);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(ClipJumps)(call); }
}  // namespace rampline::clip_jumps
#endif
