// Plain C++: the cost is the look-up of profiles and small equations, in one column of every few.
#include <algorithm>
#include <cmath>

#include "generated/fit-background.h"

namespace rampline::fit_background {
namespace {

constexpr int64_t kFibres = 300;
// Rows beyond a cell that are looked at too: fibres at its edge would otherwise be seen by half.
constexpr int64_t kMargin = 6;
constexpr int64_t kMostRows = 96 + 2 * kMargin;
// A cell of 96 rows has 20 fibres of APOGEE within reach. With more than this many the fibres overlap, and nothing is between them.
constexpr int kMostFibres = 40;
constexpr double kReach = 12, kPerPixel = 20;

bool Sane(double v) { return std::abs(v) < 1e15; }

double Cumulative(const float* table, double z) {
  const double at = std::clamp((z + kReach) * kPerPixel, 0.0, 480.0);
  const int64_t i = std::min<int64_t>(static_cast<int64_t>(at), 479);
  return table[i] + (static_cast<double>(table[i + 1]) - table[i]) * (at - static_cast<double>(i));
}

// The pixels of a cell in one column, and the light of each fibre there for a flux of 1.
struct Window {
  int rows = 0, fibres = 0;
  double value[kMostRows], weight[kMostRows], light[kMostRows];
  double share[kMostFibres][kMostRows];
  int first[kMostFibres], last[kMostFibres];  // rows that the fibre reaches
};

struct Result {
  double value = 0, weight = 0;
};

// Weighted least squares with the background as the last unknown; the light of the fibres goes into `light`.
Result Solve(Window& window, double trust) {
  const int n = window.fibres + 1;
  double a[kMostFibres + 1][kMostFibres + 1] = {}, b[kMostFibres + 1] = {}, weight[kMostRows];
  for (int y = 0; y < window.rows; y++) {
    const double extra = trust * window.light[y];
    weight[y] = window.weight[y] > 0 ? 1 / (1 / window.weight[y] + extra * extra) : 0;
    a[n - 1][n - 1] += weight[y];
    b[n - 1] += weight[y] * window.value[y];
  }
  for (int f = 0; f < window.fibres; f++) {
    for (int y = window.first[f]; y <= window.last[f]; y++) {
      const double p = weight[y] * window.share[f][y];
      a[n - 1][f] += p;
      b[f] += p * window.value[y];
    }
    for (int g = 0; g <= f; g++) {
      for (int y = std::max(window.first[f], window.first[g]); y <= std::min(window.last[f], window.last[g]); y++) {
        a[f][g] += weight[y] * window.share[f][y] * window.share[g][y];
      }
    }
  }
  // Cholesky. A fibre that adds nothing to those before it, or has no pixel, is left out.
  double root[kMostFibres + 1];
  for (int j = 0; j < n; j++) {
    const double own = a[j][j];
    double pivot = own;
    for (int k = 0; k < j; k++) pivot -= a[j][k] * a[j][k];
    root[j] = pivot > 1e-6 * own ? std::sqrt(pivot) : 0;
    const double per = root[j] > 0 ? 1 / root[j] : 0;
    double right = b[j];
    for (int k = 0; k < j; k++) right -= a[j][k] * b[k];
    b[j] = right * per;
    for (int i = j + 1; i < n; i++) {
      double sum = a[i][j];
      for (int k = 0; k < j; k++) sum -= a[i][k] * a[j][k];
      a[i][j] = sum * per;
    }
  }
  for (int j = n - 1; j >= 0; j--) {
    double sum = b[j];
    for (int i = j + 1; i < n; i++) sum -= a[i][j] * b[i];
    b[j] = root[j] > 0 ? sum / root[j] : 0;
  }
  for (int y = 0; y < window.rows; y++) window.light[y] = 0;
  for (int f = 0; f < window.fibres; f++) {
    for (int y = window.first[f]; y <= window.last[f]; y++) window.light[y] += std::abs(b[f]) * window.share[f][y];
  }
  return {b[n - 1], root[n - 1] * root[n - 1]};
}

}  // namespace

Status Run(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto image = call.ports[kImage].view<const float>(), ivar = call.ports[kIvar].view<const float>();
  const auto centre = call.ports[kCentre].view<const float>(), width = call.ports[kWidth].view<const float>();
  const auto profile = call.ports[kProfile].view<const float>();
  const auto value = call.ports[kValue].view<float>(), weight = call.ports[kWeight].view<float>();
  static thread_local Window window;
  for (int64_t row = 0; row < value.rows; row++) {
    std::fill_n(value.at(0, row), value.cols, 0.0f);
    std::fill_n(weight.at(0, row), value.cols, 0.0f);
    const int64_t from = std::max<int64_t>((call.origin.row + row) * params.height - kMargin, 0);
    const int64_t to = std::min((call.origin.row + row + 1) * params.height + kMargin, image.planes);
    if (to <= from) continue;
    for (int64_t x = 0; x < value.cols; x += params.step) {
      window.rows = static_cast<int>(to - from);
      window.fibres = 0;
      for (int y = 0; y < window.rows; y++) {
        const double d = image.at(from + y, 0)[x], w = ivar.at(from + y, 0)[x];
        const bool counts = w > 0 && Sane(w) && Sane(d);
        window.value[y] = counts ? d : 0;
        window.weight[y] = counts ? w : 0;
        window.light[y] = 0;
      }
      const double node = 8.0 * static_cast<double>(x) / static_cast<double>(std::max<int64_t>(value.cols - 1, 1));
      const int64_t left = std::min<int64_t>(static_cast<int64_t>(node), 7);
      const double part = node - static_cast<double>(left);
      bool crowded = false;
      for (int64_t f = 0; f < kFibres; f++) {
        const double c = centre.at(0, f)[x], w = width.at(0, f)[x];
        if (!(Sane(c) && w > 0.05 && w < 20)) continue;
        const double low = std::ceil(c - kReach * w - 0.5), high = std::floor(c + kReach * w + 0.5);
        if (high < static_cast<double>(from) || low > static_cast<double>(to - 1)) continue;
        if (window.fibres == kMostFibres) {
          crowded = true;
          break;
        }
        const int own = window.fibres++;
        window.first[own] = static_cast<int>(std::max<double>(low - static_cast<double>(from), 0));
        window.last[own] = static_cast<int>(std::min<double>(high - static_cast<double>(from), window.rows - 1));
        const auto below = [&](double z) {
          const double before = Cumulative(profile.at(f, left), z), after = Cumulative(profile.at(f, left + 1), z);
          return before + (after - before) * part;
        };
        double lower = below((static_cast<double>(from + window.first[own]) - 0.5 - c) / w);
        for (int y = window.first[own]; y <= window.last[own]; y++) {
          const double upper = below((static_cast<double>(from + y) + 0.5 - c) / w);
          window.share[own][y] = Sane(upper - lower) ? upper - lower : 0;
          lower = upper;
        }
      }
      if (crowded) continue;
      Solve(window, 0);
      // Where the fibres send much, their profile's error counts.
      const Result result = Solve(window, params.trust);
      const auto v = static_cast<float>(result.value), w = static_cast<float>(result.weight);
      if (!(w > 0) || !std::isfinite(v) || !std::isfinite(w)) continue;
      value.at(0, row)[x] = v;
      weight.at(0, row)[x] = w;
    }
  }
  return Ok();
}

}  // namespace rampline::fit_background
