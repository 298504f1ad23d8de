// Equal vectors are passed over at the speed of memory; the arithmetic is for those that hold a difference.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/compare-images/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <limits>

#include "generated/compare-images.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

template <class D>
struct Row {
  hn::Vec<D> largest, relative;
  int64_t changed = 0, different = 0, unpaired = 0, first = -1, last = -1;
};

template <class D>
HWY_INLINE void Compare(D d, const double* a, const double* b, int64_t x, double rtol, double atol, Row<D>& out) {
  const auto u = hn::LoadU(d, a + x), v = hn::LoadU(d, b + x);
  // NaN equals NaN. Not(Eq), since Ne is false for NaN on some targets.
  const auto same = hn::Or(hn::Eq(u, v), hn::Not(hn::Or(hn::Eq(u, u), hn::Eq(v, v))));
  if (hn::AllTrue(d, same)) return;
  const auto changed = hn::Not(same);
  const auto most = hn::Set(d, std::numeric_limits<double>::max());
  const auto size = hn::Max(hn::Abs(u), hn::Abs(v));
  const auto finite = hn::And(hn::Le(hn::Abs(u), most), hn::Le(hn::Abs(v), most));
  const auto paired = hn::And(changed, finite);
  const auto gap = hn::Min(hn::Abs(hn::Sub(u, v)), most);
  const auto within = hn::Le(gap, hn::Add(hn::Set(d, atol), hn::Mul(hn::Set(d, rtol), size)));
  const int64_t count = static_cast<int64_t>(hn::CountTrue(d, changed));
  out.changed += count;
  out.unpaired += count - static_cast<int64_t>(hn::CountTrue(d, paired));
  out.different += count - static_cast<int64_t>(hn::CountTrue(d, hn::And(paired, within)));
  out.largest = hn::Max(out.largest, hn::IfThenElseZero(paired, gap));
  out.relative = hn::Max(out.relative, hn::IfThenElseZero(paired, hn::Div(gap, size)));
  if (out.first < 0) out.first = x + static_cast<int64_t>(hn::FindFirstTrue(d, changed));
  HWY_ALIGN double lanes[hn::MaxLanes(d)];
  hn::Store(hn::IfThenElseZero(changed, hn::Set(d, 1.0)), d, lanes);
  int64_t lane = static_cast<int64_t>(hn::Lanes(d)) - 1;
  while (lanes[lane] == 0.0) lane--;
  out.last = x + lane;
}

Status CompareImages(const KernelCall& call) {
  using namespace rampline::compare_images;  // NOLINT: the generated ports and parameters
  const Params& params = ParamsOf(call);
  const auto a = call.ports[kA].view<const double>(), b = call.ports[kB].view<const double>();
  using Wide = hn::ScalableTag<double>;
  using One = hn::CappedTag<double, 1>;
  const Wide d;
  const One d1;
  const auto n = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t row = 0; row < a.rows; row++) {
    Row<Wide> wide{hn::Zero(d), hn::Zero(d)};
    Row<One> rest{hn::Zero(d1), hn::Zero(d1)};
    int64_t x = 0;
    for (; x + n <= a.cols; x += n) Compare(d, a.at(0, row), b.at(0, row), x, params.rtol, params.atol, wide);
    for (; x < a.cols; x++) Compare(d1, a.at(0, row), b.at(0, row), x, params.rtol, params.atol, rest);
    const auto put = [&](int port, int64_t value) {
      call.ports[static_cast<size_t>(port)].view<int32_t>().at(0, row)[0] = static_cast<int32_t>(value);
    };
    put(kChanged, wide.changed + rest.changed);
    put(kDifferent, wide.different + rest.different);
    put(kUnpaired, wide.unpaired + rest.unpaired);
    put(kFirst, wide.first >= 0 ? wide.first : rest.first);
    put(kLast, rest.last >= 0 ? rest.last : wide.last);
    const double largest = hn::GetLane(hn::MaxOfLanes(d, wide.largest)), tail = hn::GetLane(rest.largest);
    const double relative = hn::GetLane(hn::MaxOfLanes(d, wide.relative)), tailRelative = hn::GetLane(rest.relative);
    call.ports[kLargest].view<double>().at(0, row)[0] = largest > tail ? largest : tail;
    call.ports[kRelative].view<double>().at(0, row)[0] = relative > tailRelative ? relative : tailRelative;
  }
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::compare_images {
namespace {
HWY_EXPORT(CompareImages);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(CompareImages)(call); }
}  // namespace rampline::compare_images
#endif
