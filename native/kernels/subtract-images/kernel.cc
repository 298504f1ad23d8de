#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/subtract-images/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "generated/subtract-images.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

Status SubtractImages(const KernelCall& call) {
  using namespace rampline::subtract_images;  // NOLINT: the generated ports
  const auto image = call.ports[kImage].view<const float>(), model = call.ports[kModel].view<const float>();
  const auto difference = call.ports[kDifference].view<float>();
  const hn::ScalableTag<float> d;
  const auto n = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t row = 0; row < difference.rows; row++) {
    const float *a = image.at(0, row), *b = model.at(0, row);
    float* out = difference.at(0, row);
    int64_t x = 0;
    for (; x + n <= difference.cols; x += n) hn::StoreU(hn::Sub(hn::LoadU(d, a + x), hn::LoadU(d, b + x)), d, out + x);
    for (; x < difference.cols; x++) out[x] = a[x] - b[x];
  }
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::subtract_images {
namespace {
HWY_EXPORT(SubtractImages);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(SubtractImages)(call); }
}  // namespace rampline::subtract_images
#endif
