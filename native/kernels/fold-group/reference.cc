#include <algorithm>
#include <cmath>
#include <vector>

#include "generated/fold-group.h"

namespace rampline::fold_group {

static double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return n == 0 ? 0 : 0.5 * (values[(n - 1) / 2] + values[n / 2]);
}

Status Reference(const KernelCall& call) {
  const auto level = call.ports[kLevel].view<const float>(), sigma = call.ports[kSigma].view<const float>();
  if (level.planes > 8) return Fail(Code::kUsage, "a group has at most 8 exposures", -1, 8, level.planes);
  for (int64_t row = 0; row < level.rows; row++) {
    for (int64_t x = 0; x < level.cols; x++) {
      std::vector<double> values, errors, weights, away;
      for (int64_t k = 0; k < level.planes; k++) {
        const float v = level.at(k, row)[x], s = sigma.at(k, row)[x];
        const float own = call.ports[kExposureWeight].view<const float>().at(k, 0)[0];
        if (!(std::abs(v) < 1e18f && s > 1e-15f && s < 1e15f && own > 0 && own < 1e15f)) continue;
        weights.push_back(own);
        values.push_back(v);
        errors.push_back(s);
      }
      const double median = Median(values);
      for (const double v : values) away.push_back(std::abs(v - median));
      const double spread = 1.4826 * Median(away);
      double w = 0, sum = 0, own = 0, noise = 0, squares = 0;
      int kept = 0, out = 0;
      const auto good = [&](size_t k) {
        const double cut = static_cast<double>(ParamsOf(call).outlierSigma) * std::max(errors[k], spread);
        return values.size() < 3 || away[k] <= cut;
      };
      for (size_t k = 0; k < values.size(); k++) {
        if (!good(k)) {
          out++;
          continue;
        }
        kept++;
        w += weights[k];
        sum += weights[k] * (values[k] - median);
        noise += weights[k] * errors[k] * errors[k];
        squares += weights[k] * weights[k] * errors[k] * errors[k];
      }
      const double m = w > 0 ? median + sum / w : 0;
      for (size_t k = 0; k < values.size(); k++) {
        if (good(k)) own += weights[k] * (values[k] - m) * (values[k] - m);
      }
      float& mean = call.ports[kMean].view<float>().at(0, row)[x];
      float& weight = call.ports[kWeight].view<float>().at(0, row)[x];
      float& variance = call.ports[kVariance].view<float>().at(0, row)[x];
      float& expected = call.ports[kExpected].view<float>().at(0, row)[x];
      float& scatter = call.ports[kScatter].view<float>().at(0, row)[x];
      uint16_t& count = call.ports[kCount].view<uint16_t>().at(0, row)[x];
      uint16_t& rejected = call.ports[kRejected].view<uint16_t>().at(0, row)[x];
      const double before = weight, share = w > 0 ? w / (before + w) : 0, delta = w > 0 ? m - mean : 0;
      scatter = static_cast<float>(scatter + own + delta * delta * before * share);
      variance = static_cast<float>(variance + squares);
      expected = static_cast<float>(expected + noise);
      mean = static_cast<float>(mean + delta * share);
      weight = static_cast<float>(before + w);
      count = static_cast<uint16_t>(std::min(65535, count + kept));
      rejected = static_cast<uint16_t>(std::min(65535, rejected + out));
    }
  }
  return Ok();
}

}  // namespace rampline::fold_group
