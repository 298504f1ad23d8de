#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/mock-photons/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "generated/mock-photons.h"
#include "native/core/random-inl.h"
#include "native/kernels/mock-photons/limits.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;
namespace rnd = rampline::HWY_NAMESPACE::random;

template <class D>
HWY_INLINE void AddRead(D d, bool noise, const float* rate, const uint32_t* bits, float* charge) {
  const hn::RebindToUnsigned<D> du;
  auto mean = hn::LoadU(d, rate);
  const auto light = hn::Gt(mean, hn::Zero(d));
  if (hn::AllFalse(d, light)) return;
  mean = hn::IfThenElseZero(light, mean);
  const auto more = noise ? rnd::Poisson(d, mean, hn::LoadU(du, bits)) : mean;
  const auto before = hn::LoadU(d, charge);
  const auto sum = hn::Add(before, more);
  const auto limit = hn::Set(d, mock_photons::kChargeLimit);
  // Pixels without light keep their bytes, whatever vector they happen to share.
  hn::StoreU(hn::IfThenElse(light, hn::IfThenElse(hn::Lt(sum, limit), sum, limit), before), d, charge);
}

Status RunTarget(const KernelCall& call) {
  const mock_photons::Params& p = mock_photons::ParamsOf(call);
  const auto rate = call.ports[mock_photons::kRate].view<const float>();
  const auto charge = call.ports[mock_photons::kCharge].view<float>();
  const rnd::Key key{static_cast<uint32_t>(p.seedLow), static_cast<uint32_t>(p.seedHigh)};
  const hn::ScalableTag<float> d;
  const hn::CappedTag<float, 1> d1;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  uint32_t bits[rnd::kSegment] = {};
  for (int64_t row = 0; row < rate.rows; row++) {
    for (int64_t x = 0; x < rate.cols;) {
      const int64_t at = call.origin.x + x, segment = at / rnd::kSegment, skip = at % rnd::kSegment;
      const int64_t end = std::min(rate.cols, x + rnd::kSegment - skip);
      // A segment without light, the reference output for one, needs no numbers.
      const float* in = rate.at(0, row) + x;
      const bool any = std::any_of(in, in + (end - x), [](float r) { return r > 0.0f; });
      if (any) {
        if (p.noise) rnd::RowBits(key, mock_photons::kStream, p.read, call.origin.row + row, segment, bits);
        const uint32_t* from = bits + skip;
        float* to = charge.at(0, row) + x;
        int64_t i = 0;
        for (; x + i + n <= end; i += n) AddRead(d, p.noise != 0, in + i, from + i, to + i);
        for (; x + i < end; i++) AddRead(d1, p.noise != 0, in + i, from + i, to + i);
      }
      x = end;
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
Status mock_photons::Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(RunTarget)(call); }
}  // namespace rampline
#endif
