#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/move-traces/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "generated/move-traces.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;
using namespace rampline::move_traces;  // NOLINT: the generated ports and parameters

// In double: the polynomials of the centres are added to rows of up to 2047, of which a float keeps 1e-4 px.
template <class D>
struct Mover {
  using V = hn::Vec<D>;
  using DF = hn::Rebind<float, D>;
  D d;
  DF df;
  const double* terms;
  double perColumn, perRow, factor;

  // P_0 to P_3 at t with the coefficients c.
  V Cubic(V t, V c0, V c1, V c2, V c3) const {
    const V t2 = hn::Mul(t, t);
    const V p2 = hn::MulAdd(hn::Set(d, 1.5), t2, hn::Set(d, -0.5));
    const V p3 = hn::Mul(t, hn::MulAdd(hn::Set(d, 2.5), t2, hn::Set(d, -1.5)));
    return hn::MulAdd(c3, p3, hn::MulAdd(c2, p2, hn::MulAdd(c1, t, c0)));
  }
  void Move(int64_t x, const float* centre, const float* width, float* moved, float* stretched) const {
    const V c = hn::PromoteTo(d, hn::LoadU(df, centre));
    const V u = hn::Sub(hn::Mul(hn::Iota(d, static_cast<double>(x)), hn::Set(d, perColumn)), hn::Set(d, 1.0));
    const V v = hn::Sub(hn::Mul(c, hn::Set(d, perRow)), hn::Set(d, 1.0));
    V along[4];
    for (int i = 0; i < 4; i++) {
      const double* t = terms + 4 * i;
      along[i] = Cubic(v, hn::Set(d, t[0]), hn::Set(d, t[1]), hn::Set(d, t[2]), hn::Set(d, t[3]));
    }
    const V shift = Cubic(u, along[0], along[1], along[2], along[3]);
    hn::StoreU(hn::DemoteTo(df, hn::Add(c, shift)), df, moved);
    const V w = hn::PromoteTo(d, hn::LoadU(df, width));
    hn::StoreU(hn::DemoteTo(df, hn::Mul(w, hn::Set(d, factor))), df, stretched);
  }
};

template <class D>
Mover<D> MoverOf(D d, const KernelCall& call) {
  const Params& params = ParamsOf(call);
  return {d,
          {},
          call.ports[kTerms].view<const double>().data,
          2.0 / (params.columns - 1),
          2.0 / (params.rows - 1),
          static_cast<double>(params.factor)};
}

Status MoveTraces(const KernelCall& call) {
  const auto centre = call.ports[kCentre].view<const float>(), width = call.ports[kWidth].view<const float>();
  const auto moved = call.ports[kMoved].view<float>(), stretched = call.ports[kStretched].view<float>();
  const hn::ScalableTag<double> d;
  const auto many = MoverOf(d, call);
  const auto one = MoverOf(hn::CappedTag<double, 1>(), call);
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t row = 0; row < centre.rows; row++) {
    const float *c = centre.at(0, row), *w = width.at(0, row);
    float *m = moved.at(0, row), *s = stretched.at(0, row);
    int64_t x = 0;
    for (; x + lanes <= centre.cols; x += lanes) many.Move(call.origin.x + x, c + x, w + x, m + x, s + x);
    for (; x < centre.cols; x++) one.Move(call.origin.x + x, c + x, w + x, m + x, s + x);
  }
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::move_traces {
namespace {
HWY_EXPORT(MoveTraces);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(MoveTraces)(call); }
}  // namespace rampline::move_traces
#endif
