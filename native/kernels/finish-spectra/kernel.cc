#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/finish-spectra/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <limits>

#include "generated/dq.h"
#include "generated/finish-spectra.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;
using namespace rampline::finish_spectra;  // NOLINT: the generated ports and parameters

struct Row {
  float *flux, *error;
  const float* ivar;
  uint32_t* dq;
  const uint32_t* traceDq;
  uint32_t bits;
};

template <class D>
HWY_INLINE void Pixels(D d, const Row& p, int64_t x) {
  const hn::RebindToUnsigned<D> du;
  const auto most = hn::Set(d, std::numeric_limits<float>::max());
  const auto missing = hn::Set(d, std::numeric_limits<float>::quiet_NaN());
  const auto finite = [&](auto v) HWY_ATTR { return hn::Le(hn::Abs(v), most); };  // false for NaN
  const auto flux = hn::LoadU(d, p.flux + x), ivar = hn::LoadU(d, p.ivar + x);
  const auto known = hn::And(hn::And(hn::Gt(ivar, hn::Zero(d)), finite(ivar)), finite(flux));
  // The square root first: 1 / ivar overflows for a denormal one.
  const auto error = hn::Div(hn::Set(d, 1.0f), hn::Sqrt(ivar));
  auto flags = hn::Or(hn::LoadU(du, p.dq + x), hn::Or(hn::LoadU(du, p.traceDq + x), hn::Set(du, p.bits)));
  const auto failed = hn::RebindMask(du, hn::Not(known));
  flags = hn::Or(flags, hn::IfThenElseZero(failed, hn::Set(du, uint32_t{dq::kExtractionFailed})));
  hn::StoreU(hn::IfThenElse(known, flux, missing), d, p.flux + x);
  hn::StoreU(hn::IfThenElse(known, error, missing), d, p.error + x);
  hn::StoreU(flags, du, p.dq + x);
}

Status FinishSpectra(const KernelCall& call) {
  const auto flux = call.ports[kFlux].view<float>();
  const hn::ScalableTag<float> d;
  const hn::CappedTag<float, 1> d1;
  const auto n = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t k = 0; k < flux.planes; k++) {
    const Row p = {flux.at(k, 0),
                   call.ports[kError].view<float>().at(k, 0),
                   call.ports[kIvar].view<const float>().at(k, 0),
                   call.ports[kDq].view<uint32_t>().at(k, 0),
                   call.ports[kTraceDq].view<const uint32_t>().at(k, 0),
                   call.ports[kBits].view<const uint32_t>().at(k, 0)[0]};
    int64_t x = 0;
    for (; x + n <= flux.cols; x += n) Pixels(d, p, x);
    for (; x < flux.cols; x++) Pixels(d1, p, x);
  }
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::finish_spectra {
namespace {
HWY_EXPORT(FinishSpectra);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(FinishSpectra)(call); }
}  // namespace rampline::finish_spectra
#endif
