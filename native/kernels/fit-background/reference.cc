#include <algorithm>
#include <cmath>
#include <vector>

#include "generated/fit-background.h"

namespace rampline::fit_background {
namespace {

using Matrix = std::vector<std::vector<double>>;

double Interpolated(const View<const float>& profile, int64_t fibre, double node, double z) {
  const int64_t left = std::min<int64_t>(static_cast<int64_t>(node), 7);
  const double at = std::clamp((z + 12.0) * 20.0, 0.0, 480.0);
  const int64_t i = std::min<int64_t>(static_cast<int64_t>(at), 479);
  const double s = at - static_cast<double>(i), t = node - static_cast<double>(left);
  const float *a = profile.at(fibre, left) + i, *b = profile.at(fibre, left + 1) + i;
  return (1 - t) * ((1 - s) * a[0] + s * a[1]) + t * ((1 - s) * b[0] + s * b[1]);
}

// Orthogonalises each column of the design against those before it (Gram and Schmidt, twice), the background last: what is
// left of the background's column is what tells it.
std::vector<double> Solve(const Matrix& columns, const std::vector<double>& value, const std::vector<double>& weight,
                          double* variance) {
  const size_t n = columns.size(), m = value.size();
  const auto dot = [&](const std::vector<double>& a, const std::vector<double>& b) {
    double sum = 0;
    for (size_t y = 0; y < m; y++) sum += weight[y] * a[y] * b[y];
    return sum;
  };
  Matrix q(n, std::vector<double>(m)), r(n, std::vector<double>(n, 0.0));
  std::vector<double> norm(n, 0.0), solution(n, 0.0), projected(n, 0.0);
  for (size_t j = 0; j < n; j++) {
    q[j] = columns[j];
    for (int round = 0; round < 2; round++) {
      for (size_t k = 0; k < j; k++) {
        if (norm[k] == 0) continue;
        const double part = dot(q[k], q[j]) / norm[k];
        r[k][j] += part;
        for (size_t y = 0; y < m; y++) q[j][y] -= part * q[k][y];
      }
    }
    const double left = dot(q[j], q[j]);
    norm[j] = left > 1e-6 * dot(columns[j], columns[j]) ? left : 0;
    projected[j] = norm[j] > 0 ? dot(q[j], value) / norm[j] : 0;
  }
  for (size_t j = n; j-- > 0;) {
    solution[j] = projected[j];
    for (size_t k = j + 1; k < n; k++) solution[j] -= r[j][k] * solution[k];
    if (norm[j] == 0) solution[j] = 0;
  }
  *variance = norm[n - 1] > 0 ? 1 / norm[n - 1] : 0;
  return solution;
}

}  // namespace

Status Reference(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto image = call.ports[kImage].view<const float>(), ivar = call.ports[kIvar].view<const float>();
  const auto centre = call.ports[kCentre].view<const float>(), width = call.ports[kWidth].view<const float>();
  const auto profile = call.ports[kProfile].view<const float>();
  const auto out = call.ports[kValue].view<float>(), outWeight = call.ports[kWeight].view<float>();
  const auto sane = [](double v) { return std::abs(v) < 1e15; };
  for (int64_t row = 0; row < out.rows; row++) {
    const int64_t cell = call.origin.row + row;
    const int64_t from = std::max<int64_t>(cell * params.height - 6, 0);
    const int64_t to = std::min((cell + 1) * params.height + 6, image.planes);
    for (int64_t x = 0; x < out.cols; x++) {
      out.at(0, row)[x] = outWeight.at(0, row)[x] = 0;
      if (x % params.step != 0 || to <= from) continue;
      const double node = 8.0 * static_cast<double>(x) / static_cast<double>(std::max<int64_t>(out.cols - 1, 1));
      std::vector<double> value, weight;
      for (int64_t y = from; y < to; y++) {
        const double d = image.at(y, 0)[x], w = ivar.at(y, 0)[x];
        const bool counts = w > 0 && sane(w) && sane(d);
        value.push_back(counts ? d : 0);
        weight.push_back(counts ? w : 0);
      }
      Matrix columns;
      for (int64_t f = 0; f < 300; f++) {
        const double c = centre.at(0, f)[x], w = width.at(0, f)[x];
        if (!(sane(c) && w > 0.05 && w < 20)) continue;
        if (std::floor(c + 12 * w + 0.5) < static_cast<double>(from)) continue;
        if (std::ceil(c - 12 * w - 0.5) > static_cast<double>(to - 1)) continue;
        std::vector<double> share;
        for (int64_t y = from; y < to; y++) {
          const double z = static_cast<double>(y) - c;
          const double light =
              Interpolated(profile, f, node, (z + 0.5) / w) - Interpolated(profile, f, node, (z - 0.5) / w);
          share.push_back(sane(light) ? light : 0);
        }
        columns.push_back(share);
      }
      if (columns.size() > 40) continue;
      columns.emplace_back(value.size(), 1.0);
      double variance = 0;
      const std::vector<double> first = Solve(columns, value, weight, &variance);
      std::vector<double> revised(weight.size(), 0.0);
      for (size_t y = 0; y < weight.size(); y++) {
        double light = 0;
        for (size_t f = 0; f + 1 < columns.size(); f++) light += std::abs(first[f]) * columns[f][y];
        if (weight[y] > 0) revised[y] = 1 / (1 / weight[y] + params.trust * params.trust * light * light);
      }
      const std::vector<double> second = Solve(columns, value, revised, &variance);
      const auto v = static_cast<float>(second.back()), w = static_cast<float>(variance > 0 ? 1 / variance : 0);
      if (!(w > 0) || !std::isfinite(v) || !std::isfinite(w)) continue;
      out.at(0, row)[x] = v;
      outWeight.at(0, row)[x] = w;
    }
  }
  return Ok();
}

}  // namespace rampline::fit_background
