#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/image-to-rate/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "generated/image-to-rate.h"
#include "native/core/ramp-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
using namespace ramp;                     // NOLINT: short names for registers of pixels
using namespace rampline::image_to_rate;  // NOLINT: the generated ports and parameters

Status ImageToRate(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto counts = call.ports[kCounts].view<const int32_t>();
  const auto values = call.ports[kValues].view<const float>();
  const auto rate = call.ports[kRate].view<float>(), error = call.ports[kError].view<float>();
  const DF d;
  const hn::RebindToSigned<DF> di;
  const VF zero = hn::Zero(d), missing = hn::NaN(d), gain = hn::Set(d, params.gain);
  const VF unit = hn::Set(d, params.dnPerUnit), noise = hn::Set(d, params.coadds * params.readNoise * params.readNoise);
  const VF time = hn::Set(d, params.coadds * params.seconds), electrons = hn::Mul(gain, time);
  ForPixels<1>(rate.rows, rate.cols, [&](int64_t row, int64_t x, int count, auto) HWY_ATTR {
    VF v = missing;
    if (counts.data != nullptr) {
      v = hn::ConvertTo(d, LoadPart(di, counts.at(0, row) + x, count));
    } else if (values.data != nullptr) {
      v = LoadPart(d, values.at(0, row) + x, count);
    }
    v = hn::Mul(v, unit);
    const auto use = hn::Lt(hn::Abs(v), hn::Set(d, 1e18f));
    const VF variance = hn::MulAdd(gain, hn::Max(hn::IfThenElseZero(use, v), zero), noise);
    StorePart(d, hn::IfThenElse(use, hn::Div(v, time), missing), rate.at(0, row) + x, count);
    StorePart(d, hn::IfThenElse(use, hn::Div(hn::Sqrt(variance), electrons), missing), error.at(0, row) + x, count);
  });
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::image_to_rate {
namespace {
HWY_EXPORT(ImageToRate);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(ImageToRate)(call); }
}  // namespace rampline::image_to_rate
#endif
