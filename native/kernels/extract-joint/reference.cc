// One column after the other: the profiles as a dense matrix, the normal equations as a dense matrix, Gauss-Jordan.
#include <algorithm>
#include <cmath>
#include <vector>

#include "generated/dq.h"
#include "generated/extract-joint.h"
#include "native/core/extract_reference.h"

namespace rampline::extract_joint {
namespace {

using Matrix = std::vector<std::vector<double>>;

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
  return extract_reference::Read(call, v, static_cast<uint32_t>(params.bad), params.reach, x);
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
