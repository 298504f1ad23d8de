// One column and one fibre after the other, over all rows.
#include <algorithm>
#include <cmath>
#include <vector>

#include "generated/dq.h"
#include "generated/extract-horne.h"
#include "native/core/extract_reference.h"

namespace rampline::extract_horne {
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
  return extract_reference::Read(call, v, static_cast<uint32_t>(params.bad), params.reach, x);
}

struct Solution {
  std::vector<double> flux, own, seen, squares, model;
  std::vector<int> kept;
};

Solution Solve(const Column& c) {
  Solution s;
  s.model.assign(c.value.size(), 0.0);
  for (const std::vector<double>& light : c.light) {
    double right = 0, own = 0, seen = 0, squares = 0;
    for (size_t y = 0; y < light.size(); y++) {
      right += c.weight[y] * light[y] * c.value[y];
      own += c.weight[y] * light[y] * light[y];
      if (c.weight[y] > 0) seen += light[y];
      if (c.weight[y] > 0) squares += light[y] * light[y];
    }
    const bool kept = own > 0 && squares >= 1e-10f;
    s.kept.push_back(kept);
    s.own.push_back(own);
    s.seen.push_back(seen);
    s.squares.push_back(squares);
    s.flux.push_back(kept ? right / own : 0);
    for (size_t y = 0; y < light.size(); y++) s.model[y] += s.flux.back() * light[y];
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
      const bool dropped = s.kept[f] == 0 || s.seen[f] < 0.1f;
      const double variance = s.kept[f] == 0 ? 0 : 1 / s.own[f];
      double sum = 0, freedom = 0, others = 0, on = 0;
      uint32_t bits = call.ports[kTraceDq].view<const uint32_t>().at(plane, 0)[x];
      for (size_t y = 0; y < c.value.size(); y++) {
        const double p = c.light[f][y], residual = c.value[y] - s.model[y];
        on += p;
        others += c.weight[y] * p * (s.model[y] - s.flux[f] * p);
        if (p >= 1e-3f) bits |= c.bits[y];
        if (c.weight[y] == 0 || !c.there[f] || std::abs(static_cast<double>(y) - c.row[f]) > std::min(3, params.reach))
          continue;
        sum += c.weight[y] * residual * residual;
        freedom += 1 - c.weight[y] * p * p * variance;
      }
      const double unit = std::max(s.flux[f], std::sqrt(variance)) * s.own[f];
      const double talk = dropped ? 0 : others / unit;
      flux.at(plane, 0)[x] = dropped ? 0 : static_cast<float>(s.flux[f]);
      ivar.at(plane, 0)[x] = dropped ? 0 : static_cast<float>(1 / variance);
      chi2.at(plane, 0)[x] = dropped || freedom <= 0.5 ? 0 : static_cast<float>(sum / freedom);
      crosstalk.at(plane, 0)[x] = static_cast<float>(talk);
      if (dropped) bits |= dq::kExtractionFailed;
      if (s.seen[f] < 0.1f) bits |= dq::kNoGoodPixels;
      if (!dropped && s.squares[f] < 0.01f) bits |= dq::kWideWindow;
      if (c.part[f] && on < 0.99f) bits |= dq::kOffChip;
      dq.at(plane, 0)[x] = bits;
    }
  }
  return Ok();
}

}  // namespace rampline::extract_horne
