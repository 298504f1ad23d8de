#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/gather-profile/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <memory>

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
constexpr int64_t kMost = 64;                // columns whose pixels of a row are taken as one, at most
// Lanes of at most 16 floats and 4 doubles divide 48; longer registers would hold more functions that do not reach a pixel.
using DF = hn::CappedTag<float, 16>;
using DD = hn::CappedTag<double, 4>;
// Rows of a chunk that a source's light is summed in at a time: two registers.
constexpr int64_t kDoubles = 8;
using DR = hn::CappedTag<double, kDoubles>;

// Of each sample: the first function that still changes behind it, and the last one that has changed up to the next.
struct Changes {
  int32_t first[kSamples], last[kSamples];
};

// One call is of one row of blocks, so this must be quick.
void FindChanges(const View<const float>& basis, Changes* changes) {
  const DF d;
  const auto n = static_cast<int64_t>(hn::Lanes(d));
  uint64_t bits[kSamples];
  for (int64_t s = 0; s + 1 < kSamples; s++) {
    bits[s] = 0;
    for (int64_t k = 0; k < kSide; k += n) {
      uint8_t some[8] = {};
      hn::StoreMaskBits(d, hn::Ne(hn::LoadU(d, basis.at(0, s) + k), hn::LoadU(d, basis.at(0, s + 1) + k)), some);
      bits[s] |= (uint64_t{some[0]} | uint64_t{some[1]} << 8) << k;
    }
    bits[s] &= (uint64_t{1} << kComponents) - 1;
  }
  bits[kSamples - 1] = 0;
  uint64_t all = 0;
  for (int64_t s = 0; s < kSamples; s++) {
    all |= bits[s];
    changes->last[s] = std::bit_width(all) - 1;
  }
  all = uint64_t{1} << kSide;
  for (int64_t s = kSamples - 1; s >= 0; s--) {
    all |= bits[s];
    changes->first[s] = std::countr_zero(all);
  }
}

bool AllSane(const View<const float>& basis) {
  const DF d;
  const auto n = static_cast<int64_t>(hn::Lanes(d));
  auto most = hn::Zero(d);
  bool numbers = true;
  for (int64_t s = 0; s < kSamples; s++) {
    for (int64_t k = 0; k < kSide; k += n) {
      const auto use = hn::FirstN(d, static_cast<size_t>(std::clamp<int64_t>(kComponents - k, 0, n)));
      const auto size = hn::IfThenElseZero(use, hn::Abs(hn::LoadU(d, basis.at(0, s) + k)));
      numbers = numbers && hn::AllFalse(d, hn::IsNaN(size));
      most = hn::Max(most, size);
    }
  }
  return numbers && hn::AllTrue(d, hn::Lt(most, hn::Set(d, 1e15f)));
}

