#include <cmath>

#include "generated/legendre-moments.h"

namespace rampline::legendre_moments {

Status Reference(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  if (!(params.last > params.first)) return Fail(Code::kUsage, "last must be greater than first");
  const auto image = call.ports[kImage].view<const float>();
  for (int64_t row = 0; row < image.rows; row++) {
    double* out = call.ports[kMoments].view<double>().at(0, row);
    for (int i = 0; i < 92; i++) out[i] = 0;
    for (int64_t x = 0; x < image.cols; x++) {
      const float b = image.at(0, row)[x], m = call.ports[kModel].view<const float>().at(0, row)[x];
      if (call.ports[kBad].view<const uint8_t>().at(0, row)[x] != 0) continue;
      if (!(std::abs(b) < 1e30 && m > 1e-15 && m < 1e15)) continue;
      const double w = 1 / (static_cast<double>(m) * m);
      const double first = params.first, last = params.last;
      const double u = (2 * static_cast<double>(x) - first - last) / (last - first);
      double p = 1, before = 0;
      for (int k = 0; k <= 2 * params.order; k++) {
        out[k] += w * p;
        if (k <= params.order) out[61 + k] += w * b * p;
        const double next = ((2 * k + 1) * u * p - k * before) / (k + 1);
        before = p;
        p = next;
      }
    }
  }
  return Ok();
}

}  // namespace rampline::legendre_moments
