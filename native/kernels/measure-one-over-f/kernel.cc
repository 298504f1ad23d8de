#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/measure-one-over-f/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "generated/measure-one-over-f.h"
#include "native/core/count-inl.h"
#include "native/core/fft.h"
#include "native/core/row_table.h"
#include "native/kernels/measure-one-over-f/model.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace measure_one_over_f {
namespace HWY_NAMESPACE {
namespace {

void SumRow(const uint16_t* read, int32_t* sums) {
  using rampline::HWY_NAMESPACE::SumClamped;
  for (int64_t h = 0; h < kHalves; h++) {
    sums[h] = static_cast<int32_t>(SumClamped(read + kScienceColumns + h * kHalfColumns, kHalfColumns, 0, 65535));
  }
  sums[kHalves] = sums[kHalves + 1] = 0;
  for (int64_t x = 0; x < kBorder; x++) {
    sums[kHalves] += read[x];
    sums[kHalves + 1] += read[kScienceColumns - kBorder + x];
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace measure_one_over_f
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::measure_one_over_f {
namespace {

HWY_EXPORT(SumRow);

constexpr int64_t kBatch = BatchFft::kBatch;

// Series i of all reads: of the sums at `first`, `step` values a row, each the mean of `pixels` pixels.
std::vector<Series> SeriesOf(const RowTable& table, int64_t first, int64_t step, int64_t pixels) {
  const auto n = static_cast<size_t>(table.rows() * step);
  std::vector<Series> all(static_cast<size_t>(table.planes()), Series(n));
  Series common(n, 0.0);
  const double scale = 1.0 / static_cast<double>(pixels), share = 1.0 / static_cast<double>(table.planes());
  for (int64_t row = 0; row < table.rows(); row++) {
    for (int64_t k = 0; k < table.planes(); k++) {
      for (int64_t h = 0; h < step; h++) {
        const auto j = static_cast<size_t>(row * step + h);
        const double mean = table.At(k, row)[first + h] * scale;
        all[static_cast<size_t>(k)][j] = mean;
        common[j] += mean;
      }
    }
  }
  for (Series& s : all) {
    for (size_t j = 0; j < n && table.planes() > 1; j++) s[j] -= common[j] * share;
    RemoveMean(&s);
    RemoveGlitches(&s);
  }
  return all;
}

// Mean of up to 2 reach + 1 rows around each row.
Series Smooth(const Series& left, const Series& right, int64_t reach) {
  const auto rows = static_cast<int64_t>(left.size());
  Series sums(left.size() + 1, 0.0), smooth(left.size());
  for (size_t r = 0; r < left.size(); r++) sums[r + 1] = sums[r] + 0.5 * (left[r] + right[r]);
  for (int64_t row = 0; row < rows; row++) {
    const int64_t from = std::max<int64_t>(0, row - reach), to = std::min(rows, row + reach + 1);
    smooth[static_cast<size_t>(row)] =
        (sums[static_cast<size_t>(to)] - sums[static_cast<size_t>(from)]) / static_cast<double>(to - from);
  }
  RemoveMean(&smooth);
  return smooth;
}

void WriteSmoothed(const RowTable& table, int64_t windowRows, const View<float>& correction) {
  const std::vector<Series> left = SeriesOf(table, kHalves, 1, kBorder),
                            right = SeriesOf(table, kHalves + 1, 1, kBorder);
  for (int64_t k = 0; k < table.planes(); k++) {
    const auto plane = static_cast<size_t>(k);
    const Series smooth = Smooth(left[plane], right[plane], windowRows / 2);
    for (int64_t row = 0; row < table.rows(); row++) {
      const double start = smooth[static_cast<size_t>(row)];
      const double end = smooth[static_cast<size_t>(std::min(row + 1, table.rows() - 1))];
      for (int64_t a = 0; a < kAmplifiers; a++) {
        float* knots = correction.at(k, row) + a * 3;
        knots[0] = static_cast<float>(start);
        knots[1] = static_cast<float>(0.5 * (start + end));
        knots[2] = static_cast<float>(end);
      }
    }
  }
}

// The filter from a reference to an amplifier for frequencies 0 .. length / 2: weight, half a sample back, 1 / length.
struct Filter {
  std::vector<double> re, im;
  bool zero = true;
};

Filter MakeFilter(const float* weights, int64_t amplifier, int64_t reference, int64_t length) {
  Filter filter;
  filter.re.assign(static_cast<size_t>(length / 2 + 1), 0.0);
  filter.im = filter.re;
  const auto at = [&](int64_t node) {
    return weights + ((node * kAmplifiers + amplifier) * kReferences + reference) * 2;
  };
  for (int64_t m = 1; 2 * m < length; m++) {
    const double f = static_cast<double>(kHalves * m) / static_cast<double>(length);
    const int64_t node = NodeBelow(f);
    const double u = (f - NodeFrequency(node)) / (NodeFrequency(node + 1) - NodeFrequency(node));
    const double re = at(node)[0] * (1 - u) + at(node + 1)[0] * u, im = at(node)[1] * (1 - u) + at(node + 1)[1] * u;
    const double angle = -std::numbers::pi * static_cast<double>(m) / static_cast<double>(length);
    const double c = std::cos(angle) / static_cast<double>(length), s = std::sin(angle) / static_cast<double>(length);
    filter.re[static_cast<size_t>(m)] = re * c - im * s;
    filter.im[static_cast<size_t>(m)] = re * s + im * c;
    filter.zero = filter.zero && re == 0 && im == 0;
  }
  return filter;
}

// noise += filter * spectrum. Two real series lie in a complex one; as the filter of a real response takes the conjugate
// at negative frequencies, it filters both without taking them apart.
void AddFiltered(const Filter& filter, int64_t length, const double* re, const double* im, double* noiseRe,
                 double* noiseIm) {
  const auto add = [](double fr, double fi, const double* HWY_RESTRICT r, const double* HWY_RESTRICT i,
                      double* HWY_RESTRICT nr, double* HWY_RESTRICT ni) {
    for (int64_t b = 0; b < kBatch; b++) {
      nr[b] += fr * r[b] - fi * i[b];
      ni[b] += fr * i[b] + fi * r[b];
    }
  };
  for (int64_t m = 1; 2 * m < length; m++) {
    const double fr = filter.re[static_cast<size_t>(m)], fi = filter.im[static_cast<size_t>(m)];
    if (fr == 0 && fi == 0) continue;
    const int64_t at = m * kBatch, mirror = (length - m) * kBatch;
    add(fr, fi, re + at, im + at, noiseRe + at, noiseIm + at);
    add(fr, -fi, re + mirror, im + mirror, noiseRe + mirror, noiseIm + mirror);
  }
}

void WriteFiltered(const RowTable& table, const float* weights, const View<float>& correction) {
  const int64_t n = kHalves * table.rows();
  const BatchFft fft(BatchFft::GoodLength(PaddedLength(n)));
  const int64_t length = fft.length();
  Filter filters[kAmplifiers][kReferences];
  std::vector<Series> series[kReferences];
  for (int64_t i = 0; i < kReferences; i++) {
    bool used = false;
    for (int64_t a = 0; a < kAmplifiers; a++) {
      filters[a][i] = MakeFilter(weights, a, i, length);
      used = used || !filters[a][i].zero;
    }
    if (!used) continue;
    series[i] = i == 0 ? SeriesOf(table, 0, kHalves, kHalfColumns) : SeriesOf(table, kHalves + i - 1, 1, kBorder);
    for (Series& s : series[i]) {
      if (i > 0) s = ToHalves(s);
      const double first = s.front(), last = s.back();
      for (int64_t j = n; j < length; j++) {
        const double u = static_cast<double>(j - n + 1) / static_cast<double>(length - n + 1);
        s.push_back(last * (1 - u) + first * u);
      }
    }
  }
  const auto size = static_cast<size_t>(length * kBatch);
  const double share = 1.0 / static_cast<double>(n);
  std::vector<double> re[kReferences], im[kReferences], noiseRe(size), noiseIm(size), work(2 * size);
  for (int64_t k0 = 0; k0 < table.planes(); k0 += 2 * kBatch) {
    const int64_t planes = std::min(2 * kBatch, table.planes() - k0);
    // Read k0 + 2 b is the real part of sequence b, read k0 + 2 b + 1 the imaginary one.
    for (int64_t i = 0; i < kReferences; i++) {
      if (series[i].empty()) continue;
      re[i].assign(size, 0.0);
      im[i].assign(size, 0.0);
      const double* from[2 * kBatch];
      double* to[2 * kBatch];
      for (int64_t k = 0; k < planes; k++) {
        from[k] = series[i][static_cast<size_t>(k0 + k)].data();
        to[k] = (k % 2 == 0 ? re[i] : im[i]).data() + k / 2;
      }
      for (int64_t j = 0; j < length; j++) {
        for (int64_t k = 0; k < planes; k++) to[k][j * kBatch] = from[k][j];
      }
      fft.Forward(re[i].data(), im[i].data(), work.data());
    }
    for (int64_t a = 0; a < kAmplifiers; a++) {
      std::fill(noiseRe.begin(), noiseRe.end(), 0.0);
      std::fill(noiseIm.begin(), noiseIm.end(), 0.0);
      for (int64_t i = 0; i < kReferences; i++) {
        if (!filters[a][i].zero) {
          AddFiltered(filters[a][i], length, re[i].data(), im[i].data(), noiseRe.data(), noiseIm.data());
        }
      }
      fft.Inverse(noiseRe.data(), noiseIm.data(), work.data());
      double mean[2][kBatch] = {};
      const double* noise[2] = {noiseRe.data(), noiseIm.data()};
      for (int64_t j = 0; j < n; j++) {
        for (int64_t b = 0; b < kBatch; b++) {
          mean[0][b] += noise[0][j * kBatch + b];
          mean[1][b] += noise[1][j * kBatch + b];
        }
      }
      for (int64_t row = 0; row < table.rows(); row++) {
        for (int64_t k = 0; k < planes; k++) {
          const double* at = noise[k % 2] + kHalves * row * kBatch + k / 2;
          const double level = mean[k % 2][k / 2] * share;
          float* knots = correction.at(k0 + k, row) + a * 3;
          for (int64_t i = 0; i < 3; i++) knots[i] = static_cast<float>(at[i * kBatch] - level);
        }
      }
    }
  }
}

}  // namespace

size_t StateBytes(const KernelCall& call) { return RowTable::Bytes(call.ports[kReads].planes, call.whole.rows, kSums); }

Status Begin(const KernelCall& call, void* state) {
  const Array& reads = call.ports[kReads];
  if (reads.cols != kReadColumns) {
    return Fail(Code::kUsage, "reads must have 2560 columns", -1, kReadColumns, reads.cols);
  }
  const auto* weights = static_cast<const float*>(call.ports[kWeights].data);
  for (int64_t i = 0; weights != nullptr && i < kNodes * kAmplifiers * kReferences * 2; i++) {
    if (!std::isfinite(weights[i]))
      return Fail(Code::kCalibration, "weights of the 1/f correction must be finite", -1, 0, i);
  }
  RowTable::Begin(state, reads.planes, call.whole.rows, kSums);
  return Ok();
}

Status Prepare(const KernelCall&, void*) { return Ok(); }

Status Gather(const KernelCall& call, void* state) {
  const RowTable table(state);
  const auto reads = call.ports[kReads].view<const uint16_t>();
  for (int64_t r = 0; r < reads.rows; r++) {
    const int64_t row = call.origin.row + r;
    if (row < 0 || row >= table.rows()) return Fail(Code::kBug, "a row outside the reads", -1, table.rows(), row);
    for (int64_t k = 0; k < reads.planes; k++) HWY_DYNAMIC_DISPATCH(SumRow)(reads.at(k, r), table.At(k, row));
    table.MarkSeen(row);
  }
  return Ok();
}

Status Merge(const KernelCall&, void* into, const void* from) {
  RowTable(into).MergeFrom(RowTable(const_cast<void*>(from)));  // a view for reading
  return Ok();
}

Status Finish(const KernelCall& call, void* state, bool* again) {
  *again = false;
  const RowTable table(state);
  if (table.FirstUnseen() >= 0)
    return Fail(Code::kBug, "a row was not gathered", -1, table.rows(), table.FirstUnseen());
  const auto correction = call.ports[kCorrection].view<float>();
  const auto* weights = static_cast<const float*>(call.ports[kWeights].data);
  if (weights == nullptr) {
    WriteSmoothed(table, ParamsOf(call).windowRows, correction);
  } else {
    WriteFiltered(table, weights, correction);
  }
  return Ok();
}

}  // namespace rampline::measure_one_over_f
#endif
