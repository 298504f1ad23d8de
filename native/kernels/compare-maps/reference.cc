#include <algorithm>
#include <cmath>
#include <limits>

#include "generated/compare-maps.h"

namespace rampline::compare_maps {

Status Reference(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto a = call.ports[kA].view<const float>(), b = call.ports[kB].view<const float>();
  const auto skip = static_cast<uint32_t>(params.skip);
  const auto error = [&](int port, int64_t row, int64_t x) {
    const auto view = call.ports[static_cast<size_t>(port)].view<const float>();
    const float e = view.data == nullptr ? 0.0f : view.at(0, row)[x];
    return e > 0 ? e : 0.0f;
  };
  const auto valid = [&](int port, int64_t row, int64_t x, float v) {
    const auto mask = call.ports[static_cast<size_t>(port)].view<const uint32_t>();
    return std::isfinite(v) && (mask.data == nullptr || (mask.at(0, row)[x] & skip) == 0);
  };
  for (int64_t row = 0; row < a.rows; row++) {
    int32_t counts[5] = {};
    for (int64_t x = 0; x < a.cols; x++) {
      const float u = a.at(0, row)[x], v = b.at(0, row)[x];
      const bool inA = valid(kMaskA, row, x, u), inB = valid(kMaskB, row, x, v);
      float d = std::numeric_limits<float>::quiet_NaN(), s = d;
      if (inA && inB) {
        d = v - u;
        const float ea = error(kErrorA, row, x), eb = error(kErrorB, row, x);
        const float s2 = ea * ea + eb * eb;
        counts[0]++;
        if (d * d > params.sigmas * params.sigmas * s2) counts[1]++;
        if (d != 0) counts[4]++;
        s = d == 0 ? 0.0f : std::clamp(d / std::sqrt(s2), -1e4f, 1e4f);
      } else {
        counts[2] += inA;
        counts[3] += inB;
      }
      call.ports[kDifference].view<float>().at(0, row)[x] = d;
      call.ports[kSignificance].view<float>().at(0, row)[x] = s;
    }
    for (int i = 0; i < 5; i++) call.ports[kCounts].view<int32_t>().at(0, row)[i] = counts[i];
  }
  return Ok();
}

}  // namespace rampline::compare_maps
