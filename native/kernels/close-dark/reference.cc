#include <algorithm>
#include <cmath>
#include <limits>

#include "generated/close-dark.h"
#include "generated/dq.h"
#include "native/core/scatter.h"

namespace rampline::close_dark {

Status Reference(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto mean = call.ports[kMean].view<const float>();
  for (int64_t row = 0; row < mean.rows; row++) {
    for (int64_t x = 0; x < mean.cols; x++) {
      const auto real = [&](Port port) {
        return static_cast<double>(call.ports[port].view<const float>().at(0, row)[x]);
      };
      const auto number = [&](Port port) { return call.ports[port].view<const uint16_t>().at(0, row)[x]; };
      const int n = number(kCount), out = number(kRejected), jumps = number(kJumped);
      const scatter::Closed closed = scatter::Close(real(kMean), real(kWeight), real(kVariance), real(kExpected),
                                                    real(kScatter), n, params.inflateSigma);
      const float missing = std::numeric_limits<float>::quiet_NaN();
      call.ports[kRate].view<float>().at(0, row)[x] = closed.usable ? static_cast<float>(real(kMean)) : missing;
      call.ports[kError].view<float>().at(0, row)[x] = closed.usable ? static_cast<float>(closed.error) : missing;
      uint32_t& bits = call.ports[kDq].view<uint32_t>().at(0, row)[x];
      if (!closed.usable) bits |= dq::kNoCalibration;
      if (scatter::Exceeds(closed.chi2, closed.dof, params.noisyScatter, params.noisySigma) ||
          scatter::Exceeds(real(kChi2Sum), real(kDofSum), params.noisyRamps, params.noisySigma)) {
        bits |= dq::kNoisy;
      }
      const int many = std::max(jumps, out);
      if (many >= params.telegraphLeast && many > params.telegraphShare * static_cast<float>(n + out)) {
        bits |= dq::kTelegraph;
      }
    }
  }
  return Ok();
}

}  // namespace rampline::close_dark
