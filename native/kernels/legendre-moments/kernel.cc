#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/legendre-moments/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "generated/legendre-moments.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;
using namespace rampline::legendre_moments;  // NOLINT: the generated ports and parameters

constexpr int kPlain = 61, kAll = 92;
constexpr int kSide = 4;  // registers side by side: the recurrence is a chain of dependent multiply-adds

using D = hn::ScalableTag<double>;
using V = hn::Vec<D>;
constexpr int64_t kMostLanes = static_cast<int64_t>(hn::MaxLanes(D()));

// As many pixels as a register holds; those beyond the row do not count.
struct Pixels {
  HWY_ALIGN float image[kMostLanes], model[kMostLanes];
  HWY_ALIGN uint8_t bad[kMostLanes];
};

void SumRow(const float* image, const float* model, const uint8_t* bad, int64_t cols, double origin, double scale,
            int order, double* out) {
  const D d;
  const hn::Rebind<float, D> df;
  const hn::Rebind<int32_t, D> di;
  const hn::Rebind<uint8_t, D> d8;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const V zero = hn::Zero(d), one = hn::Set(d, 1.0);
  HWY_ALIGN double sums[kAll * kMostLanes] = {};
  const V lane = hn::Iota(d, 0.0);
  for (int64_t start = 0; start < cols; start += kSide * lanes) {
    V w[kSide], wb[kSide], u[kSide], p[kSide], before[kSide];
    for (int g = 0; g < kSide; g++) {
      const int64_t x = start + g * lanes;
      V b = hn::NaN(d), m = one, flag = one;
      if (x + lanes <= cols) {
        b = hn::PromoteTo(d, hn::LoadU(df, image + x));
        m = hn::PromoteTo(d, hn::LoadU(df, model + x));
        flag = hn::PromoteTo(d, hn::PromoteTo(di, hn::LoadU(d8, bad + x)));
      } else if (x < cols) {
        Pixels part;
        for (int64_t i = 0; i < lanes; i++) {
          const bool there = x + i < cols;
          part.image[i] = there ? image[x + i] : std::numeric_limits<float>::quiet_NaN();
          part.model[i] = there ? model[x + i] : 1.0f;
          part.bad[i] = there ? bad[x + i] : 1;
        }
        b = hn::PromoteTo(d, hn::Load(df, part.image));
        m = hn::PromoteTo(d, hn::Load(df, part.model));
        flag = hn::PromoteTo(d, hn::PromoteTo(di, hn::Load(d8, part.bad)));
      }
      const auto use = hn::And(hn::And(hn::Eq(flag, zero), hn::Lt(hn::Abs(b), hn::Set(d, 1e30))),
                               hn::And(hn::Gt(m, hn::Set(d, 1e-15)), hn::Lt(m, hn::Set(d, 1e15))));
      const V per = hn::Div(one, hn::IfThenElse(use, m, one));
      w[g] = hn::IfThenElseZero(use, hn::Mul(per, per));
      wb[g] = hn::Mul(w[g], hn::IfThenElseZero(use, b));
      const V at = hn::Add(lane, hn::Set(d, static_cast<double>(x)));
      u[g] = hn::Mul(hn::Sub(at, hn::Set(d, origin)), hn::Set(d, scale));
      p[g] = one;
      before[g] = zero;
    }
    for (int k = 0; k <= 2 * order; k++) {
      V sum = zero, sumB = zero;
      const V next = hn::Set(d, (2.0 * k + 1) / (k + 1)), back = hn::Set(d, static_cast<double>(k) / (k + 1));
#pragma GCC unroll 4
      for (int g = 0; g < kSide; g++) {
        sum = hn::MulAdd(w[g], p[g], sum);
        sumB = hn::MulAdd(wb[g], p[g], sumB);
        const V following = hn::Sub(hn::Mul(hn::Mul(next, u[g]), p[g]), hn::Mul(back, before[g]));
        before[g] = p[g];
        p[g] = following;
      }
      double* to = sums + k * kMostLanes;
      hn::Store(hn::Add(hn::Load(d, to), sum), d, to);
      if (k <= order) {
        to = sums + (kPlain + k) * kMostLanes;
        hn::Store(hn::Add(hn::Load(d, to), sumB), d, to);
      }
    }
  }
  for (int i = 0; i < kAll; i++) {
    double sum = 0;
    for (int64_t l = 0; l < lanes; l++) sum += sums[i * kMostLanes + l];
    out[i] = sum;
  }
}

Status LegendreMoments(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto image = call.ports[kImage].view<const float>(), model = call.ports[kModel].view<const float>();
  const auto bad = call.ports[kBad].view<const uint8_t>();
  const auto moments = call.ports[kMoments].view<double>();
  const double origin = 0.5 * (static_cast<double>(params.first) + params.last);
  const double scale = 2.0 / (static_cast<double>(params.last) - params.first);
  for (int64_t row = 0; row < image.rows; row++) {
    SumRow(image.at(0, row), model.at(0, row), bad.at(0, row), image.cols, origin, scale, params.order,
           moments.at(0, row));
  }
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::legendre_moments {
namespace {
HWY_EXPORT(LegendreMoments);
}
Status Run(const KernelCall& call) {
  if (!(ParamsOf(call).last > ParamsOf(call).first)) return Fail(Code::kUsage, "last must be greater than first");
  return HWY_DYNAMIC_DISPATCH(LegendreMoments)(call);
}
}  // namespace rampline::legendre_moments
#endif
