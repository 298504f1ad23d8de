// What upstream does, for comparison. The profiles come in registers; the sweeps are scalar and in double, as upstream's are:
// they take differences of sums that a fibre is a part of.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/extract-upstream/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "generated/extract-upstream.h"
#include "native/core/extract-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
using namespace fibres;  // NOLINT: registers of columns, places and profiles of fibres

constexpr int64_t kModelReach = 12;     // rows on each side that a fibre's model covers
constexpr int64_t kWindows[] = {2, 4};  // rows on each side that its flux is taken from, sweep by sweep
constexpr double kLeastVariance = 1e-12;
// Sum of P^2 below which nothing is measured: no pixel of the window has 0.001 of the light.
constexpr double kLeastSquares = 1e-6;

// Of one fibre in one column.
struct Line {
  extract::Span span;
  const float* light;  // P of the rows of the span, kLanes apart
  double row;          // that its centre lies in
  bool there;
  double flux, weight;          // of this sweep
  double model, modelVariance;  // what the model of all fibres has of it: max(flux, 0) and 1 / weight
};

// The light of all fibres in a row, and its variance.
struct Row {
  float value, weight;  // weight 0: must not be used
  uint32_t bits;
  double model, variance;
};

class Upstream {
 public:
  Upstream(const KernelCall& call, const Views& v, uint32_t bad)
      : call_(call), v_(v), bad_(bad), tables_(v, call.scratch.data) {
    float* at = call.scratch.data + Tables::Floats(v.fibres());
    profile_ = at;
    at += v.fibres() * kMostRows * kLanes;
    rows_ = reinterpret_cast<Row*>(at);
    at += (v.rows() * static_cast<int64_t>(sizeof(Row)) + 63) / 64 * 16;
    lines_ = reinterpret_cast<Line*>(at);
    at += (v.fibres() * static_cast<int64_t>(sizeof(Line)) + 63) / 64 * 16;
    spans_ = reinterpret_cast<extract::Span*>(at);
  }

  void Run(int64_t x, int count) {
    const Columns at = ColumnsAt(call_, x, count);
    for (int64_t f = 0; f < v_.fibres(); f++) {
      const Place p = PlaceOf(v_, f, at);
      spans_[f] = SpanOf(p, kModelReach, v_.rows());
      if (spans_[f].rows > kMostRows) {
        for (int i = 0; i < count; i++) Run(x + i, 1);
        return;
      }
      Profile(f, at, p, spans_[f], kModelReach, tables_, profile_ + f * kMostRows * kLanes);
    }
    for (int i = 0; i < count; i++) Column(x + i, i);
  }

 private:
  void Column(int64_t x, int lane) {
    for (int64_t y = 0; y < v_.rows(); y++) {
      const float value = v_.image.at(y, 0)[x], weight = v_.imageIvar.at(y, 0)[x];
      const uint32_t bits = v_.imageDq.at(y, 0)[x];
      const bool use = (bits & bad_) == 0 && std::abs(value) < extract::kLargest && weight > extract::kSmallestWeight &&
                       weight < extract::kLargestWeight;
      rows_[y] = use ? Row{value, weight, bits, 0, 0} : Row{0, 0, 0, 0, 0};
    }
    for (int64_t f = 0; f < v_.fibres(); f++) {
      const float c = v_.centre.at(f, 0)[x], w = v_.width.at(f, 0)[x];
      const bool there = (v_.traceDq.at(f, 0)[x] & extract::kLeftOut) == 0 && std::abs(c) < extract::kFarthest &&
                         w >= extract::kLeastWidth && w <= extract::kMostWidth;
      const double row = there ? static_cast<double>(std::floor(c + 0.5f)) : 0;
      lines_[f] = {spans_[f], profile_ + f * kMostRows * kLanes + lane, row, there, 0, 0, 0, 0};
    }
    for (const int64_t window : kWindows) {
      for (int64_t f = 0; f < v_.fibres(); f++) Fit(lines_[f], window);
      // The models of all fibres change at once, after the sweep.
      for (int64_t y = 0; y < v_.rows(); y++) rows_[y].model = rows_[y].variance = 0;
      for (int64_t f = 0; f < v_.fibres(); f++) {
        Line& line = lines_[f];
        line.model = std::max(line.flux, 0.0);
        line.modelVariance = line.weight > 0 ? 1 / line.weight : 0;
        for (int64_t j = 0; j < line.span.rows; j++) {
          const double p = line.light[j * kLanes];
          rows_[line.span.first + j].model += line.model * p;
          rows_[line.span.first + j].variance += line.modelVariance * p * p;
        }
      }
    }
    for (int64_t f = 0; f < v_.fibres(); f++) Tell(f, x);
  }

