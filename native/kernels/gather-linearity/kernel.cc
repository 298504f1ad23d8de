#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/gather-linearity/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <limits>

#include "generated/gather-linearity.h"
#include "native/core/ramp-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
using namespace ramp;                        // NOLINT: short names for what this kernel is made of
using namespace rampline::gather_linearity;  // NOLINT: the generated ports and parameters

constexpr float kMost = std::numeric_limits<float>::max();

class Gatherer {
 public:
  explicit Gatherer(const KernelCall& call)
      : params_(ParamsOf(call)),
        counts_(call.ports[kCounts].view<const float>()),
        sums_(call.ports[kSums].view<float>()),
        n_(counts_.planes - 1) {}

  void Run() {
    if (n_ < 8) return;
    ForPixels<1>(counts_.rows, counts_.cols,
                 [this](int64_t row, int64_t x, int count, auto) HWY_ATTR { Pixels(row, x, count); });
  }

 private:
  HWY_INLINE VF Read(int64_t k, int64_t row, int64_t x, int count) const {
    return LoadPart(DF(), counts_.at(k, row) + x, count);
  }

  // Sum and number of the squares of second differences up to `limit`, and the two largest.
  struct Squares {
    VF n, sum, most, second;
  };
  HWY_INLINE Squares SumSquares(int64_t row, int64_t x, int count, VF limit) const {
    const DF d;
    const VF zero = hn::Zero(d), one = hn::Set(d, 1.0f);
    Squares out{zero, zero, zero, zero};
    VF b = Read(1, row, x, count), before = hn::Sub(b, Read(0, row, x, count));
    for (int64_t k = 1; k < n_; k++) {
      const VF c = Read(k + 1, row, x, count), after = hn::Sub(c, b), e = hn::Sub(after, before);
      const VF square = hn::Mul(e, e);
      const auto good = hn::Le(square, limit);
      const VF kept = hn::IfThenElseZero(good, square);
      out.n = hn::Add(out.n, hn::IfThenElseZero(good, one));
      out.sum = hn::Add(out.sum, kept);
      out.second = hn::Max(out.second, hn::Min(out.most, kept));
      out.most = hn::Max(out.most, kept);
      b = c;
      before = after;
    }
    return out;
  }

