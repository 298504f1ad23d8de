#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "generated/gather-linearity.h"

namespace rampline::gather_linearity {
namespace {

// Squares of second differences above this belong to a jump; also the variance of a difference.
struct Cut {
  double limit, variance;
};

Cut CutOf(const std::vector<double>& d, double clip) {
  double most = 0, second = 0, total = 0, n = 0;
  const auto squareAt = [&](size_t k) { return (d[k + 1] - d[k]) * (d[k + 1] - d[k]); };
  for (size_t k = 0; k + 1 < d.size(); k++) {
    const double square = squareAt(k);
    if (std::isnan(square)) continue;
    second = std::max(second, std::min(most, square));
    most = std::max(most, square);
    total += square;
    n++;
  }
  const double all = std::numeric_limits<double>::infinity();
  if (n < 5) return {all, n > 0 ? total / n / 2 : 0};
  const double first = clip * clip * (total - most - second) / (n - 2);
  if (most <= first) return {all, total / n / 2};
  double kept = 0, number = 0;
  for (size_t k = 0; k + 1 < d.size(); k++) {
    if (!(squareAt(k) <= first)) continue;
    kept += squareAt(k);
    number++;
  }
  const double mean = kept / std::max(number, 1.0);
  return {clip * clip * mean, mean / 2};
}

}  // namespace

Status Reference(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto counts = call.ports[kCounts].view<const float>();
  const auto sums = call.ports[kSums].view<float>();
  const int64_t n = counts.planes - 1;
  if (n < 8) return Ok();
  for (int64_t row = 0; row < counts.rows; row++) {
    for (int64_t x = 0; x < counts.cols; x++) {
      std::vector<double> d;
      for (int64_t k = 0; k < n; k++) d.push_back(static_cast<double>(counts.at(k + 1, row)[x]) - counts.at(k, row)[x]);
      const auto [limit, variance] = CutOf(d, params.clip);
      const double early = d[0] + d[1], late = d[2] + d[3];  // late may be missing
      const double level = (late < early ? late : early) / 2, noise = 6 * std::sqrt(variance);
      const double least = std::isnan(level) ? level : std::min(0.5 * level, level - noise);
      double m = 0, t1 = 0, t2 = 0, t3 = 0, t4 = 0, most = 0, s[3][3] = {};
      bool alive = d[0] >= least;
      for (int64_t k = 0; k < n; k++) {
        const auto i = static_cast<size_t>(k);
        const bool next = alive && (k + 1 == n || d[i + 1] >= least);
        const auto jumps = [&](size_t j) { return (d[j + 1] - d[j]) * (d[j + 1] - d[j]) > limit; };
        const bool used = next && !(k > 0 && jumps(i - 1)) && !(k + 1 < n && jumps(i));
        alive = next;
        if (!used) continue;
        const double t = static_cast<double>(k) - 0.5 * static_cast<double>(n - 1);
        const double a = counts.at(k, row)[x] / params.unit, b = counts.at(k + 1, row)[x] / params.unit;
        const double terms[3] = {b - a, (b - a) * (b + a), (b - a) * (b * b + a * b + a * a)};
        for (int j = 0; j < 3; j++) {
          s[0][j] += terms[j];
          s[1][j] += t * terms[j];
          s[2][j] += t * t * terms[j];
        }
        m++;
        t1 += t;
        t2 += t * t;
        t3 += t * t * t;
        t4 += t * t * t * t;
        most = std::max(most, static_cast<double>(counts.at(k + 1, row)[x]));
      }
      float& highest = sums.at(10, row)[x];
      highest = std::max(highest, static_cast<float>(most));
      sums.at(11, row)[x] += alive ? 0.0f : 1.0f;
      if (m < 8 || !(level > noise)) continue;
      const double r = std::max(s[0][0] / m, 0.0), m1 = t1 / m, m2 = t2 / m, weight[2] = {r, r * r};
      const auto add = [&](int64_t plane, double value) { sums.at(plane, row)[x] += static_cast<float>(value); };
      for (int i = 0; i < 2; i++) {
        const double mean = i == 0 ? m1 : m2;
        add(2 * i, weight[i] * (s[i + 1][1] - mean * s[0][1]));
        add(2 * i + 1, weight[i] * (s[i + 1][2] - mean * s[0][2]));
        add(4 + i, weight[i] * (s[i + 1][0] - mean * s[0][0]));
      }
      add(6, r * r * r * (t2 - m1 * t1));
      add(7, r * r * r * r * (t3 - m1 * t2));
      add(8, r * r * r * r * r * (t4 - m2 * t2));
      add(9, m);
    }
  }
  return Ok();
}

}  // namespace rampline::gather_linearity
