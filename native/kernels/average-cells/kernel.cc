#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/average-cells/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <limits>

#include "generated/average-cells.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

template <class D>
HWY_INLINE void Add(D d, const float* in, double low, double high, hn::Vec<D>& sum, int64_t& count) {
  const hn::Rebind<float, D> df;
  const auto v = hn::PromoteTo(d, hn::LoadU(df, in));
  // False for NaN.
  const auto counts = hn::And(hn::Ge(v, hn::Set(d, low)), hn::Le(v, hn::Set(d, high)));
  sum = hn::Add(sum, hn::IfThenElseZero(counts, v));
  count += static_cast<int64_t>(hn::CountTrue(d, counts));
}

Status AverageCells(const KernelCall& call) {
  using namespace rampline::average_cells;  // NOLINT: the generated ports and parameters
  const double low = ParamsOf(call).low, high = ParamsOf(call).high;
  const auto image = call.ports[kImage].view<const float>();
  const hn::ScalableTag<double> d;
  const hn::CappedTag<double, 1> d1;
  const auto n = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t row = 0; row < image.rows; row++) {
    auto wide = hn::Zero(d);
    auto rest = hn::Zero(d1);
    int64_t count = 0;
    for (int64_t plane = 0; plane < image.planes; plane++) {
      const float* in = image.at(plane, row);
      int64_t x = 0;
      for (; x + n <= image.cols; x += n) Add(d, in + x, low, high, wide, count);
      for (; x < image.cols; x++) Add(d1, in + x, low, high, rest, count);
    }
    const double sum = hn::GetLane(hn::SumOfLanes(d, wide)) + hn::GetLane(rest);
    call.ports[kMean].view<double>().at(0, row)[0] =
        count > 0 ? sum / static_cast<double>(count) : std::numeric_limits<double>::quiet_NaN();
    call.ports[kCount].view<int32_t>().at(0, row)[0] = static_cast<int32_t>(count);
  }
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::average_cells {
namespace {
HWY_EXPORT(AverageCells);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(AverageCells)(call); }
}  // namespace rampline::average_cells
#endif
