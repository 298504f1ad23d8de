#include <algorithm>
#include <vector>

#include "generated/measure-zero-point.h"
#include "native/core/geometry.h"

namespace rampline::measure_zero_point {
namespace {

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return 0.5 * (values[(n - 1) / 2] + values[n / 2]);
}

// The median of rounded values, each standing for the interval of half a DN on either side.
double GroupedMedian(std::vector<double> values) {
  const double median = Median(values);
  const auto n = static_cast<double>(values.size());
  double below = 0, equal = 0;
  for (const double v : values) {
    below += v < median;
    equal += v == median;
  }
  // No value there: half of all lie on either side already.
  return equal == 0 ? median : median - 0.5 + (0.5 * n - below) / equal;
}

}  // namespace

Status Reference(const KernelCall& call) {
  const auto reads = call.ports[kReads].view<const uint16_t>();
  const auto offsets = call.ports[kOffsets].view<float>();
  const auto zero = call.ports[kZero].view<float>();
  if (reads.cols != kReadColumns || reads.rows < 2 * kBorder) {
    return Fail(Code::kUsage, "reads must have 2560 columns and at least 8 rows", -1, kReadColumns, reads.cols);
  }
  for (int64_t k = 0; k < reads.planes; k++) {
    std::vector<double> left, right, reference;
    for (int64_t row = 0; row < reads.rows; row++) {
      const uint16_t* p = reads.at(k, row);
      left.insert(left.end(), p, p + kBorder);
      right.insert(right.end(), p + kScienceColumns - kBorder, p + kScienceColumns);
      reference.insert(reference.end(), p + kScienceColumns, p + kReadColumns);
    }
    double offset[kAmplifiers];
    for (int64_t a = 0; a < kAmplifiers; a++) {
      double sum = 0;
      for (int top = 0; top < 2; top++) {
        std::vector<double> values;
        for (int64_t i = 0; i < kBorder; i++) {
          const uint16_t* p = reads.at(k, top != 0 ? reads.rows - kBorder + i : i) + a * kAmplifierColumns;
          values.insert(values.end(), p, p + kAmplifierColumns);
        }
        sum += GroupedMedian(values);
      }
      offset[a] = 0.5 * sum;
    }
    const double s = 0.5 * (GroupedMedian(left) + GroupedMedian(right)),
                 common = 0.5 * (offset[0] + offset[kAmplifiers - 1]);
    zero.at(k, 0)[0] = static_cast<float>(s);
    zero.at(k, 0)[1] = static_cast<float>(Median(reference));
    for (int64_t a = 0; a < kAmplifiers; a++) {
      zero.at(k, 0)[2 + a] = static_cast<float>(offset[a] - common);
      offsets.at(k, 0)[a] = static_cast<float>(s + offset[a] - common);
    }
  }
  return Ok();
}

}  // namespace rampline::measure_zero_point
