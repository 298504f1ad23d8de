// What the kernel and its reference share: the definition of the three reference series.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "native/core/geometry.h"

namespace rampline::measure_one_over_f {

constexpr int64_t kHalves = 2;      // knots a row: see README.md, "Why two"
constexpr int64_t kReferences = 3;  // reference output, left columns, right columns
constexpr int64_t kNodes = 32;      // frequencies of the table of weights
constexpr int64_t kKnots = 3 * kAmplifiers;
constexpr int64_t kSums = kHalves + 2;  // integers kept for a row: halves of the reference output, left, right
constexpr int64_t kHalfColumns = kReferenceColumns / kHalves;
// A glitch is a value whose second difference exceeds 8 root-mean-squares: 1e-15 for Gaussian noise, so in clean data
// nothing is touched.
constexpr double kGlitch = 8;

using Series = std::vector<double>;

// Frequency of a row of the table of weights, in cycles a row: dense where 1/f noise has its power, and up to the highest
// frequency that two values a row can show.
inline double NodeFrequency(int64_t node) {
  const double part = static_cast<double>(node) / static_cast<double>(kNodes - 1);
  return part * part;
}
// The node at or below a frequency in [0, 1], such that node + 1 is one too.
inline int64_t NodeBelow(double frequency) {
  const auto node = static_cast<int64_t>(std::sqrt(frequency) * static_cast<double>(kNodes - 1));
  return std::clamp<int64_t>(node, 0, kNodes - 2);
}

// Replaces single values that stand out from both neighbours by the nearest values that do not.
inline void RemoveGlitches(Series* series) {
  Series& s = *series;
  const size_t n = s.size();
  if (n < 8) return;
  Series bend(n, 0.0);
  double sum = 0;
  for (size_t j = 1; j + 1 < n; j++) {
    bend[j] = s[j] - 0.5 * (s[j - 1] + s[j + 1]);
    sum += bend[j] * bend[j];
  }
  const double limit = kGlitch * std::sqrt(sum / static_cast<double>(n - 2));
  for (size_t j = 1; j + 1 < n; j++) {
    if (std::abs(bend[j]) <= limit) continue;
    size_t end = j;
    while (end + 1 < n && std::abs(bend[end]) > limit) end++;
    const double before = s[j - 1], after = s[end];
    for (size_t i = j; i < end; i++) {
      s[i] = before + (after - before) * static_cast<double>(i - j + 1) / static_cast<double>(end - j + 1);
    }
    j = end;
  }
}

inline void RemoveMean(Series* series) {
  double sum = 0;
  for (const double v : *series) sum += v;
  const double mean = series->empty() ? 0 : sum / static_cast<double>(series->size());
  for (double& v : *series) v -= mean;
}

// Values at the starts of rows, brought to the middles of half rows (a quarter and three quarters of a row later).
inline Series ToHalves(const Series& starts) {
  const size_t rows = starts.size();
  Series halves(kHalves * rows);
  for (size_t r = 0; r < rows; r++) {
    const double next = starts[std::min(r + 1, rows - 1)];
    halves[2 * r] = 0.75 * starts[r] + 0.25 * next;
    halves[2 * r + 1] = 0.25 * starts[r] + 0.75 * next;
  }
  return halves;
}

// Length with room behind the read, where the end leads back to the start: the transform takes a read for a circle, and
// a drift over the read must not become a step.
inline int64_t PaddedLength(int64_t n) { return n + std::max<int64_t>(16, n / 8); }

}  // namespace rampline::measure_one_over_f
