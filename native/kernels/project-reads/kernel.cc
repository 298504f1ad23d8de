#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/project-reads/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "generated/project-reads.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;
using namespace rampline::project_reads;  // NOLINT: the generated ports and parameters

struct Ports {
  View<const float> counts, table, gain, variance;
  View<float> terms;
};

template <class D>
HWY_INLINE void Pixels(D d, const Ports& p, const Params& params, int64_t row, int64_t x) {
  using V = hn::Vec<D>;
  const int64_t planes = p.counts.planes;
  const auto read = [&](int64_t k) { return hn::LoadU(d, p.counts.at(k, row) + x); };
  V t0 = hn::Zero(d), t1 = t0, t2 = t0, t3 = t0;
  for (int64_t k = 0; k < planes; k++) {
    const float* q = p.table.at(k, 0);
    const V c = read(k);
    t0 = hn::MulAdd(hn::Set(d, q[0]), c, t0);
    t1 = hn::MulAdd(hn::Set(d, q[1]), c, t1);
    t2 = hn::MulAdd(hn::Set(d, q[2]), c, t2);
    t3 = hn::MulAdd(hn::Set(d, q[3]), c, t3);
  }
  const int64_t tested = planes - 1 - params.from;
  if (params.clip > 0.0f && tested >= 3) {
    const V g = hn::LoadU(d, p.gain.at(0, row) + x), s = hn::LoadU(d, p.variance.at(0, row) + x);
    const V mean =
        hn::Abs(hn::Mul(hn::Sub(read(planes - 1), read(params.from)), hn::Set(d, 1.0f / static_cast<float>(tested))));
    const V photons = hn::Div(mean, g), clip = hn::Set(d, params.clip), half = hn::Set(d, 0.5f);
    const V inner = hn::Mul(clip, hn::Sqrt(hn::MulAdd(hn::Set(d, 5.0f), s, hn::Mul(hn::Set(d, 1.5f), photons))));
    const V outer = hn::MulAdd(clip, hn::Sqrt(hn::MulAdd(hn::Set(d, 6.0f), s, hn::Mul(hn::Set(d, 2.0f), photons))),
                               hn::Mul(hn::Set(d, 0.1f), mean));
    V a = read(params.from), b = read(params.from + 1), c = read(params.from + 2);
    V before = hn::Sub(b, a), now = hn::Sub(c, b);
    auto jumps = hn::Gt(hn::Abs(hn::Sub(before, now)), outer);
    for (int64_t k = params.from + 3; k < planes; k++) {
      const V next = read(k), after = hn::Sub(next, c);
      const V off = hn::Sub(now, hn::Mul(half, hn::Add(before, after)));
      jumps = hn::Or(jumps, hn::Gt(hn::Abs(off), inner));
      before = now, now = after, c = next;
    }
    jumps = hn::Or(jumps, hn::Gt(hn::Abs(hn::Sub(before, now)), outer));
    t0 = hn::IfThenElse(jumps, hn::NaN(d), t0);
  }
  // A missing read is missing in every term, also in one that gives it no weight: 0 times NaN is NaN.
  const auto good = hn::Eq(t0, t0);
  const V missing = hn::NaN(d);
  hn::StoreU(t0, d, p.terms.at(0, row) + x);
  hn::StoreU(hn::IfThenElse(good, t1, missing), d, p.terms.at(1, row) + x);
  hn::StoreU(hn::IfThenElse(good, t2, missing), d, p.terms.at(2, row) + x);
  hn::StoreU(hn::IfThenElse(good, t3, missing), d, p.terms.at(3, row) + x);
}

Status RunTarget(const KernelCall& call) {
  const Ports p{call.ports[kCounts].view<const float>(), call.ports[kTable].view<const float>(),
                call.ports[kGain].view<const float>(), call.ports[kReadVariance].view<const float>(),
                call.ports[kTerms].view<float>()};
  const Params& params = ParamsOf(call);
  const hn::ScalableTag<float> d;
  const hn::CappedTag<float, 1> d1;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t row = 0; row < p.counts.rows; row++) {
    int64_t x = 0;
    for (; x + n <= p.counts.cols; x += n) Pixels(d, p, params, row, x);
    for (; x < p.counts.cols; x++) Pixels(d1, p, params, row, x);
  }
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline {
HWY_EXPORT(RunTarget);
Status project_reads::Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(RunTarget)(call); }
}  // namespace rampline
#endif
