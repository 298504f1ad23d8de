#include <cmath>

#include "generated/judge-rates.h"

namespace rampline::judge_rates {

Status Reference(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto rate = call.ports[kRate].view<const float>(), error = call.ports[kError].view<const float>();
  const auto chi2 = call.ports[kChi2].view<const float>(), truth = call.ports[kTruth].view<const float>();
  const auto diffs = call.ports[kDiffs].view<const uint16_t>();
  const auto dq = call.ports[kDq].view<const uint32_t>();
  for (int64_t row = 0; row < rate.rows; row++) {
    double sums[6] = {};
    for (int64_t x = 0; x < rate.cols; x++) {
      const float r = rate.at(0, row)[x], e = error.at(0, row)[x], c = chi2.at(0, row)[x], t = truth.at(0, row)[x];
      const bool finite = std::abs(r) < 1e18f && e > 1e-18f && e < 1e18f && std::abs(c) < 1e18f && std::abs(t) < 1e18f;
      if ((dq.at(0, row)[x] & static_cast<uint32_t>(params.skip)) != 0 || diffs.at(0, row)[x] < 2 || !finite) continue;
      const double z = (static_cast<double>(r) - t) / e;
      if (std::abs(z) > static_cast<double>(params.limit)) {
        sums[5] += 1;
        continue;
      }
      sums[0] += 1;
      sums[1] += z;
      sums[2] += z * z;
      sums[3] += c;
      sums[4] += diffs.at(0, row)[x] - 1;
    }
    for (int i = 0; i < 6; i++) call.ports[kSums].view<double>().at(0, row)[i] = sums[i];
  }
  return Ok();
}

}  // namespace rampline::judge_rates