// A fibre near the pixels of a few columns: its place and width in their mean, how far it is from that place at most, and of
// each column what it sends, as it is and without its sign, and the latter times the distance from that place and its square:
// 0 where the fibre has no numbers that can be used.
struct Source {
  double centre, perWidth, farthest;
  HWY_ALIGN_MAX double flux[kMost], light[kMost], moved[kMost], squared[kMost];
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
HWY_INLINE void AddLight(const View<const float>& basis, const Changes& changes, double row, double before,
                         double behind, double perWidth, double flux, float* r) {
  const DF d;
  const auto n = static_cast<int64_t>(hn::Lanes(d));
  const Place low[2] = {PlaceOf((row - 0.5 - before) * perWidth), PlaceOf((row - 0.5 - behind) * perWidth)};
  const Place high[2] = {PlaceOf((row + 0.5 - before) * perWidth), PlaceOf((row + 0.5 - behind) * perWidth)};
  const auto look = [&](const Place& place, hn::Vec<DF> part, int64_t k) {
    const auto value = hn::LoadU(d, basis.at(0, place.index) + k);
    return hn::MulAdd(hn::Sub(hn::LoadU(d, basis.at(0, place.index + 1) + k), value), part, value);
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

// Adds w r r' of the pixels of a row of `kCount` groups of a chunk: the lower triangle, in whole registers: what they hold
// beyond the diagonal is never looked at.
template <int64_t kCount>
HWY_INLINE void AddProducts(const Chunk& chunk, int64_t row, double* sums) {
  const DD d;
  const hn::Rebind<float, DD> df;
  const auto n = static_cast<int64_t>(hn::Lanes(d));
  HWY_ALIGN_MAX double wide[kCount][kSide], largest[kSide];
  int64_t groups[kSide];
  int64_t count = 0;
  hn::Vec<DD> weight[kCount];
  for (int64_t c = 0; c < kCount; c++) weight[c] = hn::Set(d, chunk.weight[c][row]);
  for (int64_t k = 0; k < kSide; k += n) {
    auto most = hn::Zero(d);
    for (int64_t c = 0; c < kCount; c++) {
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
    hn::Vec<DD> factor[kCount];
    for (int64_t c = 0; c < kCount; c++) factor[c] = hn::Mul(weight[c], hn::Set(d, wide[c][i]));
    double* to = sums + kSide * i;
    for (int64_t g = 0; g < count && groups[g] <= i; g++) {
      const int64_t j = groups[g];
      auto sum = hn::Load(d, to + j);
      for (int64_t c = 0; c < kCount; c++) sum = hn::MulAdd(factor[c], hn::Load(d, wide[c] + j), sum);
      hn::Store(sum, d, to + j);
    }
  }
}

// Columns that follow each other.
struct Group {
  int64_t x, count;
};

// The fibres near a block in a group of columns: those with numbers that can be used, in order; those of the block are from own to end.
struct Near {
  std::unique_ptr<Source[]> sources;
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
        flux_(call.ports[kFlux].view<const float>()),
        basis_(call.ports[kBasis].view<const float>()) {
    const int64_t most = std::min(kFibres, params_.fibres + 2 * kNeighbours);
    for (Near& near : near_) near.sources = std::make_unique_for_overwrite<Source[]>(static_cast<size_t>(most));
  }

  Status Run() {
    if (!AllSane(basis_)) return Fail(Code::kUsage, "a function of the basis is not finite");
    FindChanges(basis_, &changes_);
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
            Columns(groups, count, sums);
            count = 0;
          }
          groups[count++] = {x, 1};
        }
        if (count > 0) Columns(groups, count, sums);
        double* out = moments.at(node, row);
        // In whole registers: what is too much is overwritten by the next row, and the last one has none.
        const DD d;
        for (int64_t i = 0; i < kSide; i++) {
          for (int64_t j = 0; j <= i; j += static_cast<int64_t>(hn::Lanes(d))) {
            hn::StoreU(hn::Load(d, sums + kSide * i + j), d, out + j);
          }
          out += i + 1;
        }
        *out = static_cast<double>(pixels_);
      }
    }
    return Ok();
  }

 private:
  void Columns(const Group* groups, int64_t count, double* sums) {
    int64_t bottom = image_.planes, top = -1;
    for (int64_t c = 0; c < count; c++) {
      FindNear(groups[c], &near_[c]);
      bottom = std::min(bottom, near_[c].bottom);
      top = std::max(top, near_[c].top);
    }
    for (int64_t start = bottom; start <= top; start += kRows) {
      const int64_t rows = std::min(kRows, top + 1 - start);
      for (int64_t c = 0; c < count; c++) Fill(groups[c], near_[c], start, rows, c);
      static_assert(kColumns == 4);
      if (count == 1) AddRows<1>(rows, sums);
      if (count == 2) AddRows<2>(rows, sums);
      if (count == 3) AddRows<3>(rows, sums);
      if (count == 4) AddRows<4>(rows, sums);
    }
  }

  template <int64_t kCount>
  void AddRows(int64_t rows, double* sums) const {
    for (int64_t row = 0; row < rows; row++) {
      bool any = false;
      for (int64_t c = 0; c < kCount; c++) any = any || chunk_.weight[c][row] > 0;
      if (any) AddProducts<kCount>(chunk_, row, sums);
    }
  }

