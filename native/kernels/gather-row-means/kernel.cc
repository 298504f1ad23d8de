#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/gather-row-means/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>

#include "generated/gather-row-means.h"
#include "native/core/count-inl.h"
#include "native/core/row_table.h"
#include "native/kernels/gather-row-means/layout.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace gather_row_means {
namespace HWY_NAMESPACE {
namespace {

void SumRow(const uint16_t* read, int64_t clip, int32_t* sums) {
  using rampline::HWY_NAMESPACE::CountBelow;
  using rampline::HWY_NAMESPACE::SumClamped;
  for (int64_t i = 0; i < kMeans; i++) {
    const Pixels where = PixelsOf(i);
    const uint16_t* p = read + where.first;
    int64_t low = 0, high = 65535;
    if (where.clamped) {
      int64_t from = 0, to = 65536;  // the median lies in [from, to)
      while (to - from > 1) {
        const int64_t middle = (from + to) / 2;
        (CountBelow(p, where.count, middle) > where.count / 2 ? to : from) = middle;
      }
      low = std::max<int64_t>(0, from - clip);
      high = std::min<int64_t>(65535, from + clip);
    }
    sums[i] = static_cast<int32_t>(SumClamped(p, where.count, static_cast<uint16_t>(low), static_cast<uint16_t>(high)));
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace gather_row_means
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::gather_row_means {
namespace {
HWY_EXPORT(SumRow);
}  // namespace

size_t StateBytes(const KernelCall& call) {
  return RowTable::Bytes(call.ports[kReads].planes, call.whole.rows, kMeans);
}

Status Begin(const KernelCall& call, void* state) {
  const Array& reads = call.ports[kReads];
  if (reads.cols != kReadColumns) {
    return Fail(Code::kUsage, "reads must have 2560 columns", -1, kReadColumns, reads.cols);
  }
  RowTable::Begin(state, reads.planes, call.whole.rows, kMeans);
  return Ok();
}

Status Prepare(const KernelCall&, void*) { return Ok(); }

Status Gather(const KernelCall& call, void* state) {
  const RowTable table(state);
  const auto reads = call.ports[kReads].view<const uint16_t>();
  for (int64_t r = 0; r < reads.rows; r++) {
    const int64_t row = call.origin.row + r;
    if (row < 0 || row >= table.rows()) return Fail(Code::kBug, "a row outside the reads", -1, table.rows(), row);
    for (int64_t k = 0; k < reads.planes; k++) {
      HWY_DYNAMIC_DISPATCH(SumRow)(reads.at(k, r), ParamsOf(call).clip, table.At(k, row));
    }
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
  const auto rowMeans = call.ports[kRowMeans].view<float>();
  for (int64_t k = 0; k < table.planes(); k++) {
    for (int64_t row = 0; row < table.rows(); row++) {
      for (int64_t i = 0; i < kMeans; i++) {
        rowMeans.at(k, row)[i] = static_cast<float>(table.At(k, row)[i] / static_cast<double>(PixelsOf(i).count));
      }
    }
  }
  return Ok();
}

}  // namespace rampline::gather_row_means
#endif
