#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/gather-profile/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "generated/gather-profile.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;
using namespace rampline::gather_profile;  // NOLINT: the generated ports and parameters

constexpr int64_t kFibres = 300, kSamples = 481, kComponents = 46, kSide = 48, kNodes = 8, kNeighbours = 4;
constexpr double kReach = 12, kPerPixel = 20;
// Lanes of at most 16 floats and 8 doubles divide 48.
using DF = hn::CappedTag<float, 16>;
using DD = hn::CappedTag<double, 8>;

bool Sane(double v) { return std::abs(v) < 1e15; }

// The basis with rows of 48 floats, so that whole registers can be loaded; what is beyond the 46 functions stays 0.
struct Tables {
  HWY_ALIGN_MAX float rows[kSamples][kSide];
};

// A fibre near the pixel: where it is and what it sends.
struct Source {
  double centre, perWidth, flux;
};

// Where a position falls in the table, and its share between samples.
struct Place {
  int64_t index;
  float part;
};
HWY_INLINE Place PlaceOf(double z) {
  const double at = std::clamp((z + kReach) * kPerPixel, 0.0, static_cast<double>(kSamples - 1));
  const int64_t i = std::min<int64_t>(static_cast<int64_t>(at), kSamples - 2);
  return {i, static_cast<float>(at - static_cast<double>(i))};
}

// r += flux * (B(upper) - B(lower)) for all functions at once.
HWY_INLINE void AddSource(const Tables& tables, const Source& source, double y, float* r) {
  const DF d;
  const Place low = PlaceOf((y - 0.5 - source.centre) * source.perWidth);
  const Place high = PlaceOf((y + 0.5 - source.centre) * source.perWidth);
  const auto flux = hn::Set(d, static_cast<float>(source.flux));
  const auto partLow = hn::Set(d, low.part), partHigh = hn::Set(d, high.part);
  const auto n = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t k = 0; k < kSide; k += n) {
    const auto a = hn::Load(d, tables.rows[low.index] + k), b = hn::Load(d, tables.rows[high.index] + k);
    const auto lower = hn::MulAdd(hn::Sub(hn::Load(d, tables.rows[low.index + 1] + k), a), partLow, a);
    const auto upper = hn::MulAdd(hn::Sub(hn::Load(d, tables.rows[high.index + 1] + k), b), partHigh, b);
    hn::Store(hn::MulAdd(flux, hn::Sub(upper, lower), hn::Load(d, r + k)), d, r + k);
  }
}

// The lower triangle, in whole registers: what they hold beyond the diagonal is never looked at.
HWY_INLINE void AddProduct(const float* r, double w, double* sums) {
  const DD d;
  const hn::Rebind<float, DD> df;
  const auto n = static_cast<int64_t>(hn::Lanes(d));
  HWY_ALIGN double wide[kSide];
  for (int64_t k = 0; k < kSide; k += n) hn::Store(hn::PromoteTo(d, hn::Load(df, r + k)), d, wide + k);
  for (int64_t i = 0; i < kSide; i++) {
    if (wide[i] == 0) continue;  // most functions do not reach the pixel
    const auto factor = hn::Set(d, w * wide[i]);
    double* to = sums + kSide * i;
    for (int64_t j = 0; j <= i; j += n)
      hn::Store(hn::MulAdd(factor, hn::Load(d, wide + j), hn::Load(d, to + j)), d, to + j);
  }
}

class Gatherer {
 public:
  explicit Gatherer(const KernelCall& call)
      : call_(call),
        params_(ParamsOf(call)),
        image_(call.ports[kImage].view<const float>()),
        ivar_(call.ports[kIvar].view<const float>()),
        centre_(call.ports[kCentre].view<const float>()),
        width_(call.ports[kWidth].view<const float>()),
        flux_(call.ports[kFlux].view<const float>()) {}