  HWY_INLINE void Pixels(int64_t row, int64_t x, int count) {
    const DF d;
    const VF zero = hn::Zero(d), one = hn::Set(d, 1.0f), half = hn::Set(d, 0.5f), all = hn::Set(d, kMost);
    // Where jumps begin
    const Squares plain = SumSquares(row, x, count, all);
    const VF clip2 = hn::Set(d, params_.clip * params_.clip);
    const VF rest = hn::Sub(plain.sum, hn::Add(plain.most, plain.second));
    const VF others = hn::Max(hn::Sub(plain.n, hn::Set(d, 2.0f)), one);
    const VF first = hn::Div(hn::Mul(clip2, rest), others);
    const auto hit = hn::AndNot(hn::Le(plain.most, first), hn::Ge(plain.n, hn::Set(d, 5.0f)));
    VF limit = all, variance = hn::Div(hn::Mul(half, plain.sum), hn::Max(plain.n, one));
    if (HWY_UNLIKELY(!hn::AllFalse(d, hit))) {
      const Squares kept = SumSquares(row, x, count, first);
      const VF mean = hn::Div(kept.sum, hn::Max(kept.n, one));
      limit = hn::IfThenElse(hit, hn::Mul(clip2, mean), limit);
      variance = hn::IfThenElse(hit, hn::Mul(half, mean), variance);
    }
    // Where the pixel is full
    const VF c0 = Read(0, row, x, count), c2 = Read(2, row, x, count), c4 = Read(4, row, x, count);
    const VF early = hn::Sub(c2, c0), late = hn::Sub(c4, c2);  // late may be missing
    const VF level = hn::Mul(half, hn::IfThenElse(hn::Lt(late, early), late, early));
    const VF noise = hn::Mul(hn::Set(d, 6.0f), hn::Sqrt(variance));
    const VF least = hn::Min(hn::Mul(half, level), hn::Sub(level, noise));

    const VF perUnit = hn::Set(d, 1.0f / params_.unit);
    VF m = zero, t1 = zero, t2 = zero, t3 = zero, t4 = zero, most = zero, s[3][3];
    for (auto& line : s) line[0] = line[1] = line[2] = zero;
    VF from = c0, to = Read(1, row, x, count), now = hn::Sub(to, from);
    // A missing minimum is no good; Ge is false for it.
    auto alive = hn::Ge(now, least), smooth = hn::Eq(zero, zero);
    for (int64_t k = 0; k < n_; k++) {
      const bool last = k + 1 == n_;
      const VF beyond = last ? to : Read(k + 2, row, x, count), next = hn::Sub(beyond, to), e = hn::Sub(next, now);
      const auto smoothNext = last ? hn::Eq(zero, zero) : hn::Not(hn::Gt(hn::Mul(e, e), limit));
      if (!last) alive = hn::And(alive, hn::Ge(next, least));
      const auto used = hn::And(alive, hn::And(smooth, smoothNext));
      const VF t = hn::Set(d, static_cast<float>(k) - 0.5f * static_cast<float>(n_ - 1)), tt = hn::Mul(t, t);
      const VF a = hn::Mul(from, perUnit), b = hn::Mul(to, perUnit), step = hn::Mul(now, perUnit);
      const VF terms[3] = {step, hn::Mul(step, hn::Add(b, a)),
                           hn::Mul(step, hn::MulAdd(b, b, hn::MulAdd(a, b, hn::Mul(a, a))))};
      for (int j = 0; j < 3; j++) {
        const VF term = hn::IfThenElseZero(used, terms[j]);
        s[0][j] = hn::Add(s[0][j], term);
        s[1][j] = hn::MulAdd(t, term, s[1][j]);
        s[2][j] = hn::MulAdd(tt, term, s[2][j]);
      }
      m = hn::Add(m, hn::IfThenElseZero(used, one));
      t1 = hn::Add(t1, hn::IfThenElseZero(used, t));
      t2 = hn::Add(t2, hn::IfThenElseZero(used, tt));
      t3 = hn::Add(t3, hn::IfThenElseZero(used, hn::Mul(t, tt)));
      t4 = hn::Add(t4, hn::IfThenElseZero(used, hn::Mul(tt, tt)));
      most = hn::Max(most, hn::IfThenElseZero(used, to));
      from = to;
      to = beyond;
      now = next;
      smooth = smoothNext;
    }
    float* highest = sums_.at(10, row) + x;
    StorePart(d, hn::Max(LoadPart(d, highest, count), most), highest, count);
    float* ended = sums_.at(11, row) + x;
    StorePart(d, hn::Add(LoadPart(d, ended, count), hn::IfThenElse(alive, zero, one)), ended, count);
    const auto enough = hn::And(hn::Ge(m, hn::Set(d, 8.0f)), hn::Gt(level, noise));
    if (HWY_UNLIKELY(hn::AllFalse(d, enough))) return;
    const VF safe = hn::Max(m, one), r = hn::Max(hn::Div(s[0][0], safe), zero), rr = hn::Mul(r, r),
             rrr = hn::Mul(r, rr);
    const VF mean[2] = {hn::Div(t1, safe), hn::Div(t2, safe)}, weight[2] = {r, rr};
    const auto add = [&](int64_t plane, VF value) HWY_ATTR {
      float* at = sums_.at(plane, row) + x;
      StorePart(d, hn::Add(LoadPart(d, at, count), hn::IfThenElseZero(enough, value)), at, count);
    };
    const auto centred = [&](int i, int j)
                             HWY_ATTR { return hn::Mul(weight[i], hn::NegMulAdd(mean[i], s[0][j], s[i + 1][j])); };
    for (int i = 0; i < 2; i++) {
      add(2 * i, centred(i, 1));
      add(2 * i + 1, centred(i, 2));
      add(4 + i, centred(i, 0));
    }
    add(6, hn::Mul(rrr, hn::NegMulAdd(mean[0], t1, t2)));
    add(7, hn::Mul(hn::Mul(rrr, r), hn::NegMulAdd(mean[0], t2, t3)));
    add(8, hn::Mul(hn::Mul(rrr, rr), hn::NegMulAdd(mean[1], t2, t4)));
    add(9, m);
  }

  const Params& params_;
  View<const float> counts_;
  View<float> sums_;
  int64_t n_;
};

Status GatherLinearity(const KernelCall& call) {
  Gatherer(call).Run();
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::gather_linearity {
namespace {
HWY_EXPORT(GatherLinearity);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(GatherLinearity)(call); }
}  // namespace rampline::gather_linearity
#endif
