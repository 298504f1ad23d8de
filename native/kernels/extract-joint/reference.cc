// One column after the other: the profiles as a dense matrix, the normal equations as a dense matrix, Gauss-Jordan.
#include <algorithm>
#include <cmath>
#include <vector>

#include "generated/dq.h"
#include "generated/extract-joint.h"

namespace rampline::extract_joint {
namespace {

using Matrix = std::vector<std::vector<double>>;

struct Column {
  std::vector<double> value, weight;  // of each row; weight 0 where it must not be used
  std::vector<uint32_t> bits;
  Matrix light;             // [fibre][row]
  std::vector<int> there;   // whether a fibre has a place
  std::vector<double> row;  // that its centre lies in
  std::vector<int> part;    // whether its window leaves the chip
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
      if (std::abs(here - row) > params.reach) continue;
      light[y] = edge(here + 0.5) - edge(here - 0.5);
    }
    c.light.push_back(light);
    c.there.push_back(there);
    c.row.push_back(row);
    c.part.push_back(row < params.reach || row > static_cast<double>(light.size() - 1) - params.reach);
  }
  return c;
}

struct Solution {
  Matrix normal, inverse;
  std::vector<double> right, flux, model;
  std::vector<int> kept;  // fibres that the solution has
  std::vector<double> seen, squares;
};

Solution Solve(const Column& c) {
  const size_t n = c.light.size(), rows = c.value.size();
  Solution s;
  s.normal.assign(n, std::vector<double>(n, 0.0));
  s.right.assign(n, 0.0);
  s.seen.assign(n, 0.0);
  s.squares.assign(n, 0.0);
  for (size_t f = 0; f < n; f++) {
    for (size_t y = 0; y < rows; y++) {
      s.right[f] += c.weight[y] * c.light[f][y] * c.value[y];
      for (size_t g = 0; g < n; g++) s.normal[f][g] += c.weight[y] * c.light[f][y] * c.light[g][y];
      if (c.weight[y] > 0) s.seen[f] += c.light[f][y];
      if (c.weight[y] > 0) s.squares[f] += c.light[f][y] * c.light[f][y];
    }
  }
  // Gauss-Jordan on [N | r | 1], in order; a fibre whose own information is used up by those before it is passed over.
  Matrix a(n, std::vector<double>(2 * n + 1, 0.0));
  for (size_t f = 0; f < n; f++) {
    for (size_t g = 0; g < n; g++) a[f][g] = s.normal[f][g];
    a[f][n] = s.right[f];
    a[f][n + 1 + f] = 1;
  }
  s.kept.assign(n, 0);
  for (size_t f = 0; f < n; f++) {
    const double own = s.normal[f][f];
    s.kept[f] = own > 0 && s.squares[f] >= 1e-10f && a[f][f] >= 0.02f * own;
    if (!s.kept[f]) continue;
    const double pivot = a[f][f];
    for (double& value : a[f]) value /= pivot;
    for (size_t g = 0; g < n; g++) {
      const double times = a[g][f];
      if (g == f || times == 0) continue;
      for (size_t k = 0; k < a[g].size(); k++) a[g][k] -= times * a[f][k];
    }
  }
  s.flux.assign(n, 0.0);
  s.inverse.assign(n, std::vector<double>(n, 0.0));
  for (size_t f = 0; f < n; f++) {
    if (!s.kept[f]) continue;
    s.flux[f] = a[f][n];
    for (size_t g = 0; g < n; g++) s.inverse[f][g] = s.kept[g] ? a[f][n + 1 + g] : 0;
  }
  s.model.assign(rows, 0.0);
  for (size_t f = 0; f < n; f++) {
    for (size_t y = 0; y < rows; y++) s.model[y] += s.flux[f] * c.light[f][y];
  }
  return s;
}

double Revised(double weight, double value, double model, double photons) {
  const double more = photons * (std::max(model, 0.0) - std::max(value, 0.0));
  return weight / std::max(1 + weight * more, 0.1);
}

}  // namespace

