// A plain pass makes all sums; only registers with a value beyond the cut, which are few, are gone through again.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/gather-variances/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "generated/gather-variances.h"
#include "native/core/ramp-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
using namespace ramp;                        // NOLINT: short names for what this kernel is made of
using namespace rampline::gather_variances;  // NOLINT: the generated ports and parameters

constexpr float kMost = std::numeric_limits<float>::max();

// Sums over the second differences of a row of an amplifier that are within `limit` of `centre`.
struct Moments {
  float n, sum, squares;
};
Moments Sum(const float* before, const float* after, int64_t size, float centre, float limit) {
  const DF d;
  const VF middle = hn::Set(d, centre), most = hn::Set(d, limit), one = hn::Set(d, 1.0f);
  VF n = hn::Zero(d), sum = n, squares = n;
  for (int64_t x = 0; x < size; x += kLanes) {
    const int count = static_cast<int>(std::min<int64_t>(kLanes, size - x));
    const VF e = hn::Sub(hn::Sub(LoadPart(d, after + x, count), LoadPart(d, before + x, count)), middle);
    const auto good = hn::And(hn::Le(hn::Abs(e), most), hn::FirstN(d, static_cast<size_t>(count)));
    const VF kept = hn::IfThenElseZero(good, e);
    n = hn::Add(n, hn::IfThenElseZero(good, one));
    sum = hn::Add(sum, kept);
    squares = hn::MulAdd(kept, kept, squares);
  }
  return {hn::GetLane(hn::SumOfLanes(d, n)), hn::GetLane(hn::SumOfLanes(d, sum)),
          hn::GetLane(hn::SumOfLanes(d, squares))};
}

struct Half {
  VF count, mean, variance;  // the latter two are doubled
};

struct Gathered {
  Half half[2];
  VF most, second;

  HWY_INLINE VF Count() const { return hn::Add(half[0].count, half[1].count); }
  HWY_INLINE VF Squares() const { return hn::Add(half[0].variance, half[1].variance); }
};

class Gatherer {
 public:
  explicit Gatherer(const KernelCall& call)
      : diffs_(call.ports[kDiffs].view<const float>()),
        counts_(call.ports[kCounts].view<const float>()),
        c2_(call.ports[kC2].view<const float>()),
        c3_(call.ports[kC3].view<const float>()),
        limit_(call.ports[kLimit].view<const float>()),
        sums_(call.ports[kSums].view<float>()),
        linear_(counts_.data == nullptr || c2_.data == nullptr || c3_.data == nullptr || limit_.data == nullptr),
        clip_(ParamsOf(call).clip),
        values_(diffs_.planes - 1),
        common_(call.scratch.data),
        factor_(call.scratch.data + diffs_.planes) {}

  // One row of one amplifier.
  void Run(int64_t row, int64_t from, int64_t to) {
    for (int64_t k = 0; k < values_; k++) FindCommon(row, from, to - from, k);
    for (int64_t x = from; x < to; x += kLanes) {
      const int count = static_cast<int>(std::min<int64_t>(kLanes, to - x));
      if (linear_) {
        Pixels<true>(row, x, count);
      } else {
        Pixels<false>(row, x, count);
      }
    }
  }

 private:
  void FindCommon(int64_t row, int64_t from, int64_t size, int64_t k) {
    const float *before = diffs_.at(k, row) + from, *after = diffs_.at(k + 1, row) + from;
    common_[k] = 0;
    factor_[k] = 1;
    const Moments all = Sum(before, after, size, 0, kMost);
    if (all.n < 8) return;
    const float mean = all.sum / all.n, spread = std::sqrt(std::max(all.squares / all.n - mean * mean, 0.0f));
    const Moments rest = Sum(before, after, size, mean, std::max(4 * spread, 0.1f));
    if (rest.n == 0) return;
    common_[k] = mean + rest.sum / rest.n;
    factor_[k] = all.n / (all.n - 1);
  }

