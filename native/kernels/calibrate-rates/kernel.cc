// One pass over a row: eleven streams in, three of them out again, so memory sets the pace.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/calibrate-rates/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <limits>

#include "generated/calibrate-rates.h"
#include "generated/dq.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;
using namespace rampline::calibrate_rates;  // NOLINT: the generated ports and parameters

// Row pointers of the ports; null where an optional one is not bound.
struct Row {
  float *rate, *error;
  uint32_t* dq;
  const float *dark, *darkError, *flat, *flatError, *gain, *persistence;
  const uint32_t *darkDq, *flatDq;
};

template <class D>
HWY_INLINE void Pixels(D d, const Row& p, int64_t x, const Params& params) {
  const hn::RebindToUnsigned<D> du;
  const auto zero = hn::Zero(d);
  const auto most = hn::Set(d, std::numeric_limits<float>::max());
  const auto finite = [&](auto v) HWY_ATTR { return hn::Le(hn::Abs(v), most); };  // false for NaN
  const auto bits = [&](auto mask, uint32_t bit)
                        HWY_ATTR { return hn::IfThenElseZero(hn::RebindMask(du, mask), hn::Set(du, bit)); };
  const auto before = hn::LoadU(du, p.dq + x);
  auto scale = hn::Set(d, params.scale);
  if (p.gain != nullptr) scale = hn::Mul(scale, hn::LoadU(d, p.gain + x));
  const auto dark = hn::Mul(hn::LoadU(d, p.dark + x), scale);
  const auto darkError = hn::Mul(hn::LoadU(d, p.darkError + x), scale);
  const auto rate = hn::LoadU(d, p.rate + x), error = hn::LoadU(d, p.error + x);

  const auto hasDark = hn::And(finite(dark), hn::And(finite(darkError), hn::Ge(darkError, zero)));
  const auto r = hn::Sub(rate, hn::IfThenElseZero(hasDark, dark));
  const auto e = hn::IfThenElseZero(hasDark, darkError);
  const auto variance = hn::Add(hn::Mul(error, error), hn::Mul(e, e));

  const auto flat = hn::LoadU(d, p.flat + x), flatError = hn::LoadU(d, p.flatError + x);
  const auto response = hn::Div(r, flat);
  const auto g = hn::Mul(response, flatError);
  const auto spread = hn::Div(hn::Sqrt(hn::Add(variance, hn::Mul(g, g))), flat);
  const auto hasFlat = hn::And(hn::And(hn::And(hn::Gt(flat, zero), finite(flat)), hn::Ge(flatError, zero)),
                               hn::And(finite(response), finite(spread)));

  auto flags = hn::Or(hn::LoadU(du, p.darkDq + x), hn::LoadU(du, p.flatDq + x));
  flags = hn::Or(flags, bits(hn::Not(hasDark), dq::kNoDark | dq::kNoCalibration));
  flags = hn::Or(flags, bits(hn::Not(hasFlat), dq::kNoFlat | dq::kNoCalibration));
  if (p.persistence != nullptr) {
    const auto expected = hn::Mul(hn::LoadU(d, p.persistence + x), scale);
    const auto limit = hn::Mul(hn::Set(d, params.persistenceSigma), hn::Sqrt(variance));
    flags = hn::Or(flags, bits(hn::Gt(expected, limit), dq::kPersistence));
  }
  const auto border = hn::Ne(hn::And(before, hn::Set(du, uint32_t{dq::kReferencePixel})), hn::Zero(du));
  const auto after = hn::Or(before, hn::IfThenZeroElse(border, flags));
  const auto kept =
      hn::RebindMask(d, hn::Or(border, hn::Ne(hn::And(after, hn::Set(du, uint32_t{dq::kNoData})), hn::Zero(du))));
  hn::StoreU(after, du, p.dq + x);
  hn::StoreU(hn::IfThenElse(kept, rate, hn::IfThenElse(hasFlat, response, r)), d, p.rate + x);
  hn::StoreU(hn::IfThenElse(kept, error, hn::IfThenElse(hasFlat, spread, hn::Sqrt(variance))), d, p.error + x);
}

Status CalibrateRates(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto rate = call.ports[kRate].view<float>();
  const hn::ScalableTag<float> d;
  const hn::CappedTag<float, 1> d1;
  const auto n = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t row = 0; row < rate.rows; row++) {
    const auto in = [&](Port port) {
      const auto view = call.ports[port].view<const float>();
      return view.data == nullptr ? nullptr : view.at(0, row);
    };
    const Row p = {rate.at(0, row),
                   call.ports[kError].view<float>().at(0, row),
                   call.ports[kDq].view<uint32_t>().at(0, row),
                   in(kDark),
                   in(kDarkError),
                   in(kFlat),
                   in(kFlatError),
                   in(kGain),
                   in(kPersistence),
                   call.ports[kDarkDq].view<const uint32_t>().at(0, row),
                   call.ports[kFlatDq].view<const uint32_t>().at(0, row)};
    int64_t x = 0;
    for (; x + n <= rate.cols; x += n) Pixels(d, p, x, params);
    for (; x < rate.cols; x++) Pixels(d1, p, x, params);
  }
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::calibrate_rates {
namespace {
HWY_EXPORT(CalibrateRates);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(CalibrateRates)(call); }
}  // namespace rampline::calibrate_rates
#endif
