// One column after the other, the profiles as a dense matrix.
#include <algorithm>
#include <cmath>
#include <vector>

#include "generated/dq.h"
#include "generated/extract-upstream.h"

namespace rampline::extract_upstream {
namespace {

struct Column {
  std::vector<double> value, weight;  // of each row; weight 0 where it must not be used
  std::vector<uint32_t> bits;
  std::vector<std::vector<double>> light;  // [fibre][row]
  std::vector<int> there;                  // whether a fibre has a place
  std::vector<double> row;                 // that its centre lies in
};

double Cumulative(const float* low, const float* high, double part, double z) {
  const double at = std::clamp(z, 0.0, 480.0);
  const int i = std::min(static_cast<int>(at), 479);
  const double from = low[i] + part * (static_cast<double>(high[i]) - low[i]);
  const double to = low[i + 1] + part * (static_cast<double>(high[i + 1]) - low[i + 1]);
  return from + (to - from) * (at - i);
}

// A table with a value that is no part of all light is no profile.
bool Sane(const float* table) {
  return std::all_of(table, table + 481, [](float value) { return std::abs(value) <= 2; });
}

Column Read(const KernelCall& call, int64_t x) {
  const Params& params = ParamsOf(call);
  const auto image = call.ports[kImage].view<const float>(), ivar = call.ports[kImageIvar].view<const float>();
  const auto dq = call.ports[kImageDq].view<const uint32_t>(), traceDq = call.ports[kTraceDq].view<const uint32_t>();
  const auto centre = call.ports[kCentre].view<const float>(), width = call.ports[kWidth].view<const float>();
  const auto profile = call.ports[kProfile].view<const float>();
  Column c;
  for (int64_t y = 0; y < image.planes; y++) {
    const float d = image.at(y, 0)[x], w = ivar.at(y, 0)[x];
    const bool use =
        (dq.at(y, 0)[x] & static_cast<uint32_t>(params.bad)) == 0 && std::abs(d) < 1e9f && w > 1e-12f && w < 1e12f;
    c.value.push_back(use ? d : 0);
    c.weight.push_back(use ? w : 0);
    c.bits.push_back(use ? dq.at(y, 0)[x] : 0);
  }
  const int64_t last = call.whole.cols - 1;
  const double position = last > 0 ? static_cast<double>(call.origin.x + x) * 8 / static_cast<double>(last) : 0;
  const int node = std::min(static_cast<int>(position), 7);
  constexpr uint32_t kLeftOut = dq::kBrokenFibre | dq::kExtractionFailed | dq::kNoGoodPixels;
  for (int64_t f = 0; f < centre.planes; f++) {
    const double at = centre.at(f, 0)[x], wide = width.at(f, 0)[x];
    const bool there = (traceDq.at(f, 0)[x] & kLeftOut) == 0 && std::abs(at) < 1e6 && wide >= 0.3f && wide <= 5.0f;
    std::vector<double> light(c.value.size(), 0.0);
    const double row = std::floor(static_cast<float>(at) + 0.5f);
    const auto edge = [&](double y) {
      return Cumulative(profile.at(f, node), profile.at(f, node + 1), position - node, 240 + 20 * (y - at) / wide);
    };
    const bool sane = Sane(profile.at(f, node)) && Sane(profile.at(f, node + 1));
    for (size_t y = 0; y < light.size() && there && sane; y++) {
      const auto here = static_cast<double>(y);
      if (std::abs(here - row) > 12) continue;
      light[y] = edge(here + 0.5) - edge(here - 0.5);
    }
    c.light.push_back(light);
    c.there.push_back(there);
    c.row.push_back(row);
  }
  return c;
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