  // The sums of the values whose square is not above `limit`; missing values are none of them.
  template <bool kLinear, bool kLargest>
  HWY_INLINE void Gather(int64_t row, int64_t x, int count, VF limit, Gathered& out) {
    const DF d;
    const VF zero = hn::Zero(d), one = hn::Set(d, 1.0f);
    VF c2 = zero, c3 = zero, most = zero;
    if constexpr (!kLinear) {
      c2 = hn::Mul(hn::Set(d, 2.0f), LoadPart(d, c2_.at(0, row) + x, count));
      c3 = hn::Mul(hn::Set(d, 3.0f), LoadPart(d, c3_.at(0, row) + x, count));
      most = LoadPart(d, limit_.at(0, row) + x, count);
    }
    out.most = out.second = zero;
    const int64_t half = values_ > 2 ? (values_ - 2) / 2 : 0;
    for (int h = 0; h < 2; h++) {
      VF number = zero, mean = zero, variance = zero;
      // Two values between the halves share reads with both.
      const int64_t begin = h == 0 ? 0 : half + 2, end = h == 0 ? half : values_;
      VF before = begin < end ? LoadPart(d, diffs_.at(begin, row) + x, count) : zero;
      for (int64_t k = begin; k < end; k++) {
        const VF after = LoadPart(d, diffs_.at(k + 1, row) + x, count);
        const VF e = hn::Sub(hn::Sub(after, before), hn::Set(d, common_[k]));
        const VF square = hn::Mul(hn::Mul(e, e), hn::Set(d, factor_[k]));
        VF rate = hn::Add(before, after);
        auto good = hn::Le(square, limit);
        if constexpr (!kLinear) {
          const VF at = LoadPart(d, counts_.at(k + 1, row) + x, count);
          const VF slope = hn::MulAdd(at, hn::MulAdd(c3, at, c2), one);
          good = hn::And(good, hn::And(hn::Gt(slope, hn::Set(d, 0.1f)), hn::Le(at, most)));
          rate = hn::Div(rate, slope);
        }
        const VF kept = hn::IfThenElseZero(good, square);
        number = hn::Add(number, hn::IfThenElseZero(good, one));
        mean = hn::Add(mean, hn::IfThenElseZero(good, rate));
        variance = hn::Add(variance, kept);
        if constexpr (kLargest) {
          out.second = hn::Max(out.second, hn::Min(out.most, kept));
          out.most = hn::Max(out.most, kept);
        }
        before = after;
      }
      out.half[h] = {number, mean, variance};
    }
  }

  template <bool kLinear>
  HWY_INLINE void Pixels(int64_t row, int64_t x, int count) {
    const DF d;
    const VF one = hn::Set(d, 1.0f), square = hn::Set(d, clip_ * clip_), all = hn::Set(d, kMost);
    Gathered sum;
    Gather<kLinear, true>(row, x, count, all, sum);
    const VF n = sum.Count();
    const VF rest = hn::Sub(sum.Squares(), hn::Add(sum.most, sum.second));
    const auto enough = hn::Ge(n, hn::Set(d, 5.0f));
    const VF others = hn::Max(hn::Sub(n, hn::Set(d, 2.0f)), one);
    const VF first = hn::IfThenElse(enough, hn::Div(hn::Mul(square, rest), others), all);
    if (HWY_UNLIKELY(!hn::AllTrue(d, hn::Le(sum.most, first)))) {
      Gather<kLinear, false>(row, x, count, first, sum);
      const VF mean = hn::Div(hn::Mul(square, sum.Squares()), hn::Max(sum.Count(), one));
      Gather<kLinear, false>(row, x, count, hn::IfThenElse(enough, mean, all), sum);
    }
    const VF half = hn::Set(d, 0.5f);
    for (int h = 0; h < 2; h++) {
      const VF parts[3] = {sum.half[h].count, hn::Mul(half, sum.half[h].mean), hn::Mul(half, sum.half[h].variance)};
      for (int i = 0; i < 3; i++) {
        float* to = sums_.at(3 * h + i, row) + x;
        StorePart(d, hn::Add(LoadPart(d, to, count), parts[i]), to, count);
      }
    }
  }

  View<const float> diffs_, counts_, c2_, c3_, limit_;
  View<float> sums_;
  bool linear_;
  float clip_;
  int64_t values_;
  float *common_, *factor_;
};

Status GatherVariances(const KernelCall& call) {
  const Array& diffs = call.ports[kDiffs];
  if (diffs.planes < 2) return Ok();
  Gatherer gatherer(call);
  const int64_t width = ParamsOf(call).amplifierCols, end = call.origin.x + diffs.cols;
  if (call.origin.x % width != 0 || (end % width != 0 && end != call.whole.cols)) {
    return Fail(Code::kUsage, "a block must hold whole rows of amplifiers", -1, width, diffs.cols);
  }
  for (int64_t row = 0; row < diffs.rows; row++) {
    for (int64_t x = 0; x < diffs.cols; x += width) gatherer.Run(row, x, std::min(x + width, diffs.cols));
  }
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::gather_variances {
namespace {
HWY_EXPORT(GatherVariances);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(GatherVariances)(call); }
}  // namespace rampline::gather_variances
#endif
