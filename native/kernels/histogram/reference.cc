#include "generated/histogram.h"
#include "native/kernels/histogram/bins.h"

namespace rampline::histogram {

Status Reference(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto image = call.ports[kImage].view<const float>();
  const auto mask = call.ports[kMask].view<const uint32_t>();
  const float scale = params.high > params.low ? kBins / (params.high - params.low) : 0.0f;
  int32_t all[kBins + 3] = {};
  for (int64_t row = 0; row < image.rows; row++) {
    for (int64_t x = 0; x < image.cols; x++) {
      if (mask.data != nullptr && (mask.at(0, row)[x] & static_cast<uint32_t>(params.skip)) != 0) continue;
      all[BinOf(image.at(0, row)[x], params.low, params.high, scale)]++;
    }
  }
  for (int i = 0; i < kBins; i++) call.ports[kCounts].view<int32_t>().at(0, 0)[i] = all[i];
  for (int i = 0; i < 3; i++) call.ports[kOutside].view<int32_t>().at(0, 0)[i] = all[kBins + i];
  return Ok();
}

}  // namespace rampline::histogram