  bool In(const Line& line, int64_t j, int64_t window) const {
    const int64_t y = line.span.first + j;
    return line.there && rows_[y].weight > 0 &&
           std::abs(static_cast<double>(y) - line.row) <= static_cast<double>(window);
  }
  // 1 / (variance of the pixel and of the other fibres' models)
  double Weight(const Line& line, int64_t j) const {
    const Row& row = rows_[line.span.first + j];
    const double p = line.light[j * kLanes], others = row.variance - line.modelVariance * p * p;
    return 1 / std::max(1 / static_cast<double>(row.weight) + std::max(others, 0.0), kLeastVariance);
  }
  double Others(const Line& line, int64_t j) const {
    return rows_[line.span.first + j].model - line.model * line.light[j * kLanes];
  }

  void Fit(Line& line, int64_t window) const {
    double right = 0, own = 0, squares = 0;
    for (int64_t j = 0; j < line.span.rows; j++) {
      if (!In(line, j, window)) continue;
      const double p = line.light[j * kLanes], w = Weight(line, j);
      right += p * w * (static_cast<double>(rows_[line.span.first + j].value) - Others(line, j));
      own += p * p * w;
      squares += p * p;
    }
    const bool known = squares > kLeastSquares;
    line.flux = known ? right / own : 0;
    line.weight = known ? own : 0;
  }

  void Tell(int64_t f, int64_t x) const {
    const Line& line = lines_[f];
    double chi2 = 0, freedom = 0, others = 0, squares = 0;
    uint32_t bits = v_.traceDq.at(f, 0)[x];
    bool seen = false;
    for (int64_t j = 0; j < line.span.rows; j++) {
      const Row& row = rows_[line.span.first + j];
      const double p = line.light[j * kLanes], residual = static_cast<double>(row.value) - row.model;
      if (In(line, j, extract::kJudged)) {
        chi2 += static_cast<double>(row.weight) * residual * residual;
        freedom += 1 - static_cast<double>(row.weight) * p * p * line.modelVariance;
      }
      if (!In(line, j, kWindows[1])) continue;
      others += p * Weight(line, j) * Others(line, j);
      squares += p * p;
      seen = true;
      if (p >= static_cast<double>(extract::kCounts)) bits |= row.bits;
    }
    const bool failed = line.weight == 0;
    const double error = failed ? 1 : 1 / std::sqrt(line.weight), unit = failed ? 1 : line.weight;
    const auto last = static_cast<double>(v_.rows() - 1), window = static_cast<double>(kWindows[1]);
    if (failed) bits |= dq::kExtractionFailed;
    if (!seen) bits |= dq::kNoGoodPixels;
    if (!failed && squares < static_cast<double>(extract::kWideSquares)) bits |= dq::kWideWindow;
    if (line.there && (line.row + window < 0 || line.row - window > last)) bits |= dq::kOffChip;
    v_.flux.at(f, 0)[x] = static_cast<float>(line.flux);
    v_.ivar.at(f, 0)[x] = static_cast<float>(line.weight);
    v_.chi2.at(f, 0)[x] = failed || freedom <= 0.5 ? 0.0f : static_cast<float>(chi2 / freedom);
    v_.crosstalk.at(f, 0)[x] = failed ? 0.0f : static_cast<float>(others / (unit * std::max(line.flux, error)));
    v_.dq.at(f, 0)[x] = bits;
  }

  const KernelCall& call_;
  const Views& v_;
  const uint32_t bad_;
  Tables tables_;
  float* profile_;  // [fibre][kMostRows], a register each
  Row* rows_;
  Line* lines_;
  extract::Span* spans_;
};

Status Extract(const KernelCall& call) {
  using namespace rampline::extract_upstream;  // NOLINT: the generated ports and parameters
  extract::Views v;
  v.image = call.ports[kImage].view<const float>();
  v.imageIvar = call.ports[kImageIvar].view<const float>();
  v.imageDq = call.ports[kImageDq].view<const uint32_t>();
  v.centre = call.ports[kCentre].view<const float>();
  v.width = call.ports[kWidth].view<const float>();
  v.traceDq = call.ports[kTraceDq].view<const uint32_t>();
  v.profile = call.ports[kProfile].view<const float>();
  v.flux = call.ports[kFlux].view<float>();
  v.ivar = call.ports[kIvar].view<float>();
  v.dq = call.ports[kDq].view<uint32_t>();
  v.chi2 = call.ports[kChi2].view<float>();
  v.crosstalk = call.ports[kCrosstalk].view<float>();
  if (const Status status = CheckPlanes(v); !status.ok()) return status;
  Upstream upstream(call, v, static_cast<uint32_t>(ParamsOf(call).bad));
  for (int64_t x = 0; x < v.flux.cols; x += kLanes) {
    upstream.Run(x, static_cast<int>(std::min<int64_t>(kLanes, v.flux.cols - x)));
  }
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::extract_upstream {
namespace {
HWY_EXPORT(Extract);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(Extract)(call); }
}  // namespace rampline::extract_upstream
#endif
