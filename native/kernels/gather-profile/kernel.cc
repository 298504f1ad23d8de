#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/gather-profile/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

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
constexpr int64_t kMost = 16;                // columns whose pixels of a row are taken as one, at most
// Lanes of at most 16 floats and 4 doubles divide 48; longer registers would hold more functions that do not reach a pixel.
using DF = hn::CappedTag<float, 16>;
constexpr int64_t kDoubles = 4;
using DD = hn::CappedTag<double, kDoubles>;

bool Sane(double v) { return std::abs(v) < 1e15; }
bool OnChip(double v) { return std::abs(v) < 1e6; }

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

// A fibre near the pixels of a few columns: its place and width in their mean, and of each column how far it is from that
// place, and what it sends, as it is and without its sign: 0 where the fibre has no numbers that can be used.
struct Source {
  double centre, perWidth, farthest;
  double off[kMost], flux[kMost], light[kMost];
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

// The pixels of a few groups of columns and rows: r as README.md has it, and weights, which are 0 where a pixel does not
// count.
struct Chunk {
  HWY_ALIGN_MAX float r[kColumns][kRows][kSide];
  double weight[kColumns][kRows];
};

// r += flux * (B(upper edge) - B(lower edge)) of the mean of two places of a fibre.
HWY_INLINE void AddLight(const Tables& tables, const Changes& changes, double row, double before, double behind,
                         double perWidth, double flux, float* r) {
  const DF d;
  const auto n = static_cast<int64_t>(hn::Lanes(d));
  const Place low[2] = {PlaceOf((row - 0.5 - before) * perWidth), PlaceOf((row - 0.5 - behind) * perWidth)};
  const Place high[2] = {PlaceOf((row + 0.5 - before) * perWidth), PlaceOf((row + 0.5 - behind) * perWidth)};
  const auto look = [&](const Place& place, hn::Vec<DF> part, int64_t k) {
    const float* at = tables.rows[place.index] + k;
    const auto value = hn::Load(d, at);
    return hn::MulAdd(hn::Sub(hn::Load(d, at + kSide), value), part, value);
  };
  const auto half = hn::Set(d, static_cast<float>(0.5 * flux));
  const auto low0 = hn::Set(d, low[0].part), low1 = hn::Set(d, low[1].part);
  const auto high0 = hn::Set(d, high[0].part), high1 = hn::Set(d, high[1].part);
  // What does not change between the edges has no light here.
  for (int64_t k = changes.first[low[1].index] / n * n; k <= changes.last[high[0].index]; k += n) {
    const auto light = hn::Add(hn::Sub(look(high[0], high0, k), look(low[0], low0, k)),
                               hn::Sub(look(high[1], high1, k), look(low[1], low1, k)));
    hn::Store(hn::MulAdd(half, light, hn::Load(d, r + k)), d, r + k);
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

// Columns that follow each other.
struct Group {
  int64_t x, count;
};

// The fibres near a block in a group of columns: those with numbers that can be used, in order; those of the block are from own to end.
struct Near {
  std::vector<Source> sources = std::vector<Source>(kFibres);
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
        Group groups[kColumns];
        int64_t count = 0;
        for (int64_t x = from; x < to; x++) {
          // Twice the distance from the middle of the eighth, in eighths of a column.
          const int64_t distance = std::abs(2 * kNodes * x - (2 * node + 1) * image_.cols);
          if (distance > kNodes * params_.window) continue;
          if (count > 0 && groups[count - 1].count < params_.columns) {
            groups[count - 1].count++;
            continue;
          }
          if (count == kColumns) {
            Columns(*tables, changes, groups, count, sums);
            count = 0;
          }
          groups[count++] = {x, 1};
        }
        if (count > 0) Columns(*tables, changes, groups, count, sums);
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
  void Columns(const Tables& tables, const Changes& changes, const Group* groups, int64_t count, double* sums) {
    int64_t bottom = image_.planes, top = -1;
    for (int64_t c = 0; c < count; c++) {
      FindNear(groups[c], &near_[c]);
      bottom = std::min(bottom, near_[c].bottom);
      top = std::max(top, near_[c].top);
    }
    for (int64_t start = bottom; start <= top; start += kRows) {
      const int64_t rows = std::min(kRows, top + 1 - start);
      for (int64_t c = 0; c < kColumns; c++) {
        if (c < count) {
          Fill(tables, changes, groups[c], near_[c], start, rows, c);
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

  void FindNear(const Group& group, Near* near) const {
    int count = 0, own = 0, end = 0;
    double low = 1e30, high = -1e30;
    const int64_t from = std::max<int64_t>(0, first_ - kNeighbours), to = std::min(kFibres - 1, last_ + kNeighbours);
    for (int64_t f = from; f <= to; f++) {
      if (f == first_) own = count;
      if (Take(f, group, &near->sources[static_cast<size_t>(count)])) {
        const double c = near->sources[static_cast<size_t>(count++)].centre;
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
      const double c = near->sources[static_cast<size_t>(s)].centre;
      if (c < low - 0.01) least = std::max(least, 0.5 * (c + low) - 1);
      if (c > high + 0.01) most = std::min(most, 0.5 * (c + high) + 1);
    }
    near->bottom = static_cast<int64_t>(std::clamp(std::ceil(least), 0.0, 1e9));
    near->top = static_cast<int64_t>(std::clamp(std::floor(most), -1.0, static_cast<double>(image_.planes) - 1.0));
  }

  // Whether the fibre has numbers that can be used in any of the columns.
  bool Take(int64_t fibre, const Group& group, Source* source) const {
    const float *centre = centre_.at(0, fibre) + group.x, *width = width_.at(0, fibre) + group.x;
    const float* flux = flux_.at(0, fibre) + group.x;
    double sum = 0, per = 0, used = 0;
    for (int64_t i = 0; i < group.count; i++) {
      const double c = centre[i], w = width[i], f = flux[i];
      const bool good = OnChip(c) && Sane(f) && w > 0.05 && w < 20;
      source->off[i] = good ? c : std::nan("");
      source->flux[i] = good ? f : 0;
      source->light[i] = std::abs(source->flux[i]);
      if (!good) continue;
      sum += c;
      per += 1 / w;
      used++;
    }
    if (used == 0) return false;
    source->centre = sum / used;
    source->perWidth = per / used;
    source->farthest = 0;
    for (int64_t i = 0; i < group.count; i++) {
      source->off[i] = std::isnan(source->off[i]) ? 0 : source->off[i] - source->centre;
      source->farthest = std::max(source->farthest, std::abs(source->off[i]));
    }
    return true;
  }

  // A group of columns of the chunk: the pixels of a row are taken as one.
  void Fill(const Tables& tables, const Changes& changes, const Group& group, const Near& near, int64_t start,
            int64_t rows, int64_t slot) {
    auto* r = chunk_.r[slot];
    double* weight = chunk_.weight[slot];
    int64_t first = rows, last = -1;
    for (int64_t k = 0; k < rows; k++) {
      const int64_t row = start + k;
      weight[k] = 0;
      const bool own = row >= near.bottom && row <= near.top &&
                       IsOwn(near.sources.data(), near.count, near.own, near.end, static_cast<double>(row));
      double sum = 0;
      for (int64_t i = 0; i < group.count; i++) {
        const double d = image_.at(row, 0)[group.x + i], w = ivar_.at(row, 0)[group.x + i];
        const bool counts = own && w > 0 && Sane(w) && Sane(d) && !Clipped(row, group.x + i, d, w);
        weights_[i][k] = counts ? w : 0;
        if (!counts) continue;
        weight[k] += w;
        sum += w * d;
      }
      if (!(weight[k] > 0)) continue;
      first = std::min(first, k);
      last = k;
      std::fill_n(r[k], kSide, 0.0f);
      r[k][kComponents] = 1;
      r[k][kComponents + 1] = static_cast<float>(sum / weight[k]);
      pixels_++;
    }
    for (int s = 0; s < near.count; s++) {
      const Source& source = near.sources[static_cast<size_t>(s)];
      // Beyond the table nothing is left: both edges would be at its end. Mean and scatter about it of what lies within a are
      // less than 2^(1/2) a together.
      const double reach = kReach / source.perWidth + 0.5 + 1.5 * source.farthest;
      const double middle = source.centre - static_cast<double>(start);
      const double from = std::max(std::ceil(middle - reach), static_cast<double>(first));
      const double to = std::min(std::floor(middle + reach), static_cast<double>(last));
      if (from > to) continue;
      AddSource(tables, changes, group, source, start, static_cast<int64_t>(from), static_cast<int64_t>(to), weight, r);
    }
  }

  // The light of a fibre in the rows from `from` to `to`: as if it lay in half of the columns at one place and in half at
  // another, so that mean and scatter of the places are the columns', by their weights and light.
  void AddSource(const Tables& tables, const Changes& changes, const Group& group, const Source& source, int64_t start,
                 int64_t from, int64_t to, const double* weight, float (*r)[kSide]) {
    const DD d;
    const auto n = static_cast<int64_t>(hn::Lanes(d));
    for (int64_t k = from / n * n; k <= to; k += n) {
      auto flux = hn::Zero(d), light = hn::Zero(d), mean = hn::Zero(d), square = hn::Zero(d);
      for (int64_t i = 0; i < group.count; i++) {
        const auto w = hn::Load(d, weights_[i] + k), off = hn::Set(d, source.off[i]);
        const auto part = hn::Mul(w, hn::Set(d, source.light[i])), moved = hn::Mul(part, off);
        flux = hn::MulAdd(w, hn::Set(d, source.flux[i]), flux);
        light = hn::Add(light, part);
        mean = hn::Add(mean, moved);
        square = hn::MulAdd(moved, off, square);
      }
      const auto some = hn::Gt(light, hn::Zero(d));
      const auto per = hn::IfThenElseZero(some, hn::Div(hn::Set(d, 1.0), light));
      mean = hn::Mul(mean, per);
      const auto spread = hn::Sqrt(hn::Max(hn::NegMulAdd(mean, mean, hn::Mul(square, per)), hn::Zero(d)));
      HWY_ALIGN double sums[kDoubles], before[kDoubles], behind[kDoubles];
      const auto place = hn::Add(mean, hn::Set(d, source.centre));
      hn::Store(flux, d, sums);
      hn::Store(hn::Sub(place, spread), d, before);
      hn::Store(hn::Add(place, spread), d, behind);
      for (int64_t j = std::max<int64_t>(from - k, 0); j < n && k + j <= to; j++) {
        if (!(weight[k + j] > 0) || sums[j] == 0) continue;
        AddLight(tables, changes, static_cast<double>(start + k + j), before[j], behind[j], source.perWidth,
                 sums[j] / weight[k + j], r[k + j]);
      }
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
  HWY_ALIGN_MAX double weights_[kMost][kRows];  // of the pixels of a group
  Near near_[kColumns];
};

Status GatherProfile(const KernelCall& call) { return std::make_unique<Gatherer>(call)->Run(); }

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
