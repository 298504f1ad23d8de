#include <algorithm>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/find-plateau/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "generated/find-plateau.h"
#include "native/kernels/find-plateau/limits.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;
using namespace rampline::find_plateau;  // NOLINT: the generated ports, parameters and limits

struct Ports {
  View<const float> counts, offsets, variance;
  View<float> plateau;
};

template <class D>
HWY_INLINE void Pixels(D d, const Ports& p, const Params& params, int64_t amplifier, float level, int64_t row,
                       int64_t x) {
  using V = hn::Vec<D>;
  const int64_t planes = p.counts.planes, start = planes - params.window;
  const auto read = [&](int64_t k) { return hn::LoadU(d, p.counts.at(k, row) + x); };
  // The two largest differences; a missing read is found in `sum`, which runs over all reads.
  V last = read(0), first = last, second = hn::Set(d, -kHuge), sum = hn::Sub(last, last), mean = hn::Zero(d);
  if (start == 0) mean = last;
  for (int64_t k = 1; k < planes; k++) {
    const V now = read(k), step = hn::Sub(now, last);
    second = hn::Max(second, hn::Min(first, step));
    first = hn::Max(first, step);
    sum = hn::Add(sum, hn::Sub(now, now));
    if (k >= start) mean = hn::Add(mean, now);
    last = now;
  }
  mean = hn::Mul(mean, hn::Set(d, 1.0f / static_cast<float>(params.window)));
  const V near = hn::Mul(hn::Set(d, kSigmas), hn::Sqrt(hn::LoadU(d, p.variance.at(0, row) + x)));
  auto good = hn::Eq(sum, hn::Zero(d));
  for (int64_t k = start; k < planes; k++) good = hn::And(good, hn::Le(hn::Abs(hn::Sub(read(k), mean)), near));
  const V most = hn::Mul(hn::Set(d, params.growth * static_cast<float>(params.window - 1)), second);
  good = hn::And(good, hn::Le(hn::Abs(hn::Sub(last, read(start))), most));
  good = hn::And(good, hn::Ge(second, hn::Set(d, params.slowest)));
  V value = hn::Add(mean, hn::Set(d, level));
  const auto full = hn::Ge(hn::Add(last, hn::Set(d, p.offsets.at(planes - 1, 0)[amplifier])), hn::Set(d, kFull));
  value = hn::IfThenElse(full, hn::Set(d, kConverterEnd), value);
  hn::StoreU(hn::IfThenElse(good, value, hn::NaN(d)), d, p.plateau.at(0, row) + x);
}

Status RunTarget(const KernelCall& call) {
  const Ports p{call.ports[kCounts].view<const float>(), call.ports[kOffsets].view<const float>(),
                call.ports[kReadVariance].view<const float>(), call.ports[kPlateau].view<float>()};
  const Params& params = ParamsOf(call);
  const hn::ScalableTag<float> d;
  const hn::CappedTag<float, 1> d1;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d)), planes = p.counts.planes;
  const bool enough = planes >= params.window;
  float level[kAmplifiers] = {};
  for (int64_t a = 0; a < kAmplifiers && enough; a++) level[a] = MeanLevel(p.offsets, a);
  for (int64_t row = 0; row < p.plateau.rows; row++) {
    if (!enough) std::fill_n(p.plateau.at(0, row), p.plateau.cols, std::numeric_limits<float>::quiet_NaN());
    for (int64_t x = 0; x < p.plateau.cols && enough;) {
      const int64_t a = AmplifierOf(call.origin.x + x);
      const int64_t end =
          a + 1 < kAmplifiers ? std::min(p.plateau.cols, (a + 1) * kAmplifierColumns - call.origin.x) : p.plateau.cols;
      for (; x + n <= end; x += n) Pixels(d, p, params, a, level[a], row, x);
      for (; x < end; x++) Pixels(d1, p, params, a, level[a], row, x);
    }
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
Status find_plateau::Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(RunTarget)(call); }
}  // namespace rampline
#endif
