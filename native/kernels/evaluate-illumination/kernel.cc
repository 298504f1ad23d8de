#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/evaluate-illumination/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>

#include "generated/evaluate-illumination.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;
using namespace rampline::evaluate_illumination;  // NOLINT: the generated ports and parameters

constexpr int kOrders = 31;

Status EvaluateIllumination(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto coefficients = call.ports[kCoefficients].view<const double>();
  const auto model = call.ports[kModel].view<float>();
  const hn::ScalableTag<double> d;
  const hn::Rebind<float, decltype(d)> df;
  using V = hn::Vec<decltype(d)>;
  constexpr int64_t kMostLanes = static_cast<int64_t>(hn::MaxLanes(hn::ScalableTag<double>()));
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const int order = params.order;
  const double originX = 0.5 * (static_cast<double>(params.firstX) + params.lastX);
  const double scaleX = 2.0 / (static_cast<double>(params.lastX) - params.firstX);
  const double originY = 0.5 * (static_cast<double>(params.firstY) + params.lastY);
  const double scaleY = 2.0 / (static_cast<double>(params.lastY) - params.firstY);
  const V one = hn::Set(d, 1.0), lane = hn::Iota(d, 0.0);
  constexpr int kSide = 4;  // registers side by side hide the latency of the recurrence
  for (int64_t row = 0; row < model.rows; row++) {
    const double v = std::clamp((static_cast<double>(call.origin.row + row) - originY) * scaleY, -1.0, 1.0);
    double q[kOrders] = {};
    double p = 1, before = 0;
    for (int a = 0; a <= order; a++) {
      for (int i = 0; i <= order; i++) q[i] += coefficients.at(0, a)[i] * p;
      const double next = ((2 * a + 1) * v * p - a * before) / (a + 1);
      before = p;
      p = next;
    }
    float* out = model.at(0, row);
    for (int64_t start = 0; start < model.cols; start += kSide * lanes) {
      V u[kSide], b1[kSide], b2[kSide];
      for (int g = 0; g < kSide; g++) {
        const V at = hn::Add(lane, hn::Set(d, static_cast<double>(call.origin.x + start + g * lanes)));
        u[g] = hn::Max(hn::Min(hn::Mul(hn::Sub(at, hn::Set(d, originX)), hn::Set(d, scaleX)), one), hn::Neg(one));
        b1[g] = b2[g] = hn::Zero(d);
      }
      for (int k = order; k >= 0; k--) {
        const V step = hn::Set(d, (2.0 * k + 1) / (k + 1)), back = hn::Set(d, (k + 1.0) / (k + 2.0));
        const V own = hn::Set(d, q[k]);
#pragma GCC unroll 4
        for (int g = 0; g < kSide; g++) {
          const V b = hn::NegMulAdd(back, b2[g], hn::MulAdd(hn::Mul(step, u[g]), b1[g], own));
          b2[g] = b1[g];
          b1[g] = b;
        }
      }
      for (int g = 0; g < kSide; g++) {
        const int64_t x = start + g * lanes;
        const auto values = hn::DemoteTo(df, b1[g]);
        if (x + lanes <= model.cols) {
          hn::StoreU(values, df, out + x);
        } else if (x < model.cols) {
          HWY_ALIGN float part[kMostLanes];
          hn::Store(values, df, part);
          std::copy(part, part + (model.cols - x), out + x);
        }
      }
    }
  }
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::evaluate_illumination {
namespace {
HWY_EXPORT(EvaluateIllumination);
}
Status Run(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  if (!(params.lastX > params.firstX && params.lastY > params.firstY)) {
    return Fail(Code::kUsage, "the last column and row must be greater than the first");
  }
  return HWY_DYNAMIC_DISPATCH(EvaluateIllumination)(call);
}
}  // namespace rampline::evaluate_illumination
#endif
