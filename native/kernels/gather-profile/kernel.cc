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
constexpr int64_t kColumns = 4, kRows = 32;  // of a chunk of pixels that is worked on together
// Lanes of at most 16 floats and 4 doubles divide 48; longer registers would hold more functions that do not reach a pixel.
using DF = hn::CappedTag<float, 16>;
using DD = hn::CappedTag<double, 4>;

bool Sane(double v) { return std::abs(v) < 1e15; }

// The basis with rows of 48 floats, so that whole registers can be loaded; what is beyond the 46 functions stays 0.
struct Tables {
  HWY_ALIGN_MAX float rows[kSamples][kSide];
};

// Of each sample: the first function that still changes behind it, and the last one that has changed up to the next.
struct Changes {
  int32_t first[kSamples], last[kSamples];
};

void FindChanges(const Tables& tables, Changes* changes) {
  int32_t last = -1, first = kSide;
  for (int64_t s = 0; s < kSamples; s++) {
    for (int32_t k = 0; k < kSide; k++) {
      if (s + 1 < kSamples && tables.rows[s][k] != tables.rows[s + 1][k]) last = std::max(last, k);
    }
    changes->last[s] = last;
  }
  for (int64_t s = kSamples - 1; s >= 0; s--) {
    for (int32_t k = 0; k < kSide; k++) {
      if (s + 1 < kSamples && tables.rows[s][k] != tables.rows[s + 1][k]) first = std::min(first, k);
    }
    changes->first[s] = first;
  }
}

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

// The pixels of a few columns and rows: r as README.md has it, and weights, which are 0 where a pixel does not count.
struct Chunk {
  HWY_ALIGN_MAX float r[kColumns][kRows][kSide];
  double weight[kColumns][kRows];
};

// r[row] += flux * (B(upper edge) - B(lower edge)) for the rows from `from` to `to` of a column that begins at row `start`.
HWY_INLINE void AddSource(const Tables& tables, const Changes& changes, const Source& source, int64_t start,
                          int64_t from, int64_t to, float (*r)[kSide]) {
  const DF d;
  const auto n = static_cast<int64_t>(hn::Lanes(d));
  const auto flux = hn::Set(d, static_cast<float>(source.flux));
  const auto edge = [&](int64_t row) {
    return PlaceOf((static_cast<double>(start + row) - 0.5 - source.centre) * source.perWidth);
  };
  Place low = edge(from);
  for (int64_t row = from; row <= to; row++) {
    const Place high = edge(row + 1);
    const float *a = tables.rows[low.index], *b = tables.rows[high.index];
    const auto partLow = hn::Set(d, low.part), partHigh = hn::Set(d, high.part);
    // What does not change between the edges has no light here.
    for (int64_t k = changes.first[low.index] / n * n; k <= changes.last[high.index]; k += n) {
      const auto below = hn::Load(d, a + k), above = hn::Load(d, b + k);
      const auto lower = hn::MulAdd(hn::Sub(hn::Load(d, a + kSide + k), below), partLow, below);
      const auto upper = hn::MulAdd(hn::Sub(hn::Load(d, b + kSide + k), above), partHigh, above);
      hn::Store(hn::MulAdd(flux, hn::Sub(upper, lower), hn::Load(d, r[row] + k)), d, r[row] + k);
    }
    low = high;
  }
}

// Adds w r r' of the pixels of a row of a chunk: the lower triangle, in whole registers: what they hold beyond the diagonal
// is never looked at.
HWY_INLINE void AddProducts(const Chunk& chunk, int64_t row, double* sums) {
  const DD d;
  const hn::Rebind<float, DD> df;
  const auto n = static_cast<int64_t>(hn::Lanes(d));
  HWY_ALIGN_MAX double wide[kColumns][kSide], largest[kSide];
  int64_t groups[kSide];
  int64_t count = 0;
  static_assert(kColumns == 4);
  hn::Vec<DD> weight[kColumns];
  for (int64_t c = 0; c < kColumns; c++) weight[c] = hn::Set(d, chunk.weight[c][row]);
  for (int64_t k = 0; k < kSide; k += n) {
    auto most = hn::Zero(d);
    for (int64_t c = 0; c < kColumns; c++) {
      const auto r = hn::PromoteTo(d, hn::Load(df, chunk.r[c][row] + k));
      const auto used = hn::IfThenElseZero(hn::Gt(weight[c], hn::Zero(d)), r);
      hn::Store(used, d, wide[c] + k);
      most = hn::Max(most, hn::Abs(used));
    }
    hn::Store(most, d, largest + k);
    if (!hn::AllTrue(d, hn::Eq(most, hn::Zero(d)))) groups[count++] = k;
  }
  for (int64_t i = 0; i < kSide; i++) {
    if (largest[i] == 0) continue;  // most functions do not reach the pixels
    const auto factor = [&](int64_t c) { return hn::Mul(weight[c], hn::Set(d, wide[c][i])); };
    const auto f0 = factor(0), f1 = factor(1), f2 = factor(2), f3 = factor(3);
    double* to = sums + kSide * i;
    for (int64_t g = 0; g < count && groups[g] <= i; g++) {
      const int64_t j = groups[g];
      auto sum = hn::MulAdd(f0, hn::Load(d, wide[0] + j), hn::Load(d, to + j));
      sum = hn::MulAdd(f1, hn::Load(d, wide[1] + j), sum);
      sum = hn::MulAdd(f2, hn::Load(d, wide[2] + j), sum);
      hn::Store(hn::MulAdd(f3, hn::Load(d, wide[3] + j), sum), d, to + j);
    }
  }
}

