#include <complex>
#include <numbers>
#include <vector>

#include "generated/measure-one-over-f.h"
#include "native/core/fft.h"
#include "native/kernels/measure-one-over-f/model.h"

namespace rampline::measure_one_over_f {
namespace {

using Number = std::complex<double>;

double Mean(const uint16_t* p, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += p[i];
  return sum / static_cast<double>(n);
}

// The weight of an amplifier and a reference at a frequency, in cycles a row.
Number Weight(const float* weights, int64_t amplifier, int64_t reference, double f) {
  const auto at = [&](int64_t node) {
    const float* w = weights + ((node * kAmplifiers + amplifier) * kReferences + reference) * 2;
    return Number(w[0], w[1]);
  };
  const int64_t i = NodeBelow(f);
  const double u = (f - NodeFrequency(i)) / (NodeFrequency(i + 1) - NodeFrequency(i));
  return at(i) * (1 - u) + at(i + 1) * u;
}

}  // namespace

Status Reference(const KernelCall& call) {
  const auto reads = call.ports[kReads].view<const uint16_t>();
  const auto correction = call.ports[kCorrection].view<float>();
  const auto* weights = static_cast<const float*>(call.ports[kWeights].data);
  if (reads.cols != kReadColumns)
    return Fail(Code::kUsage, "reads must have 2560 columns", -1, kReadColumns, reads.cols);
  const auto rows = static_cast<size_t>(reads.rows);

  // The three series of each read, less what all reads have in common.
  std::vector<Series> series[kReferences];
  for (int64_t k = 0; k < reads.planes; k++) {
    Series output, left, right;
    for (int64_t row = 0; row < reads.rows; row++) {
      const uint16_t* p = reads.at(k, row);
      for (int64_t h = 0; h < kHalves; h++)
        output.push_back(Mean(p + kScienceColumns + h * kHalfColumns, kHalfColumns));
      left.push_back(Mean(p, kBorder));
      right.push_back(Mean(p + kScienceColumns - kBorder, kBorder));
    }
    series[0].push_back(output);
    series[1].push_back(left);
    series[2].push_back(right);
  }
  for (auto& reference : series) {
    Series common(reference.empty() ? 0 : reference[0].size(), 0.0);
    for (const Series& s : reference) {
      for (size_t j = 0; j < s.size(); j++) common[j] += s[j];
    }
    for (Series& s : reference) {
      for (size_t j = 0; j < s.size() && reads.planes > 1; j++) s[j] -= common[j] / static_cast<double>(reads.planes);
      RemoveMean(&s);
      RemoveGlitches(&s);
    }
  }

  for (int64_t k = 0; k < reads.planes; k++) {
    const auto plane = static_cast<size_t>(k);
    if (weights == nullptr) {
      const int64_t reach = ParamsOf(call).windowRows / 2;
      Series smooth(rows);
      for (int64_t row = 0; row < reads.rows; row++) {
        const int64_t from = std::max<int64_t>(0, row - reach), to = std::min(reads.rows - 1, row + reach);
        double sum = 0;
        for (int64_t r = from; r <= to; r++) {
          sum += 0.5 * (series[1][plane][static_cast<size_t>(r)] + series[2][plane][static_cast<size_t>(r)]);
        }
        smooth[static_cast<size_t>(row)] = sum / static_cast<double>(to - from + 1);
      }
      RemoveMean(&smooth);
      for (size_t r = 0; r < rows; r++) {
        const double start = smooth[r], end = smooth[std::min(r + 1, rows - 1)];
        for (int64_t a = 0; a < kAmplifiers; a++) {
          float* knots = correction.at(k, static_cast<int64_t>(r)) + a * 3;
          knots[0] = static_cast<float>(start);
          knots[1] = static_cast<float>(0.5 * (start + end));
          knots[2] = static_cast<float>(end);
        }
      }
      continue;
    }
    const int64_t n = kHalves * reads.rows, length = BatchFft::GoodLength(PaddedLength(n));
    std::vector<Number> spectrum[kReferences];
    for (int64_t i = 0; i < kReferences; i++) {
      Series s = i == 0 ? series[i][plane] : ToHalves(series[i][plane]);
      for (int64_t j = n; j < length; j++) {
        const double u = static_cast<double>(j - n + 1) / static_cast<double>(length - n + 1);
        s.push_back(s[static_cast<size_t>(n - 1)] * (1 - u) + s[0] * u);
      }
      for (int64_t m = 0; m < length; m++) {
        Number sum = 0;
        for (int64_t j = 0; j < length; j++) {
          const double turn = static_cast<double>(j * m % length) / static_cast<double>(length);
          sum += s[static_cast<size_t>(j)] * std::polar(1.0, -2 * std::numbers::pi * turn);
        }
        spectrum[i].push_back(sum);
      }
    }
    for (int64_t a = 0; a < kAmplifiers; a++) {
      std::vector<Number> noise(static_cast<size_t>(length), 0.0);
      for (int64_t m = 1; 2 * m < length;
           m++) {  // neither the mean, which the zero point takes, nor the last frequency
        const auto at = static_cast<size_t>(m);
        const double f = static_cast<double>(kHalves * m) / static_cast<double>(length);
        for (int64_t i = 0; i < kReferences; i++) {
          noise[at] += Weight(weights, a, i, f) * spectrum[i][at];
        }
        // Knots lie half a sample before the middles of the halves.
        noise[at] *= std::polar(1.0, -std::numbers::pi * static_cast<double>(m) / static_cast<double>(length));
      }
      Series knots(static_cast<size_t>(n + 1), 0.0);
      for (int64_t j = 0; j <= n; j++) {
        for (int64_t m = 1; 2 * m < length; m++) {
          const double turn = static_cast<double>(j * m % length) / static_cast<double>(length);
          knots[static_cast<size_t>(j)] +=
              2 / static_cast<double>(length) *
              (noise[static_cast<size_t>(m)] * std::polar(1.0, 2 * std::numbers::pi * turn)).real();
        }
      }
      double mean = 0;
      for (int64_t j = 0; j < n; j++) mean += knots[static_cast<size_t>(j)] / static_cast<double>(n);
      for (size_t r = 0; r < rows; r++) {
        for (size_t i = 0; i < 3; i++) {
          correction.at(k, static_cast<int64_t>(r))[a * 3 + static_cast<int64_t>(i)] =
              static_cast<float>(knots[2 * r + i] - mean);
        }
      }
    }
  }
  return Ok();
}

}  // namespace rampline::measure_one_over_f
