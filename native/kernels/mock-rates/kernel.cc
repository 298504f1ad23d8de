#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/mock-rates/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "generated/mock-rates.h"
#include "native/core/random-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;
namespace rnd = rampline::HWY_NAMESPACE::random;

struct Rows {
  const float* light;
  float* exact;
  float* rate;
  float* ivar;
};

template <class D>
HWY_INLINE void Make(D d, const mock_rates::Params& p, float photon, const uint32_t* bits, const Rows& to, int64_t at) {
  const hn::RebindToUnsigned<D> du;
  const auto zero = hn::Zero(d), dark = hn::Set(d, p.readVariance), perPhoton = hn::Set(d, photon);
  const auto mean = hn::Div(hn::LoadU(d, to.light + at), hn::Set(d, p.gain));
  const auto lit = [&](auto v) { return hn::IfThenElse(hn::Gt(v, zero), v, zero); };
  const auto variance = hn::Add(hn::Mul(lit(mean), perPhoton), dark);
  auto seen = mean;
  if (p.noise) seen = hn::Add(mean, hn::Mul(hn::Sqrt(variance), rnd::Normal(d, hn::LoadU(du, bits))));
  const auto told = p.measured ? hn::Add(hn::Mul(lit(seen), perPhoton), dark) : variance;
  hn::StoreU(mean, d, to.exact + at);
  hn::StoreU(seen, d, to.rate + at);
  hn::StoreU(hn::Div(hn::Set(d, 1.0f), told), d, to.ivar + at);
}

Status RunTarget(const KernelCall& call) {
  const mock_rates::Params& p = mock_rates::ParamsOf(call);
  const auto light = call.ports[mock_rates::kLight].view<const float>();
  const auto exact = call.ports[mock_rates::kExact].view<float>();
  const auto rate = call.ports[mock_rates::kRate].view<float>();
  const auto ivar = call.ports[mock_rates::kIvar].view<float>();
  const rnd::Key key{static_cast<uint32_t>(p.seedLow), static_cast<uint32_t>(p.seedHigh)};
  const float photon = 1.0f / (p.gain * static_cast<float>(p.differences));
  const hn::ScalableTag<float> d;
  const hn::CappedTag<float, 1> d1;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  uint32_t bits[rnd::kSegment] = {};
  for (int64_t row = 0; row < light.rows; row++) {
    const Rows to{light.at(0, row), exact.at(0, row), rate.at(0, row), ivar.at(0, row)};
    for (int64_t x = 0; x < light.cols;) {
      const int64_t at = call.origin.x + x, segment = at / rnd::kSegment, skip = at % rnd::kSegment;
      const int64_t end = std::min(light.cols, x + rnd::kSegment - skip);
      if (p.noise) rnd::RowBits(key, p.stream, 0, call.origin.row + row, segment, bits);
      const uint32_t* from = bits + skip;
      int64_t i = 0;
      for (; x + i + n <= end; i += n) Make(d, p, photon, from + i, to, x + i);
      for (; x + i < end; i++) Make(d1, p, photon, from + i, to, x + i);
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
Status mock_rates::Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(RunTarget)(call); }
}  // namespace rampline
#endif