  Status Run() {
    const auto basis = call_.ports[kBasis].view<const float>();
    auto* tables = reinterpret_cast<Tables*>(call_.scratch.data);
    std::memset(tables, 0, sizeof(Tables));
    for (int64_t s = 0; s < kSamples; s++) {
      for (int64_t k = 0; k < kComponents; k++) {
        if (!Sane(basis.at(0, s)[k])) return Fail(Code::kUsage, "a function of the basis is not finite");
        tables->rows[s][k] = basis.at(0, s)[k];
      }
    }
    const auto moments = call_.ports[kMoments].view<double>();
    for (int64_t row = 0; row < moments.rows; row++) {
      first_ = (call_.origin.row + row) * params_.fibres;
      last_ = std::min(first_ + params_.fibres, kFibres) - 1;
      for (int64_t node = 0; node < kNodes; node++) {
        // Columns x with floor(x kNodes / cols) = node.
        const int64_t from = (node * image_.cols + kNodes - 1) / kNodes;
        const int64_t to = ((node + 1) * image_.cols + kNodes - 1) / kNodes;
        HWY_ALIGN_MAX double sums[kSide * kSide] = {};
        pixels_ = 0;
        for (int64_t x = from; x < to; x++) {
          // Twice the distance from the middle of the eighth, in eighths of a column.
          const int64_t distance = std::abs(2 * kNodes * x - (2 * node + 1) * image_.cols);
          if (distance <= kNodes * params_.window) Column(*tables, x, sums);
        }
        double* out = moments.at(node, row);
        for (int64_t i = 0; i < kSide; i++) {
          for (int64_t j = 0; j <= i; j++) out[kSide * i + j] = out[kSide * j + i] = sums[kSide * i + j];
        }
        out[kSide * kSide] = static_cast<double>(pixels_);
      }
    }
    return Ok();
  }

 private:
  void Column(const Tables& tables, int64_t x, double* sums) {
    // Fibres with numbers that can be used, in order; those of the block are from own to end.
    Source sources[kFibres];
    int count = 0, own = 0, end = 0;
    double low = 1e30, high = -1e30;
    const int64_t from = std::max<int64_t>(0, first_ - kNeighbours), to = std::min(kFibres - 1, last_ + kNeighbours);
    for (int64_t f = from; f <= to; f++) {
      if (f == first_) own = count;
      const double c = centre_.at(0, f)[x], w = width_.at(0, f)[x], flux = flux_.at(0, f)[x];
      if (Sane(c) && Sane(flux) && w > 0.05 && w < 20) {
        sources[count++] = {c, 1 / w, flux};
        if (f >= first_ && f <= last_) {
          low = std::min(low, c);
          high = std::max(high, c);
        }
      }
      if (f == last_) end = count;
    }
    if (end == own) return;
    const auto bottom = static_cast<int64_t>(std::clamp(std::ceil(low - kReach), 0.0, 1e9));
    const auto top = static_cast<int64_t>(std::clamp(std::floor(high + kReach), -1.0, image_.planes - 1.0));
    for (int64_t row = bottom; row <= top; row++) {
      const double d = image_.at(row, 0)[x], w = ivar_.at(row, 0)[x], y = static_cast<double>(row);
      if (!(w > 0) || !Sane(w) || !Sane(d) || Clipped(row, x, d, w)) continue;
      if (!IsOwn(sources, count, own, end, y)) continue;
      HWY_ALIGN_MAX float r[kSide] = {};
      for (int s = 0; s < count; s++) {
        // Beyond the table nothing is left: both edges would be at its end.
        if (std::abs(y - sources[s].centre) * sources[s].perWidth > kReach + 0.5 * sources[s].perWidth) continue;
        AddSource(tables, sources[s], y, r);
      }
      r[kComponents] = 1;
      r[kComponents + 1] = static_cast<float>(d);
      AddProduct(r, w, sums);
      pixels_++;
    }
  }

  bool Clipped(int64_t row, int64_t x, double d, double w) const {
    if (call_.ports[kExpected].data == nullptr) return false;
    const double e = call_.ports[kExpected].view<const float>().at(row, 0)[x];
    const double allowed = params_.model * e, c = params_.clip;
    return !((d - e) * (d - e) <= c * c * (1 / w + allowed * allowed));
  }

  // Whether a fibre of the block is nearest; of two at the same distance the lower fibre has the pixel.
  static bool IsOwn(const Source* sources, int count, int own, int end, double y) {
    double nearest = kReach;
    for (int s = own; s < end; s++) nearest = std::min(nearest, std::abs(y - sources[s].centre));
    if (!(nearest < kReach)) return false;
    for (int s = 0; s < own; s++) {
      if (std::abs(y - sources[s].centre) <= nearest) return false;
    }
    for (int s = end; s < count; s++) {
      if (std::abs(y - sources[s].centre) < nearest) return false;
    }
    return true;
  }

  const KernelCall& call_;
  const Params& params_;
  View<const float> image_, ivar_, centre_, width_, flux_;
  int64_t first_ = 0, last_ = 0, pixels_ = 0;
};

Status GatherProfile(const KernelCall& call) { return Gatherer(call).Run(); }

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::gather_profile {
namespace {
HWY_EXPORT(GatherProfile);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(GatherProfile)(call); }
}  // namespace rampline::gather_profile
#endif
