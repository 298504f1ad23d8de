#include <cmath>
#include <limits>

#include "generated/dq.h"
#include "generated/take-dark.h"

namespace rampline::take_dark {

Status Reference(const KernelCall& call) {
  const auto rate = call.ports[kRate].view<const float>(), error = call.ports[kError].view<const float>();
  const auto chi2 = call.ports[kChi2].view<const float>();
  for (int64_t row = 0; row < rate.rows; row++) {
    for (int64_t x = 0; x < rate.cols; x++) {
      const float r = rate.at(0, row)[x], e = error.at(0, row)[x], c = chi2.at(0, row)[x];
      const int n = call.ports[kGoodDiffs].view<const uint16_t>().at(0, row)[x];
      const uint32_t bits = call.ports[kDq].view<const uint32_t>().at(0, row)[x];
      const bool flagged = (bits & (dq::kNoData | dq::kSaturated | dq::kNoCalibration)) != 0;
      const bool use = !flagged && std::abs(r) < 1e18f && e > 1e-15f && e < 1e15f;
      const bool judged = use && (bits & dq::kNoChi2) == 0 && n >= 2 && c >= 0 && c < 1e30f;
      const float missing = std::numeric_limits<float>::quiet_NaN();
      call.ports[kLevel].view<float>().at(0, row)[x] = use ? r : missing;
      call.ports[kSigma].view<float>().at(0, row)[x] = use ? e : missing;
      float& chi2Sum = call.ports[kChi2Sum].view<float>().at(0, row)[x];
      float& dofSum = call.ports[kDofSum].view<float>().at(0, row)[x];
      uint16_t& jumped = call.ports[kJumped].view<uint16_t>().at(0, row)[x];
      if (judged) chi2Sum = static_cast<float>(static_cast<double>(chi2Sum) + c);
      if (judged) dofSum = static_cast<float>(static_cast<double>(dofSum) + (n - 1));
      if (use && (bits & (dq::kJump | dq::kJumps)) != 0 && jumped < 65535) jumped++;
    }
  }
  return Ok();
}

}  // namespace rampline::take_dark