  void FindNear(const Group& group, Near* near) const {
    int count = 0, own = 0, end = 0;
    double low = 1e30, high = -1e30;
    const int64_t from = std::max<int64_t>(0, first_ - kNeighbours), to = std::min(kFibres - 1, last_ + kNeighbours);
    for (int64_t f = from; f <= to; f++) {
      if (f == first_) own = count;
      if (Take(f, group, &near->sources[count])) {
        const double c = near->sources[count++].centre;
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

  // The values of a group of columns; beyond them NaN.
  static const float* Padded(const float* values, int64_t count, float* room) {
    if (count == kMost) return values;
    std::fill(std::copy_n(values, count, room), room + kMost, std::nanf(""));
    return room;
  }

  // Whether the fibre has numbers that can be used in any of the columns.
  bool Take(int64_t fibre, const Group& group, Source* source) const {
    const DR d;
    const hn::Rebind<float, DR> df;
    const auto n = static_cast<int64_t>(hn::Lanes(d));
    float room[3][kMost];
    const float* centre = Padded(centre_.at(0, fibre) + group.x, group.count, room[0]);
    const float* width = Padded(width_.at(0, fibre) + group.x, group.count, room[1]);
    const float* flux = Padded(flux_.at(0, fibre) + group.x, group.count, room[2]);
    const auto zero = hn::Zero(d), one = hn::Set(d, 1.0);
    auto sum = zero, per = zero, used = zero, farthest = zero;
    const auto good = [&](int64_t i) {
      const auto c = hn::PromoteTo(d, hn::LoadU(df, centre + i)), w = hn::PromoteTo(d, hn::LoadU(df, width + i));
      const auto f = hn::PromoteTo(d, hn::LoadU(df, flux + i));
      return hn::And(hn::And(hn::Lt(hn::Abs(c), hn::Set(d, 1e6)), hn::Lt(hn::Abs(f), hn::Set(d, 1e15))),
                     hn::And(hn::Gt(w, hn::Set(d, 0.05)), hn::Lt(w, hn::Set(d, 20.0))));
    };
    for (int64_t i = 0; i < group.count; i += n) {
      const auto use = good(i);
      sum = hn::Add(sum, hn::IfThenElseZero(use, hn::PromoteTo(d, hn::LoadU(df, centre + i))));
      per = hn::Add(per, hn::IfThenElseZero(use, hn::Div(one, hn::PromoteTo(d, hn::LoadU(df, width + i)))));
      used = hn::Add(used, hn::IfThenElseZero(use, one));
    }
    const double count = hn::GetLane(hn::SumOfLanes(d, used));
    if (count == 0) return false;
    source->centre = hn::GetLane(hn::SumOfLanes(d, sum)) / count;
    source->perWidth = hn::GetLane(hn::SumOfLanes(d, per)) / count;
    for (int64_t i = 0; i < group.count; i += n) {
      const auto use = good(i);
      const auto c = hn::PromoteTo(d, hn::LoadU(df, centre + i));
      const auto off = hn::IfThenElseZero(use, hn::Sub(c, hn::Set(d, source->centre)));
      const auto f = hn::IfThenElseZero(use, hn::PromoteTo(d, hn::LoadU(df, flux + i)));
      const auto moved = hn::Mul(hn::Abs(f), off);
      farthest = hn::Max(farthest, hn::Abs(off));
      hn::Store(f, d, source->flux + i);
      hn::Store(hn::Abs(f), d, source->light + i);
      hn::Store(moved, d, source->moved + i);
      hn::Store(hn::Mul(moved, off), d, source->squared + i);
    }
    source->farthest = hn::GetLane(hn::MaxOfLanes(d, farthest));
    return true;
  }

  // A group of columns of the chunk: the pixels of a row are taken as one.
  void Fill(const Group& group, const Near& near, int64_t start, int64_t rows, int64_t slot) {
    auto* r = chunk_.r[slot];
    double* weight = chunk_.weight[slot];
    int64_t first = rows, last = -1;
    for (int64_t k = 0; k < rows; k++) {
      const int64_t row = start + k;
      weight[k] = 0;
      const bool own = row >= near.bottom && row <= near.top &&
                       IsOwn(near.sources.get(), near.count, near.own, near.end, static_cast<double>(row));
      if (!own) {
        for (int64_t i = 0; i < group.count; i++) weights_[i][k] = 0;
        continue;
      }
      const double sum = Weigh(group, row, k, &weight[k]);
      if (!(weight[k] > 0)) continue;
      first = std::min(first, k);
      last = k;
      std::fill_n(r[k], kSide, 0.0f);
      means_[k] = static_cast<float>(sum / weight[k]);
      pixels_++;
    }
    for (int s = 0; s < near.count; s++) {
      const Source& source = near.sources[s];
      // Beyond the table nothing is left: both edges would be at its end. Mean and scatter about it of what lies within a are
      // less than 2^(1/2) a together.
      const double reach = kReach / source.perWidth + 0.5 + 1.5 * source.farthest;
      const double middle = source.centre - static_cast<double>(start);
      const double from = std::max(std::ceil(middle - reach), static_cast<double>(first));
      const double to = std::min(std::floor(middle + reach), static_cast<double>(last));
      if (from > to) continue;
      AddSource(group, source, start, static_cast<int64_t>(from), static_cast<int64_t>(to), weight, r);
    }
    // What the table's rows hold beyond the functions is no light.
    for (int64_t k = first; k <= last; k++) {
      if (!(weight[k] > 0)) continue;
      r[k][kComponents] = 1;
      r[k][kComponents + 1] = means_[k];
    }
  }

  // The weights of the pixels of a row of a group, and their sum; gives the sum of the pixels times their weights.
  double Weigh(const Group& group, int64_t row, int64_t k, double* all) {
    const DR d;
    const hn::Rebind<float, DR> df;
    const auto n = static_cast<int64_t>(hn::Lanes(d));
    float room[3][kMost];
    const float* image = Padded(image_.at(row, 0) + group.x, group.count, room[0]);
    const float* ivar = Padded(ivar_.at(row, 0) + group.x, group.count, room[1]);
    const bool clips = call_.ports[kExpected].data != nullptr;
    const float* expected =
        clips ? Padded(call_.ports[kExpected].view<const float>().at(row, 0) + group.x, group.count, room[2]) : nullptr;
    const auto zero = hn::Zero(d), most = hn::Set(d, 1e15);
    const auto clip = hn::Set(d, params_.clip * params_.clip), model = hn::Set(d, params_.model);
    auto weights = zero, sum = zero;
    HWY_ALIGN_MAX double used[kMost];
    for (int64_t i = 0; i < group.count; i += n) {
      const auto value = hn::PromoteTo(d, hn::LoadU(df, image + i)), w = hn::PromoteTo(d, hn::LoadU(df, ivar + i));
      auto counts = hn::And(hn::And(hn::Gt(w, zero), hn::Lt(w, most)), hn::Lt(hn::Abs(value), most));
      if (clips) {
        const auto e = hn::PromoteTo(d, hn::LoadU(df, expected + i));
        const auto off = hn::Sub(value, e), allowed = hn::Mul(model, e);
        const auto limit = hn::Mul(clip, hn::Add(hn::Div(hn::Set(d, 1.0), w), hn::Mul(allowed, allowed)));
        counts = hn::And(counts, hn::Le(hn::Mul(off, off), limit));
      }
      const auto weight = hn::IfThenElseZero(counts, w);
      weights = hn::Add(weights, weight);
      sum = hn::MulAdd(weight, hn::IfThenElseZero(counts, value), sum);
      hn::Store(weight, d, used + i);
    }
    for (int64_t i = 0; i < group.count; i++) weights_[i][k] = used[i];
    *all = hn::GetLane(hn::SumOfLanes(d, weights));
    return hn::GetLane(hn::SumOfLanes(d, sum));
  }

  // The light of a fibre in the rows from `from` to `to`: as if it lay in half of the columns at one place and in half at
  // another, so that mean and scatter of the places are the columns', by their weights and light.
  void AddSource(const Group& group, const Source& source, int64_t start, int64_t from, int64_t to,
                 const double* weight, float (*r)[kSide]) {
    const DR d;
    const auto n = static_cast<int64_t>(hn::Lanes(d));
    for (int64_t k = from / n * n; k <= to; k += n) {
      auto flux = hn::Zero(d), light = hn::Zero(d), mean = hn::Zero(d), square = hn::Zero(d);
      for (int64_t i = 0; i < group.count; i++) {
        const auto w = hn::Load(d, weights_[i] + k);
        flux = hn::MulAdd(w, hn::Set(d, source.flux[i]), flux);
        light = hn::MulAdd(w, hn::Set(d, source.light[i]), light);
        mean = hn::MulAdd(w, hn::Set(d, source.moved[i]), mean);
        square = hn::MulAdd(w, hn::Set(d, source.squared[i]), square);
      }
      const auto some = hn::Gt(light, hn::Zero(d));
      const auto per = hn::IfThenElseZero(some, hn::Div(hn::Set(d, 1.0), light));
      mean = hn::Mul(mean, per);
      const auto spread = hn::Sqrt(hn::Max(hn::NegMulAdd(mean, mean, hn::Mul(square, per)), hn::Zero(d)));
      HWY_ALIGN_MAX double sums[kDoubles], before[kDoubles], behind[kDoubles];
      const auto place = hn::Add(mean, hn::Set(d, source.centre));
      hn::Store(flux, d, sums);
      hn::Store(hn::Sub(place, spread), d, before);
      hn::Store(hn::Add(place, spread), d, behind);
      for (int64_t j = std::max<int64_t>(from - k, 0); j < n && k + j <= to; j++) {
        if (!(weight[k + j] > 0) || sums[j] == 0) continue;
        AddLight(basis_, changes_, static_cast<double>(start + k + j), before[j], behind[j], source.perWidth,
                 sums[j] / weight[k + j], r[k + j]);
      }
    }
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
  View<const float> image_, ivar_, centre_, width_, flux_, basis_;
  Changes changes_;
  int64_t first_ = 0, last_ = 0, pixels_ = 0;
  Chunk chunk_;
  HWY_ALIGN_MAX double weights_[kMost][kRows];  // of the pixels of a group
  float means_[kRows];
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
