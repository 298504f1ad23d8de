#include <algorithm>
#include <vector>

#include "generated/gather-row-means.h"
#include "native/kernels/gather-row-means/layout.h"

namespace rampline::gather_row_means {

Status Reference(const KernelCall& call) {
  const auto reads = call.ports[kReads].view<const uint16_t>();
  const auto rowMeans = call.ports[kRowMeans].view<float>();
  if (reads.cols != kReadColumns)
    return Fail(Code::kUsage, "reads must have 2560 columns", -1, kReadColumns, reads.cols);
  for (int64_t k = 0; k < reads.planes; k++) {
    for (int64_t row = 0; row < reads.rows; row++) {
      for (int64_t i = 0; i < kMeans; i++) {
        const Pixels where = PixelsOf(i);
        const uint16_t* p = reads.at(k, row) + where.first;
        std::vector<double> values(p, p + where.count);
        if (where.clamped) {
          std::vector<double> sorted = values;
          std::sort(sorted.begin(), sorted.end());
          const double median = sorted[sorted.size() / 2];  // the upper of the middle two
          for (double& v : values) v = std::clamp(v, median - ParamsOf(call).clip, median + ParamsOf(call).clip);
        }
        double sum = 0;
        for (const double v : values) sum += v;
        rowMeans.at(k, row)[i] = static_cast<float>(sum / static_cast<double>(values.size()));
      }
    }
  }
  return Ok();
}

}  // namespace rampline::gather_row_means
