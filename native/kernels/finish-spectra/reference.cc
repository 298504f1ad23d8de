#include <cmath>
#include <limits>

#include "generated/dq.h"
#include "generated/finish-spectra.h"

namespace rampline::finish_spectra {

Status Reference(const KernelCall& call) {
  const auto flux = call.ports[kFlux].view<float>(), error = call.ports[kError].view<float>();
  const auto ivar = call.ports[kIvar].view<const float>();
  const auto dq = call.ports[kDq].view<uint32_t>();
  const auto traceDq = call.ports[kTraceDq].view<const uint32_t>(), bits = call.ports[kBits].view<const uint32_t>();
  for (int64_t k = 0; k < flux.planes; k++) {
    for (int64_t x = 0; x < flux.cols; x++) {
      const double w = ivar.at(k, 0)[x];
      const double s = 1.0 / std::sqrt(w);
      uint32_t& flags = dq.at(k, 0)[x];
      flags |= traceDq.at(k, 0)[x] | bits.at(k, 0)[0];
      if (w > 0 && std::isfinite(w) && std::isfinite(flux.at(k, 0)[x])) {
        error.at(k, 0)[x] = static_cast<float>(s);
      } else {
        flux.at(k, 0)[x] = error.at(k, 0)[x] = std::numeric_limits<float>::quiet_NaN();
        flags |= dq::kExtractionFailed;
      }
    }
  }
  return Ok();
}

}  // namespace rampline::finish_spectra
