// Float64 lanes: the sums are of millions of values of either sign.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/judge-rates/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "generated/judge-rates.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;
using namespace rampline::judge_rates;  // NOLINT: the generated ports and parameters

template <class D>
HWY_INLINE hn::Vec<D> LoadFloat(D d, const float* from) {
  return hn::PromoteTo(d, hn::LoadU(hn::Rebind<float, D>(), from));
}

struct Rows {
  const float *rate, *error, *chi2, *truth;
  const uint16_t* diffs;
  const uint32_t* dq;
};

template <class D>
HWY_INLINE void Add(D d, const Rows& in, int64_t x, uint32_t skip, double limit, double* sums) {
  const hn::Rebind<int32_t, D> di;
  const hn::Rebind<uint16_t, D> d16;
  const auto r = LoadFloat(d, in.rate + x), e = LoadFloat(d, in.error + x);
  const auto c = LoadFloat(d, in.chi2 + x), t = LoadFloat(d, in.truth + x);
  const auto n = hn::PromoteTo(d, hn::PromoteTo(di, hn::LoadU(d16, in.diffs + x)));
  const auto bits =
      hn::And(hn::LoadU(di, reinterpret_cast<const int32_t*>(in.dq) + x), hn::Set(di, static_cast<int32_t>(skip)));
  const auto flagged = hn::PromoteTo(d, bits);  // 0 exactly where no bit is set
  const auto big = hn::Set(d, static_cast<double>(1e18f)), small = hn::Set(d, static_cast<double>(1e-18f));
  auto use = hn::And(hn::Eq(flagged, hn::Zero(d)), hn::Ge(n, hn::Set(d, 2.0)));
  use = hn::And(use, hn::And(hn::Lt(hn::Abs(r), big), hn::Lt(hn::Abs(c), big)));
  use = hn::And(use, hn::And(hn::Lt(hn::Abs(t), big), hn::And(hn::Gt(e, small), hn::Lt(e, big))));
  const auto z = hn::Div(hn::Sub(r, t), e);
  const auto near = hn::Le(hn::Abs(z), hn::Set(d, limit));
  const auto keep = hn::And(use, near);
  const auto sum = [&](int i, auto v) { sums[i] += hn::GetLane(hn::SumOfLanes(d, hn::IfThenElseZero(keep, v))); };
  const int64_t kept = static_cast<int64_t>(hn::CountTrue(d, keep));
  sums[0] += static_cast<double>(kept);
  sum(1, z);
  sum(2, hn::Mul(z, z));
  sum(3, c);
  sum(4, hn::Sub(n, hn::Set(d, 1.0)));
  sums[5] += static_cast<double>(static_cast<int64_t>(hn::CountTrue(d, use)) - kept);
}

Status JudgeRates(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto rate = call.ports[kRate].view<const float>(), error = call.ports[kError].view<const float>();
  const auto chi2 = call.ports[kChi2].view<const float>(), truth = call.ports[kTruth].view<const float>();
  const auto diffs = call.ports[kDiffs].view<const uint16_t>();
  const auto dq = call.ports[kDq].view<const uint32_t>();
  const hn::ScalableTag<double> d;
  const hn::CappedTag<double, 1> d1;
  const auto n = static_cast<int64_t>(hn::Lanes(d));
  const auto skip = static_cast<uint32_t>(params.skip);
  for (int64_t row = 0; row < rate.rows; row++) {
    const Rows in = {rate.at(0, row),  error.at(0, row), chi2.at(0, row),
                     truth.at(0, row), diffs.at(0, row), dq.at(0, row)};
    double sums[6] = {};
    int64_t x = 0;
    for (; x + n <= rate.cols; x += n) Add(d, in, x, skip, params.limit, sums);
    for (; x < rate.cols; x++) Add(d1, in, x, skip, params.limit, sums);
    for (int i = 0; i < 6; i++) call.ports[kSums].view<double>().at(0, row)[i] = sums[i];
  }
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::judge_rates {
namespace {
HWY_EXPORT(JudgeRates);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(JudgeRates)(call); }
}  // namespace rampline::judge_rates
#endif