// The fibres near a block in a column: those with numbers that can be used, in order; those of the block are from own to end.
struct Near {
  Source sources[kFibres];
  int count, own, end;
  int64_t bottom, top;  // the rows that may be the block's
};

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
    Changes changes;
    FindChanges(*tables, &changes);
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
        int64_t columns[kColumns];
        int64_t count = 0;
        for (int64_t x = from; x < to; x++) {
          // Twice the distance from the middle of the eighth, in eighths of a column.
          const int64_t distance = std::abs(2 * kNodes * x - (2 * node + 1) * image_.cols);
          if (distance > kNodes * params_.window) continue;
          columns[count++] = x;
          if (count == kColumns) Columns(*tables, changes, columns, count, sums);
          count %= kColumns;
        }
        if (count > 0) Columns(*tables, changes, columns, count, sums);
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
  void Columns(const Tables& tables, const Changes& changes, const int64_t* columns, int64_t count, double* sums) {
    int64_t bottom = image_.planes, top = -1;
    for (int64_t c = 0; c < count; c++) {
      FindNear(columns[c], &near_[c]);
      bottom = std::min(bottom, near_[c].bottom);
      top = std::max(top, near_[c].top);
    }
    for (int64_t start = bottom; start <= top; start += kRows) {
      const int64_t rows = std::min(kRows, top + 1 - start);
      for (int64_t c = 0; c < kColumns; c++) {
        if (c < count) {
          Fill(tables, changes, columns[c], near_[c], start, rows, c);
        } else {
          std::fill_n(chunk_.weight[c], rows, 0.0);
        }
      }
      for (int64_t row = 0; row < rows; row++) {
        bool any = false;
        for (int64_t c = 0; c < count; c++) any = any || chunk_.weight[c][row] > 0;
        if (any) AddProducts(chunk_, row, sums);
      }
    }
  }

  void FindNear(int64_t x, Near* near) const {
    int count = 0, own = 0, end = 0;
    double low = 1e30, high = -1e30;
    const int64_t from = std::max<int64_t>(0, first_ - kNeighbours), to = std::min(kFibres - 1, last_ + kNeighbours);
    for (int64_t f = from; f <= to; f++) {
      if (f == first_) own = count;
      const double c = centre_.at(0, f)[x], w = width_.at(0, f)[x], flux = flux_.at(0, f)[x];
      if (Sane(c) && Sane(flux) && w > 0.05 && w < 20) {
        near->sources[count++] = {c, 1 / w, flux};
        if (f >= first_ && f <= last_) {
          low = std::min(low, c);
          high = std::max(high, c);
        }
      }
      if (f == last_) end = count;
    }
    near->count = count;
    near->own = own;
    near->end = end;
    near->bottom = 0;
    near->top = -1;
    if (end == own) return;
    // Beyond half-way to a fibre that lies outside that one is nearer; a row more is left for IsOwn to decide, and all where the two
    // are one to rounding.
    double least = low - kReach, most = high + kReach;
    for (int s = 0; s < count; s++) {
      const double c = near->sources[s].centre;
      if (c < low - 0.01) least = std::max(least, 0.5 * (c + low) - 1);
      if (c > high + 0.01) most = std::min(most, 0.5 * (c + high) + 1);
    }
    near->bottom = static_cast<int64_t>(std::clamp(std::ceil(least), 0.0, 1e9));
    near->top = static_cast<int64_t>(std::clamp(std::floor(most), -1.0, static_cast<double>(image_.planes) - 1.0));
  }

  // A column of the chunk.
  void Fill(const Tables& tables, const Changes& changes, int64_t x, const Near& near, int64_t start, int64_t rows,
            int64_t column) {
    auto* r = chunk_.r[column];
    double* weight = chunk_.weight[column];
    int64_t first = rows, last = -1;
    for (int64_t k = 0; k < rows; k++) {
      const int64_t row = start + k;
      weight[k] = 0;
      if (row < near.bottom || row > near.top) continue;
      const double d = image_.at(row, 0)[x], w = ivar_.at(row, 0)[x];
      if (!(w > 0) || !Sane(w) || !Sane(d) || Clipped(row, x, d, w)) continue;
      if (!IsOwn(near.sources, near.count, near.own, near.end, static_cast<double>(row))) continue;
      weight[k] = w;
      first = std::min(first, k);
      last = k;
      std::fill_n(r[k], kSide, 0.0f);
      pixels_++;
    }
    for (int s = 0; s < near.count; s++) {
      const Source& source = near.sources[s];
      // Beyond the table nothing is left: both edges would be at its end.
      const double reach = kReach / source.perWidth + 0.5, middle = source.centre - static_cast<double>(start);
      const double from = std::max(std::ceil(middle - reach), static_cast<double>(first));
      const double to = std::min(std::floor(middle + reach), static_cast<double>(last));
      if (from > to) continue;
      AddSource(tables, changes, source, start, static_cast<int64_t>(from), static_cast<int64_t>(to), r);
    }
    for (int64_t k = first; k <= last; k++) {
      r[k][kComponents] = 1;
      r[k][kComponents + 1] = image_.at(start + k, 0)[x];
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
  Chunk chunk_;
  Near near_[kColumns];
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
