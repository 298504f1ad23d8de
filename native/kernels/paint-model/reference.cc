#include <algorithm>
#include <cmath>

#include "generated/paint-model.h"

namespace rampline::paint_model {

static double Cumulative(const float* table, double z) {
  const double at = std::clamp((z + 12.0) * 20.0, 0.0, 480.0);
  const int64_t i = std::min<int64_t>(static_cast<int64_t>(at), 479);
  return table[i] + (static_cast<double>(table[i + 1]) - table[i]) * (at - static_cast<double>(i));
}

Status Reference(const KernelCall& call) {
  const auto centre = call.ports[kCentre].view<const float>(), width = call.ports[kWidth].view<const float>();
  const auto flux = call.ports[kFlux].view<const float>(), profile = call.ports[kProfile].view<const float>();
  const auto model = call.ports[kModel].view<float>();
  const double most = std::max(ParamsOf(call).columns - 1, 1);
  for (int64_t y = 0; y < model.planes; y++) {
    for (int64_t x = 0; x < model.cols; x++) {
      const double node =
          std::min(8.0 * static_cast<double>(ParamsOf(call).firstColumn + call.origin.x + x) / most, 8.0);
      const int64_t n = std::min<int64_t>(static_cast<int64_t>(node), 7);
      const double part = node - static_cast<double>(n);
      double sum = 0;
      for (int64_t f = 0; f < 300; f++) {
        const double c = centre.at(0, f)[x], w = width.at(0, f)[x], light = flux.at(0, f)[x];
        if (!(std::abs(c) < 1e15 && w > 0.05 && w < 20 && std::abs(light) < 1e15)) continue;
        const double from = (static_cast<double>(y) - 0.5 - c) / w, to = (static_cast<double>(y) + 0.5 - c) / w;
        if (to <= -12 || from >= 12) continue;
        const double before = Cumulative(profile.at(f, n), to) - Cumulative(profile.at(f, n), from);
        const double after = Cumulative(profile.at(f, n + 1), to) - Cumulative(profile.at(f, n + 1), from);
        const double share = before + (after - before) * part;
        if (std::abs(share) < 1e15) sum += light * share;
      }
      model.at(y, 0)[x] = static_cast<float>(sum);
    }
  }
  return Ok();
}

}  // namespace rampline::paint_model
