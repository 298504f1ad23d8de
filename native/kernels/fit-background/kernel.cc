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
constexpr int64_t kLine = 16;  // values in a line of the cache

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

// Four sums at a time, as each addition waits for the one before.
double Dot(const double* a, const double* b, int count) {
  double s0 = 0, s1 = 0, s2 = 0, s3 = 0;
  int i = 0;
  for (; i + 4 <= count; i += 4) {
    s0 += a[i] * b[i];
    s1 += a[i + 1] * b[i + 1];
    s2 += a[i + 2] * b[i + 2];
    s3 += a[i + 3] * b[i + 3];
  }
  for (; i < count; i++) s0 += a[i] * b[i];
  return (s0 + s1) + (s2 + s3);
}

// Weighted least squares with the background as the last unknown; the light of the fibres goes into `light`.
Result Solve(Window& window, double trust) {
  const int n = window.fibres + 1;
  double a[kMostFibres + 1][kMostFibres + 1] = {}, b[kMostFibres + 1] = {}, weight[kMostRows], weighted[kMostRows];
  for (int y = 0; y < window.rows; y++) {
    const double extra = trust * window.light[y];
    weight[y] = window.weight[y] > 0 ? 1 / (1 / window.weight[y] + extra * extra) : 0;
    a[n - 1][n - 1] += weight[y];
    b[n - 1] += weight[y] * window.value[y];
  }
  for (int f = 0; f < window.fibres; f++) {
    const int first = window.first[f], last = window.last[f];
    for (int y = first; y <= last; y++) {
      weighted[y] = weight[y] * window.share[f][y];
      a[n - 1][f] += weighted[y];
    }
    b[f] = Dot(weighted + first, window.value + first, last - first + 1);
    for (int g = 0; g <= f; g++) {
      const int from = std::max(first, window.first[g]), to = std::min(last, window.last[g]);
      if (from <= to) a[f][g] = Dot(weighted + from, window.share[g] + from, to - from + 1);
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
  // The rows that each fibre reaches in any of the columns: traces of one column lie pages apart, so few are looked at twice.
  double lowest[kFibres], highest[kFibres];
  for (int64_t f = 0; f < kFibres; f++) {
    double low = 1e30, high = -1e30;
    const float *centres = centre.at(0, f), *widths = width.at(0, f);
    for (int64_t x = 0; x < value.cols; x += params.step) {
      const double c = centres[x], w = widths[x];
      if (!(Sane(c) && w > 0.05 && w < 20)) continue;
      low = std::min(low, c - kReach * w - 0.5);
      high = std::max(high, c + kReach * w + 0.5);
    }
    lowest[f] = std::ceil(low);
    highest[f] = std::floor(high);
  }
  for (int64_t row = 0; row < value.rows; row++) {
    std::fill_n(value.at(0, row), value.cols, 0.0f);
    std::fill_n(weight.at(0, row), value.cols, 0.0f);
    const int64_t from = std::max<int64_t>((call.origin.row + row) * params.height - kMargin, 0);
    const int64_t to = std::min((call.origin.row + row + 1) * params.height + kMargin, image.planes);
    if (to <= from) continue;
    int64_t near[kFibres];
    int64_t count = 0;
    for (int64_t f = 0; f < kFibres; f++) {
      if (highest[f] >= static_cast<double>(from) && lowest[f] <= static_cast<double>(to - 1)) near[count++] = f;
    }
    for (int64_t x = 0; x < value.cols; x += params.step) {
      window.rows = static_cast<int>(to - from);
      window.fibres = 0;
      for (int y = 0; y < window.rows; y++) {
        const float *pixel = image.at(from + y, 0) + x, *given = ivar.at(from + y, 0) + x;
        // The next line of the cache: rows are pages apart, so the processor does not foresee it.
        if (x + kLine < value.cols) {
          __builtin_prefetch(pixel + kLine);
          __builtin_prefetch(given + kLine);
        }
        const double d = *pixel, w = *given;
        const bool counts = w > 0 && Sane(w) && Sane(d);
        window.value[y] = counts ? d : 0;
        window.weight[y] = counts ? w : 0;
        window.light[y] = 0;
      }
      const double node = 8.0 * static_cast<double>(x) / static_cast<double>(std::max<int64_t>(value.cols - 1, 1));
      const int64_t left = std::min<int64_t>(static_cast<int64_t>(node), 7);
      const double part = node - static_cast<double>(left);
      bool crowded = false;
      for (int64_t k = 0; k < count; k++) {
        const int64_t f = near[k];
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
