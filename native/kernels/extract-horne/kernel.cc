#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/extract-horne/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "generated/extract-horne.h"
#include "native/core/extract-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {

Status Extract(const KernelCall& call) {
  using namespace rampline::extract_horne;  // NOLINT: the generated ports and parameters
  const Params& params = ParamsOf(call);
  extract::Views v;
  v.image = call.ports[kImage].view<const float>();
  v.imageIvar = call.ports[kImageIvar].view<const float>();
  v.imageDq = call.ports[kImageDq].view<const uint32_t>();
  v.centre = call.ports[kCentre].view<const float>();
  v.width = call.ports[kWidth].view<const float>();
  v.traceDq = call.ports[kTraceDq].view<const uint32_t>();
  v.profile = call.ports[kProfile].view<const float>();
  v.flux = call.ports[kFlux].view<float>();
  v.ivar = call.ports[kIvar].view<float>();
  v.dq = call.ports[kDq].view<uint32_t>();
  v.chi2 = call.ports[kChi2].view<float>();
  v.crosstalk = call.ports[kCrosstalk].view<float>();
  const extract::Settings s = {static_cast<uint32_t>(params.bad), params.reach, params.reject, params.profileError,
                               params.photonVariance};
  return fibres::ExtractColumns<0>(call, v, s);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::extract_horne {
namespace {
HWY_EXPORT(Extract);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(Extract)(call); }
}  // namespace rampline::extract_horne
#endif
