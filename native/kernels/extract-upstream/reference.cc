// One column after the other, the profiles as a dense matrix.
#include <algorithm>
#include <cmath>
#include <vector>

#include "generated/dq.h"
#include "generated/extract-upstream.h"
#include "native/core/extract_reference.h"

namespace rampline::extract_upstream {
namespace {

using extract_reference::Column;

Column Read(const KernelCall& call, int64_t x) {
  const Params& params = ParamsOf(call);
  extract::Views v;
  v.image = call.ports[kImage].view<const float>();
  v.imageIvar = call.ports[kImageIvar].view<const float>();
  v.imageDq = call.ports[kImageDq].view<const uint32_t>();
  v.centre = call.ports[kCentre].view<const float>();
  v.width = call.ports[kWidth].view<const float>();
  v.traceDq = call.ports[kTraceDq].view<const uint32_t>();
  v.profile = call.ports[kProfile].view<const float>();
  return extract_reference::Read(call, v, static_cast<uint32_t>(params.bad), 12, x);
}

}  // namespace

Status Reference(const KernelCall& call) {
  const auto flux = call.ports[kFlux].view<float>(), ivar = call.ports[kIvar].view<float>();
  const auto chi2 = call.ports[kChi2].view<float>(), crosstalk = call.ports[kCrosstalk].view<float>();
  const auto dq = call.ports[kDq].view<uint32_t>();
  const auto n = static_cast<size_t>(flux.planes);
  for (int64_t x = 0; x < flux.cols; x++) {
    const Column c = Read(call, x);
    const size_t rows = c.value.size();
    std::vector<double> model(rows, 0), spread(rows, 0);  // of all fibres: light and its variance
    std::vector<double> own(n, 0), noise(n, 0);           // what the model has of each fibre
    std::vector<double> found(n, 0), weight(n, 0);
    const auto in = [&](size_t f, size_t y, int window) {
      return c.weight[y] > 0 && c.there[f] && std::abs(static_cast<double>(y) - c.row[f]) <= window;
    };
    const auto weigh = [&](size_t f, size_t y) {
      const double p = c.light[f][y];
      return 1 / std::max(1 / c.weight[y] + std::max(spread[y] - noise[f] * p * p, 0.0), 1e-12);
    };
    for (const int window : {2, 4}) {
      for (size_t f = 0; f < n; f++) {
        double right = 0, sum = 0, squares = 0;
        for (size_t y = 0; y < rows; y++) {
          if (!in(f, y, window)) continue;
          const double p = c.light[f][y], w = weigh(f, y);
          right += p * w * (c.value[y] - (model[y] - own[f] * p));
          sum += p * p * w;
          squares += p * p;
        }
        found[f] = squares > 1e-6 ? right / sum : 0;
        weight[f] = squares > 1e-6 ? sum : 0;
      }
      model.assign(rows, 0);
      spread.assign(rows, 0);
      for (size_t f = 0; f < n; f++) {
        own[f] = std::max(found[f], 0.0);
        noise[f] = weight[f] > 0 ? 1 / weight[f] : 0;
        for (size_t y = 0; y < rows; y++) {
          model[y] += own[f] * c.light[f][y];
          spread[y] += noise[f] * c.light[f][y] * c.light[f][y];
        }
      }
    }
    for (size_t f = 0; f < n; f++) {
      const auto plane = static_cast<int64_t>(f);
      double sum = 0, freedom = 0, others = 0, squares = 0;
      uint32_t bits = call.ports[kTraceDq].view<const uint32_t>().at(plane, 0)[x];
      int seen = 0;
      for (size_t y = 0; y < rows; y++) {
        const double p = c.light[f][y], residual = c.value[y] - model[y];
        if (in(f, y, 3)) {
          sum += c.weight[y] * residual * residual;
          freedom += 1 - (weight[f] > 0 ? c.weight[y] * p * p / weight[f] : 0);
        }
        if (!in(f, y, 4)) continue;
        others += p * weigh(f, y) * (model[y] - own[f] * p);
        squares += p * p;
        seen++;
        if (p >= 1e-3f) bits |= c.bits[y];
      }
      const bool failed = weight[f] == 0;
      const auto last = static_cast<double>(rows) - 1;
      flux.at(plane, 0)[x] = static_cast<float>(found[f]);
      ivar.at(plane, 0)[x] = static_cast<float>(weight[f]);
      chi2.at(plane, 0)[x] = failed || freedom <= 0.5 ? 0 : static_cast<float>(sum / freedom);
      crosstalk.at(plane, 0)[x] =
          failed ? 0 : static_cast<float>(others / weight[f] / std::max(found[f], 1 / std::sqrt(weight[f])));
      if (failed) bits |= dq::kExtractionFailed;
      if (seen == 0) bits |= dq::kNoGoodPixels;
      if (!failed && squares < 0.01f) bits |= dq::kWideWindow;
      if (c.there[f] && (c.row[f] + 4 < 0 || c.row[f] - 4 > last)) bits |= dq::kOffChip;
      dq.at(plane, 0)[x] = bits;
    }
  }
  return Ok();
}

}  // namespace rampline::extract_upstream