Status Reference(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const double photons = params.photonVariance;
  const auto flux = call.ports[kFlux].view<float>(), ivar = call.ports[kIvar].view<float>();
  const auto next = call.ports[kNext].view<float>(), second = call.ports[kSecond].view<float>();
  const auto chi2 = call.ports[kChi2].view<float>(), crosstalk = call.ports[kCrosstalk].view<float>();
  const auto dq = call.ports[kDq].view<uint32_t>();
  const auto n = static_cast<size_t>(flux.planes);
  for (int64_t x = 0; x < flux.cols; x++) {
    Column c = Read(call, x);
    const std::vector<double> given = c.weight;
    Solution s = Solve(c);
    bool rejected = false;
    for (size_t y = 0; y < c.value.size(); y++) {
      if (photons > 0) c.weight[y] = Revised(c.weight[y], c.value[y], s.model[y], photons);
      const double residual = c.value[y] - s.model[y], part = params.profileError * s.model[y];
      const double limit = static_cast<double>(params.reject) * params.reject * (1 + c.weight[y] * part * part);
      if (params.reject > 0 && residual > 0 && residual * residual * c.weight[y] > limit) {
        c.weight[y] = 0;
        c.bits[y] = dq::kModelOutlier;
        rejected = true;
      }
    }
    if (rejected || photons > 0) s = Solve(c);
    if (photons > 0) {
      for (size_t y = 0; y < c.value.size(); y++) {
        if (c.weight[y] > 0) c.weight[y] = Revised(given[y], c.value[y], s.model[y], photons);
      }
      s = Solve(c);
    }
    for (size_t f = 0; f < n; f++) {
      const auto plane = static_cast<int64_t>(f);
      bool dropped = s.kept[f] == 0 || s.seen[f] < 0.1f;
      for (size_t g = 0; g < n; g++) {
        const double both = s.normal[f][f] * s.normal[g][g];
        if (g != f && s.kept[g] == 0 && s.normal[g][g] > 0 && s.normal[f][g] * s.normal[f][g] > 0.9f * both)
          dropped = true;
      }
      const double variance = s.inverse[f][f];
      double sum = 0, freedom = 0, others = 0, on = 0;
      uint32_t bits = call.ports[kTraceDq].view<const uint32_t>().at(plane, 0)[x];
      for (size_t y = 0; y < c.value.size(); y++) {
        const double p = c.light[f][y], residual = c.value[y] - s.model[y];
        on += p;
        if (p >= 1e-3f) bits |= c.bits[y];
        if (c.weight[y] == 0 || !c.there[f] || std::abs(static_cast<double>(y) - c.row[f]) > std::min(3, params.reach))
          continue;
        sum += c.weight[y] * residual * residual;
        freedom += 1 - c.weight[y] * p * p * variance;
      }
      for (size_t g = 0; g < n; g++) others += g == f ? 0 : s.normal[f][g] * s.flux[g];
      const double unit = std::max(s.flux[f], std::sqrt(variance)) * s.normal[f][f];
      const double talk = dropped ? 0 : others / unit;
      flux.at(plane, 0)[x] = dropped ? 0 : static_cast<float>(s.flux[f]);
      ivar.at(plane, 0)[x] = dropped ? 0 : static_cast<float>(1 / variance);
      next.at(plane, 0)[x] = f + 1 < n ? static_cast<float>(s.inverse[f][f + 1]) : 0;
      second.at(plane, 0)[x] = f + 2 < n ? static_cast<float>(s.inverse[f][f + 2]) : 0;
      chi2.at(plane, 0)[x] = dropped || freedom <= 0.5 ? 0 : static_cast<float>(sum / freedom);
      crosstalk.at(plane, 0)[x] = static_cast<float>(talk);
      if (dropped) bits |= dq::kExtractionFailed;
      if (s.seen[f] < 0.1f) bits |= dq::kNoGoodPixels;
      if (!dropped && s.squares[f] < 0.01f) bits |= dq::kWideWindow;
      if (talk > 1) bits |= dq::kCrossTalk;
      if (c.part[f] && on < 0.99f) bits |= dq::kOffChip;
      dq.at(plane, 0)[x] = bits;
    }
  }
  return Ok();
}

}  // namespace rampline::extract_joint
