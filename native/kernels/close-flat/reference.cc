#include <limits>

#include "generated/close-flat.h"
#include "generated/dq.h"
#include "native/core/scatter.h"

namespace rampline::close_flat {

Status Reference(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto mean = call.ports[kMean].view<const float>();
  for (int64_t row = 0; row < mean.rows; row++) {
    for (int64_t x = 0; x < mean.cols; x++) {
      const auto real = [&](Port port) -> double { return call.ports[port].view<const float>().at(0, row)[x]; };
      const auto number = [&](Port port) { return call.ports[port].view<const uint16_t>().at(0, row)[x]; };
      const int n = number(kCount), out = number(kRejected);
      const scatter::Closed closed = scatter::Close(real(kMean), real(kWeight), real(kVariance), real(kExpected),
                                                    real(kScatter), n, params.inflateSigma);
      const double norm = params.norm;
      const float missing = std::numeric_limits<float>::quiet_NaN();
      call.ports[kFlat].view<float>().at(0, row)[x] = closed.usable ? static_cast<float>(real(kMean) / norm) : missing;
      call.ports[kError].view<float>().at(0, row)[x] =
          closed.usable ? static_cast<float>(closed.error / norm) : missing;
      uint32_t& bits = call.ports[kDq].view<uint32_t>().at(0, row)[x];
      if (!closed.usable) bits |= dq::kNoFlat | dq::kNoCalibration;
      if (scatter::Exceeds(closed.chi2, closed.dof, params.unstableScatter, params.unstableSigma) ||
          static_cast<float>(out) > params.unstableShare * static_cast<float>(n + out)) {
        bits |= dq::kUnstableFlat;
      }
    }
  }
  return Ok();
}

}  // namespace rampline::close_flat
