// What the kernels of extraction share: the light that a fibre has in each pixel of a column, from tables of its cumulative
// profile, and the weighted least squares of a column for fibres that overlap with up to kBand fibres on each side.
//
//   P_f(y) = C_f((y + 1/2 - c) / w) - C_f((y - 1/2 - c) / w),   |y - round(c)| <= reach
//   N_fg = sum_y W P_f P_g,   r_f = sum_y W P_f d,   N F = r
//
// Registers hold neighbouring columns. A column's result does not depend on which register, lane or block it lies in:
// everything is computed lane by lane, sums go from the lowest row up, and what is added for the sake of other lanes is 0.
#if defined(RAMPLINE_CORE_EXTRACT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RAMPLINE_CORE_EXTRACT_INL_H_
#undef RAMPLINE_CORE_EXTRACT_INL_H_
#else
#define RAMPLINE_CORE_EXTRACT_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "native/core/extract.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace fibres {
namespace hn = hwy::HWY_NAMESPACE;
using namespace rampline::extract;  // NOLINT: constants and views

using DF = hn::CappedTag<float, kMostLanes>;
using DU = hn::RebindToUnsigned<DF>;
using DI = hn::RebindToSigned<DF>;
using VF = hn::Vec<DF>;
using VU = hn::Vec<DU>;
using MF = hn::Mask<DF>;
constexpr int kLanes = static_cast<int>(hn::MaxLanes(DF()));

// The first `count` lanes from memory; the spare ones repeat the last, and memory beyond it is left alone.
template <class D>
HWY_INLINE hn::Vec<D> LoadPart(D d, const hn::TFromD<D>* from, int count) {
  if (HWY_LIKELY(count == kLanes)) return hn::LoadU(d, from);
  HWY_ALIGN hn::TFromD<D> part[kLanes];
  for (int i = 0; i < kLanes; i++) part[i] = from[std::min(i, count - 1)];
  return hn::Load(d, part);
}
template <class D>
HWY_INLINE void StorePart(D d, hn::Vec<D> v, hn::TFromD<D>* to, int count) {
  if (HWY_LIKELY(count == kLanes)) {
    hn::StoreU(v, d, to);
    return;
  }
  HWY_ALIGN hn::TFromD<D> part[kLanes];
  hn::Store(v, d, part);
  std::memcpy(to, part, static_cast<size_t>(count) * sizeof(part[0]));
}

// Neighbouring rows of a detector lie in different pages, so no hardware asks for them in time.
constexpr int64_t kRowsAhead = 24, kFibresAhead = 4;
template <class T>
HWY_INLINE void Ahead(const View<T>& view, int64_t plane, int64_t x) {
  if (plane < view.planes) __builtin_prefetch(view.at(plane, 0) + x);
}

HWY_INLINE VF Half(VF centre) {  // the row that a centre lies in
  const DF d;
  return hn::Floor(hn::Add(centre, hn::Set(d, 0.5f)));
}

// Columns that are computed side by side, and where they lie between the nodes of the profiles.
struct Columns {
  int64_t x;  // in the views
  int count;
  int32_t firstNode, lastNode;  // of any lane
  VF position;                  // of each lane [nodes]
};

HWY_INLINE Columns ColumnsAt(const KernelCall& call, int64_t x, int count) {
  HWY_ALIGN float position[kLanes];
  const int64_t last = call.whole.cols - 1;
  Columns at = {x, count, kNodes, 0, {}};
  for (int i = 0; i < kLanes; i++) {
    const int64_t column = call.origin.x + x + std::min(i, count - 1);
    const double u = last > 0 ? static_cast<double>(column) * (kNodes - 1) / static_cast<double>(last) : 0.0;
    position[i] = static_cast<float>(u);
    const int32_t node = std::clamp<int32_t>(static_cast<int32_t>(position[i]), 0, kNodes - 2);
    at.firstNode = std::min(at.firstNode, node);
    at.lastNode = std::max(at.lastNode, node);
  }
  at.position = hn::Load(DF(), position);
  return at;
}

// Where a fibre lies in these columns. Lanes where it has no place at all (`ok` false) have no light.
struct Place {
  MF ok;
  VF centre, scale;  // row; samples of the table in a row
  float lowCentre, highCentre, lowScale, highScale;
  bool none, all;
};

HWY_INLINE Place PlaceOf(const Views& v, int64_t fibre, const Columns& at) {
  const DF d;
  const DU du;
  const VF c = LoadPart(d, v.centre.at(fibre, 0) + at.x, at.count);
  const VF w = LoadPart(d, v.width.at(fibre, 0) + at.x, at.count);
  const VU bits = LoadPart(du, v.traceDq.at(fibre, 0) + at.x, at.count);
  Place p;
  const auto left = hn::Eq(hn::And(bits, hn::Set(du, kLeftOut)), hn::Zero(du));
  p.ok = hn::And(hn::RebindMask(d, left), hn::Lt(hn::Abs(c), hn::Set(d, kFarthest)));
  p.ok = hn::And(p.ok, hn::And(hn::Ge(w, hn::Set(d, kLeastWidth)), hn::Le(w, hn::Set(d, kMostWidth))));
  p.all = hn::AllTrue(d, p.ok);
  p.none = hn::AllFalse(d, p.ok);
  const VF big = hn::Set(d, 2 * kFarthest);
  const auto least = [&](VF value)
                         HWY_ATTR { return hn::GetLane(hn::MinOfLanes(d, hn::IfThenElse(p.ok, value, big))); };
  const auto most = [&](VF value)
                        HWY_ATTR { return hn::GetLane(hn::MaxOfLanes(d, hn::IfThenElse(p.ok, value, hn::Neg(big)))); };
  p.lowCentre = least(c);
  p.highCentre = most(c);
  const float lowWidth = least(w), highWidth = most(w);
  p.centre = hn::IfThenElse(p.ok, c, hn::Set(d, p.lowCentre));
  p.scale = hn::Div(hn::Set(d, kPerPixel), hn::IfThenElse(p.ok, w, hn::Set(d, lowWidth)));
  p.lowScale = kPerPixel / highWidth;
  p.highScale = kPerPixel / lowWidth;
  return p;
}

// The rows that any lane's light reaches, cut to the chip. Where the profile ends before `reach`, P is 0 beyond.
HWY_INLINE Span SpanOf(const Place& p, int64_t reach, int64_t rows) {
  if (p.none) return {0, 0};
  const float half = kMiddle / p.lowScale + 0.5f;
  const int64_t low = std::max(static_cast<int64_t>(std::floor(p.lowCentre + 0.5f)) - reach,
                               static_cast<int64_t>(std::floor(p.lowCentre - half)));
  const int64_t high = std::min(static_cast<int64_t>(std::floor(p.highCentre + 0.5f)) + reach,
                                static_cast<int64_t>(std::ceil(p.highCentre + half)));
  const int64_t first = std::max<int64_t>(low, 0), last = std::min(high, rows - 1);
  return last < first ? Span{0, 0} : Span{first, last - first + 1};
}

// Cumulative profiles of a fibre around one node, as look-up wants them: the node's own, and what the next one has more.
struct Table {
  int64_t fibre = -1;
  int32_t node = -1;
  const float* low = nullptr;
  HWY_ALIGN float more[(kSamples + kMostLanes - 1) / kMostLanes * kMostLanes];
};

HWY_INLINE void Read(const Views& v, int64_t fibre, int32_t node, Table& table) {
  const DF d;
  if (table.fibre == fibre && table.node == node) return;
  const float *low = v.profile.at(fibre, node), *high = v.profile.at(fibre, node + 1);
  const float *nextLow = low, *nextHigh = high;
  if (fibre + 1 < v.profile.planes) {
    nextLow = v.profile.at(fibre + 1, node);
    nextHigh = v.profile.at(fibre + 1, node + 1);
  }
  int i = 0;
  for (; i + kLanes <= kSamples; i += kLanes) {
    __builtin_prefetch(nextLow + i);
    __builtin_prefetch(nextHigh + i);
    hn::Store(hn::Sub(hn::LoadU(d, high + i), hn::LoadU(d, low + i)), d, table.more + i);
  }
  for (; i < kSamples; i++) table.more[i] = high[i] - low[i];
  table.fibre = fibre;
  table.node = node;
  table.low = low;
}

// Values of the cumulative profile between two nodes, z samples from its middle, -240 <= z <= 240: counted from there, z has
// its smallest rounding where the light is. Near: all lanes' samples lie in one register from sample `base`; else they are
// gathered. Both give the same bits.
template <bool kNear>
HWY_INLINE VF Cumulative(const Table& table, VF part, VF z, int32_t base) {
  const DF d;
  const DI di;
  const VF sample = hn::Min(hn::Floor(z), hn::Set(d, kMiddle - 1)), f = hn::Sub(z, sample);
  VF a0, a1, b0, b1;
  if constexpr (kNear) {
    const auto index = hn::Sub(hn::ConvertTo(di, sample), hn::Set(di, base - static_cast<int32_t>(kMiddle)));
    const auto here = hn::IndicesFromVec(d, index);
    const float *low = table.low + base, *more = table.more + base;
    a0 = hn::TableLookupLanes(hn::LoadU(d, low), here);
    a1 = hn::TableLookupLanes(hn::LoadU(d, low + 1), here);
    b0 = hn::TableLookupLanes(hn::LoadU(d, more), here);
    b1 = hn::TableLookupLanes(hn::LoadU(d, more + 1), here);
  } else {
    const auto i = hn::ConvertTo(di, hn::Add(sample, hn::Set(d, kMiddle)));
    a0 = hn::GatherIndex(d, table.low, i);
    a1 = hn::GatherIndex(d, table.low + 1, i);
    b0 = hn::GatherIndex(d, table.more, i);
    b1 = hn::GatherIndex(d, table.more + 1, i);
  }
  const VF here = hn::MulAdd(part, b0, a0), then = hn::MulAdd(part, b1, a1);
  return hn::MulAdd(f, hn::Sub(then, here), here);
}

// Samples at or below those of all lanes at an edge, and at or above; a thousandth of a sample is allowed for rounding.
HWY_INLINE VF LowSample(const Place& p, VF edge) {
  const DF d;
  const VF t = hn::Sub(edge, hn::Set(d, p.highCentre)), past = hn::Set(d, p.lowScale);
  const VF scale = hn::IfThenElse(hn::Lt(t, hn::Zero(d)), hn::Set(d, p.highScale), past);
  return hn::MulAdd(t, scale, hn::Set(d, kMiddle - 1e-3f));
}
HWY_INLINE float Spread(const Place& p, float edge) {
  const float low = edge - p.highCentre, high = edge - p.lowCentre;
  return high * (high < 0 ? p.lowScale : p.highScale) - low * (low < 0 ? p.highScale : p.lowScale) + 2e-3f;
}

template <bool kNear>
HWY_INLINE void FillProfile(const Table& table, VF part, const Place& p, const Span& s, float* to) {
  const DF d;
  const VF end = hn::Set(d, kMiddle), start = hn::Neg(end), two = hn::Set(d, 2.0f);
  const float bottom = static_cast<float>(s.first) - 0.5f;
  HWY_ALIGN int32_t base[(kMostRows + kMostLanes) / kMostLanes * kMostLanes];
  for (int64_t e = 0; kNear && e <= s.rows; e += kLanes) {
    const VF low = LowSample(p, hn::Iota(d, bottom + static_cast<float>(e)));
    const VF most = hn::Set(d, static_cast<float>(kSamples - 1 - kLanes));
    hn::Store(hn::ConvertTo(DI(), hn::Min(hn::Max(low, hn::Zero(d)), most)), DI(), base + e);
  }
  VF below = end, edge = hn::Set(d, bottom);
  for (int64_t e = 0; e <= s.rows; e++, edge = hn::Add(edge, hn::Set(d, 1.0f))) {
    const VF z = hn::Mul(hn::Sub(edge, p.centre), p.scale);
    const VF above = Cumulative<kNear>(table, part, hn::Min(hn::Max(z, start), end), kNear ? base[e] : 0);
    if (e > 0) {
      const VF light = hn::Sub(above, below);
      const MF sane = hn::Le(hn::Abs(light), two);  // not of a table with infinities
      hn::Store(hn::IfThenElseZero(sane, light), d, to + (e - 1) * kLanes);
    }
    below = above;
  }
}

// P of a fibre for the rows of `s`, a register a row.
HWY_INLINE void Profile(const Views& v, int64_t fibre, const Columns& at, const Place& p, const Span& s, int64_t reach,
                        Table& table, float* to) {
  const DF d;
  if (s.rows == 0) return;
  const float bottom = static_cast<float>(s.first) - 0.5f, top = bottom + static_cast<float>(s.rows);
  const bool near = std::max(Spread(p, bottom), Spread(p, top)) + 2.0f <= static_cast<float>(kLanes);
  HWY_ALIGN float other[(kMostRows + 1) * kMostLanes];
  for (int32_t node = at.firstNode; node <= at.lastNode; node++) {
    Read(v, fibre, node, table);
    const VF part = hn::Sub(at.position, hn::Set(d, static_cast<float>(node)));
    float* into = node == at.firstNode ? to : other;
    if (near) {
      FillProfile<true>(table, part, p, s, into);
    } else {
      FillProfile<false>(table, part, p, s, into);
    }
    if (node == at.firstNode) continue;
    const MF mine = hn::Ge(part, hn::Zero(d));  // columns ascend, so later nodes take their lanes over
    for (int64_t j = 0; j < s.rows; j++) {
      float* q = to + j * kLanes;
      hn::Store(hn::IfThenElse(mine, hn::Load(d, into + j * kLanes), hn::Load(d, q)), d, q);
    }
  }
  const VF row = Half(p.centre), limit = hn::Set(d, static_cast<float>(reach));
  const float lowRow = std::floor(p.lowCentre + 0.5f), highRow = std::floor(p.highCentre + 0.5f);
  const float firstWhole = highRow - static_cast<float>(reach), lastWhole = lowRow + static_cast<float>(reach);
  const auto first = static_cast<float>(s.first);
  if (p.all && first >= firstWhole && first + static_cast<float>(s.rows - 1) <= lastWhole) return;
  for (int64_t j = 0; j < s.rows; j++) {
    const float y = first + static_cast<float>(j);
    if (p.all && y >= firstWhole && y <= lastWhole) continue;
    const MF inside = hn::And(p.ok, hn::Le(hn::Abs(hn::Sub(hn::Set(d, y), row)), limit));
    float* q = to + j * kLanes;
    hn::Store(hn::IfThenElseZero(inside, hn::Load(d, q)), d, q);
  }
}

// The pixels of a row in these columns: value and weight, both 0 where it must not be used, and the bits of those that are.
struct Pixels {
  VF value, weight;
  VU bits;
};
HWY_INLINE Pixels PixelsOf(const Views& v, int64_t row, const Columns& at, uint32_t bad) {
  const DF d;
  const DU du;
  const VF value = LoadPart(d, v.image.at(row, 0) + at.x, at.count);
  const VF weight = LoadPart(d, v.imageIvar.at(row, 0) + at.x, at.count);
  const VU bits = LoadPart(du, v.imageDq.at(row, 0) + at.x, at.count);
  MF use = hn::RebindMask(d, hn::Eq(hn::And(bits, hn::Set(du, bad)), hn::Zero(du)));
  use = hn::And(use, hn::Lt(hn::Abs(value), hn::Set(d, kLargest)));
  use = hn::And(use, hn::And(hn::Gt(weight, hn::Set(d, kSmallestWeight)), hn::Lt(weight, hn::Set(d, kLargestWeight))));
  return {hn::IfThenElseZero(use, value), hn::IfThenElseZero(use, weight),
          hn::IfThenElseZero(hn::RebindMask(du, use), bits)};
}

// Registers of columns that are computed together: a fibre's tables are fetched once for all of them, and two of AVX-512
// are 128 bytes of a row. More of them would leave the cache before they are finished.
constexpr int kSlots = 2;

struct Fibre {
  Span span;
  int64_t at;                   // of its profile, in registers
  int64_t judged, afterJudged;  // rows of the span next to the trace of any lane
};

// The least squares of a block of columns for fibres that overlap with kBand others on each side; kBand 0 is each fibre by
// itself.
template <int kBand>
class Solver {
 public:
  Solver(const KernelCall& call, const Views& v, const Settings& s) : call_(call), v_(v), s_(s) {
    float* at = call.scratch.data;
    const auto take = [&](int64_t registers) {
      float* here = at;
      at += registers * kLanes;
      return here;
    };
    model_ = take(v.rows());
    for (auto* list : {&flux_, &variance_, &pivot_}) *list = take(v.fibres());
    for (int m = 0; m < kBand; m++) factor_[m] = take(v.fibres());
    before_ = reinterpret_cast<int32_t*>(at);
    at += (v.rows() + 16) / 16 * 16;
    for (Slot& slot : slots_) {
      for (auto* list : {&slot.value, &slot.weight}) *list = take(v.rows());
      slot.bits = reinterpret_cast<uint32_t*>(take(v.rows()));
      for (auto* list : {&slot.own, &slot.right, &slot.light, &slot.squares}) *list = take(v.fibres());
      for (int m = 0; m < kBand; m++) slot.cross[m] = take(v.fibres());
      slot.fibre = reinterpret_cast<Fibre*>(at);
      at += (v.fibres() * static_cast<int64_t>(sizeof(Fibre)) + 63) / 64 * 16;
      slot.flagged = reinterpret_cast<uint8_t*>(at);
      at += (v.rows() + 63) / 64 * 16;
    }
    profile_ = at;
  }

  // Up to kSlots registers of columns. From the lowest fibre up, each row of pixels is fetched when the first fibre needs it.
  void Run(int64_t x, int64_t columns) {
    const int slots = static_cast<int>((columns + kLanes - 1) / kLanes);
    for (int i = 0; i < slots; i++) {
      const int64_t done = static_cast<int64_t>(i) * kLanes;
      slots_[i].at = ColumnsAt(call_, x + done, static_cast<int>(std::min<int64_t>(kLanes, columns - done)));
      slots_[i].steep = false;
    }
    int64_t used = 0, loaded = 0;
    for (int64_t f = 0; f < v_.fibres(); f++) {
      for (int i = 0; i < slots; i++) {
        Slot& slot = slots_[i];
        if (slot.steep) continue;
        for (const View<const float>* in : {&v_.centre, &v_.width}) Ahead(*in, f + kFibresAhead, slot.at.x);
        Ahead(v_.traceDq, f + kFibresAhead, slot.at.x);
        const Place p = PlaceOf(v_, f, slot.at);
        const Span s = SpanOf(p, s_.reach, v_.rows());
        slot.steep = s.rows > kMostRows;
        if (slot.steep) continue;
        for (; loaded < s.first + s.rows; loaded++) LoadRow(slots, loaded);
        Fibre& fibre = slot.fibre[f];
        fibre = {s, used, 0, 0};
        if (s.rows > 0) {
          const int64_t judged = std::min(kJudged, s_.reach);
          const auto low = static_cast<int64_t>(std::floor(p.lowCentre + 0.5f)) - judged - s.first;
          const auto high = static_cast<int64_t>(std::floor(p.highCentre + 0.5f)) + judged - s.first;
          fibre.judged = std::clamp<int64_t>(low, 0, s.rows);
          fibre.afterJudged = std::clamp<int64_t>(high + 1, 0, s.rows);
        }
        used += s.rows;
        Profile(v_, f, slot.at, p, s, s_.reach, table_, ProfileOf(fibre));
        Normal(slot, f);
      }
    }
    for (; loaded < v_.rows(); loaded++) LoadRow(slots, loaded);
    for (int i = 0; i < slots; i++) {
      if (!slots_[i].steep) Finish(slots_[i]);
    }
    if (columns == 1) return;  // at most 2 kMostReach + 1 rows
    for (int i = 0; i < slots; i++) {
      if (!slots_[i].steep) continue;
      const Columns at = slots_[i].at;
      for (int k = 0; k < at.count; k++) Run(at.x + k, 1);
    }
  }

 private:
  struct Slot {
    Columns at;
    bool steep;  // a fibre's windows need more rows than there is room for: columns are computed one by one
    float *value, *weight;
    uint32_t* bits;    // of the rows that are flagged
    uint8_t* flagged;  // rows with bits in any lane
    float *own, *right, *light, *squares, *cross[kBand + 1];
    Fibre* fibre;
  };

  float* ProfileOf(const Fibre& fibre) { return profile_ + fibre.at * kLanes; }
  static HWY_INLINE VF Get(const float* list, int64_t i) { return hn::Load(DF(), list + i * kLanes); }
  static HWY_INLINE void Put(VF v, float* list, int64_t i) { hn::Store(v, DF(), list + i * kLanes); }

  HWY_INLINE void LoadRow(int slots, int64_t y) {
    const DU du;
    for (int i = 0; i < slots; i++) {
      Slot& slot = slots_[i];
      Ahead(v_.image, y + kRowsAhead, slot.at.x);
      Ahead(v_.imageIvar, y + kRowsAhead, slot.at.x);
      Ahead(v_.imageDq, y + kRowsAhead, slot.at.x);
      const Pixels p = PixelsOf(v_, y, slot.at, s_.bad);
      Put(p.value, slot.value, y);
      Put(p.weight, slot.weight, y);
      slot.flagged[y] = hn::AllTrue(du, hn::Eq(p.bits, hn::Zero(du))) ? 0 : 1;
      hn::Store(p.bits, du, slot.bits + y * kLanes);
    }
  }

  // A fibre's line of the normal equations, as far as the fibres below it.
  HWY_INLINE void Normal(const Slot& slot, int64_t f) {
    const DF d;
    const VF zero = hn::Zero(d);
    HWY_ALIGN float weighted[kMostRows * kMostLanes];
    const auto [first, rows] = slot.fibre[f].span;
    const float *profile = ProfileOf(slot.fibre[f]), *weight = slot.weight + first * kLanes;
    const float* value = slot.value + first * kLanes;
    VF own = zero, right = zero, light = zero, squares = zero;
    for (int64_t j = 0; j < rows; j++) {
      const VF p = Get(profile, j), w = Get(weight, j), wp = hn::Mul(w, p);
      const VF seen = hn::IfThenElseZero(hn::Gt(w, zero), p);
      if constexpr (kBand > 0) Put(wp, weighted, j);
      own = hn::MulAdd(wp, p, own);
      right = hn::MulAdd(wp, Get(value, j), right);
      light = hn::Add(light, seen);
      squares = hn::MulAdd(seen, seen, squares);
    }
    Put(own, slot.own, f);
    Put(right, slot.right, f);
    Put(light, slot.light, f);
    Put(squares, slot.squares, f);
    for (int m = 1; m <= kBand; m++) {
      VF sum = zero;
      if (const int64_t g = f - m; g >= 0) {
        const Span& other = slot.fibre[g].span;
        const int64_t from = std::max(first, other.first), to = std::min(first + rows, other.first + other.rows);
        const float* theirs = ProfileOf(slot.fibre[g]) + (from - other.first) * kLanes;
        const float* mine = weighted + (from - first) * kLanes;
        for (int64_t j = 0; j < to - from; j++) sum = hn::MulAdd(Get(mine, j), Get(theirs, j), sum);
        Put(sum, slot.cross[m - 1], g);
      }
      if (f + m >= v_.fibres()) Put(zero, slot.cross[m - 1], f);
    }
  }

  // From the normal equations to the spectra.
  HWY_NOINLINE void Finish(Slot& slot) {
    now_ = slot;
    Solve();
    if (s_.photonVariance > 0 || s_.reject > 0) {
      const bool rejected = Reweight();
      if (rejected || s_.photonVariance > 0) Again();
      // The first model had the faults of the weights as given, and the light of what was rejected.
      if (s_.photonVariance > 0) {
        Revise();
        Again();
      }
    }
    Invert();
    Tell();
  }

  // Once more, for the fibres in whose rows weights changed.
  HWY_NOINLINE void Again() {
    for (int64_t f = 0; f < v_.fibres(); f++) {
      const auto [first, rows] = now_.fibre[f].span;
      if (before_[first + rows] != before_[first]) Normal(now_, f);
    }
    Solve();
  }

  // The solution of the normal equations, and the model of all fibres.
  HWY_NOINLINE void Solve() {
    const DF d;
    Factor();
    for (int64_t y = 0; y < v_.rows(); y++) Put(hn::Zero(d), model_, y);
    for (int64_t f = 0; f < v_.fibres(); f++) {
      const auto [first, rows] = now_.fibre[f].span;
      const float* profile = ProfileOf(now_.fibre[f]);
      float* model = model_ + first * kLanes;
      const VF flux = Get(flux_, f);
      for (int64_t j = 0; j < rows; j++) Put(hn::MulAdd(flux, Get(profile, j), Get(model, j)), model, j);
    }
  }

  // L D L^T without square roots, then the fluxes. A fibre without light, or one that its neighbours leave no information
  // of its own, drops out: its row and column are passed over. One that only shows its wings is solved for, as its neighbours
  // need it; it is not told of.
  HWY_INLINE void Factor() {
    const DF d;
    const VF zero = hn::Zero(d), one = hn::Set(d, 1.0f);
    const int64_t n = v_.fibres();
    MF gone = hn::FirstN(d, 0);
    for (int64_t f = 0; f < n; f++) {
      Put(Get(now_.own, f), pivot_, f);
      Put(Get(now_.right, f), flux_, f);
      for (int m = 0; m < kBand; m++) Put(Get(now_.cross[m], f), factor_[m], f);
    }
    for (int64_t f = 0; f < n; f++) {
      const VF pivot = Get(pivot_, f), own = Get(now_.own, f);
      MF ok = hn::And(hn::Gt(own, zero), hn::Ge(Get(now_.squares, f), hn::Set(d, kLeastSquares)));
      ok = hn::And(ok, hn::Ge(pivot, hn::Mul(own, hn::Set(d, kLeastPivot))));
      const VF inverse = hn::IfThenElseZero(ok, hn::Div(one, hn::IfThenElse(ok, pivot, one)));
      gone = hn::Or(gone, hn::AndNot(ok, hn::Gt(own, zero)));
      Put(inverse, pivot_, f);
      const VF y = Get(flux_, f);
      VF c[kBand + 1], l[kBand + 1];
      const int last = static_cast<int>(std::min<int64_t>(kBand, n - 1 - f));
      for (int m = 1; m <= last; m++) {
        c[m] = Get(factor_[m - 1], f);
        l[m] = hn::Mul(c[m], inverse);
        Put(l[m], factor_[m - 1], f);
      }
      for (int m = 1; m <= last; m++) {
        Put(hn::NegMulAdd(l[m], c[m], Get(pivot_, f + m)), pivot_, f + m);
        Put(hn::NegMulAdd(l[m], y, Get(flux_, f + m)), flux_, f + m);
        for (int k = m + 1; k <= last; k++) {
          Put(hn::NegMulAdd(l[m], c[k], Get(factor_[k - m - 1], f + m)), factor_[k - m - 1], f + m);
        }
      }
      Put(hn::Mul(y, inverse), flux_, f);
    }
    anyGone_ = !hn::AllFalse(d, gone);
    for (int64_t f = n - 1; f >= 0; f--) {
      VF flux = Get(flux_, f);
      const int last = static_cast<int>(std::min<int64_t>(kBand, n - 1 - f));
      for (int m = 1; m <= last; m++) flux = hn::NegMulAdd(Get(factor_[m - 1], f), Get(flux_, f + m), flux);
      Put(flux, flux_, f);
    }
  }

  // Weights by the model, and none for what stands out above it. Returns whether anything did.
  HWY_NOINLINE bool Reweight() {
    const DF d;
    const DU du;
    const VF zero = hn::Zero(d), photons = hn::Set(d, s_.photonVariance), tolerance = hn::Set(d, s_.profileError);
    const VF limit = hn::Set(d, s_.reject > 0 ? s_.reject * s_.reject : 0.0f), one = hn::Set(d, 1.0f);
    before_[0] = 0;
    for (int64_t y = 0; y < v_.rows(); y++) {
      bool changed = s_.photonVariance > 0;
      const VF value = Get(now_.value, y), model = Get(model_, y);
      VF w = Get(now_.weight, y);
      if (s_.photonVariance > 0) w = Revised(w, value, model, photons);
      if (s_.reject > 0) {
        const VF residual = hn::Sub(value, model), part = hn::Mul(tolerance, model);
        const VF allowed = hn::Mul(limit, hn::MulAdd(hn::Mul(part, part), w, one));
        const MF out = hn::And(hn::And(hn::Gt(residual, zero), hn::Gt(w, zero)),
                               hn::Gt(hn::Mul(hn::Mul(residual, residual), w), allowed));
        if (HWY_UNLIKELY(!hn::AllFalse(d, out))) {
          changed = true;
          w = hn::IfThenZeroElse(out, w);
          const VU bits = hn::Load(du, now_.bits + y * kLanes);
          const VU mark = hn::IfThenElse(hn::RebindMask(du, out), hn::Set(du, dq::kModelOutlier), bits);
          hn::Store(mark, du, now_.bits + y * kLanes);
          now_.flagged[y] = 1;
        }
      }
      Put(w, now_.weight, y);
      before_[y + 1] = before_[y] + (changed ? 1 : 0);
    }
    return before_[v_.rows()] > 0;
  }

  // W for the photons of the model instead of those of the noisy value.
  static HWY_INLINE VF Revised(VF w, VF value, VF model, VF photons) {
    const DF d;
    const VF zero = hn::Zero(d);
    const VF more = hn::Mul(photons, hn::Sub(hn::Max(model, zero), value));
    return hn::Div(w, hn::Max(hn::MulAdd(w, more, hn::Set(d, 1.0f)), hn::Set(d, kLeastRevised)));
  }

  // Again from the weights as given, for pixels that still have any.
  HWY_NOINLINE void Revise() {
    const DF d;
    for (int64_t y = 0; y < v_.rows(); y++) {
      const VF w = Get(now_.weight, y);
      const VF given = PixelsOf(v_, y, now_.at, s_.bad).weight;
      const VF again = Revised(given, Get(now_.value, y), Get(model_, y), hn::Set(d, s_.photonVariance));
      Put(hn::IfThenElseZero(hn::Gt(w, hn::Zero(d)), again), now_.weight, y);
    }
  }

  // The band of N^-1 from the factors (Takahashi, Fagan and Chin 1973): marginal variances and covariances of neighbours.
  HWY_INLINE void Invert() {
    const DF d;
    const VF zero = hn::Zero(d);
    VF z[kBand + 1][kBand + 1];  // z[i][k] = Z(f + i, f + i + k), i from 1
    for (auto& row : z) {
      for (VF& value : row) value = zero;
    }
    for (int64_t f = v_.fibres() - 1; f >= 0; f--) {
      VF l[kBand + 1], now[kBand + 1];
      for (int m = 1; m <= kBand; m++) l[m] = f + m < v_.fibres() ? Get(factor_[m - 1], f) : zero;
      for (int k = 1; k <= kBand; k++) {
        VF sum = zero;
        for (int m = 1; m <= kBand; m++) {
          const int low = std::min(m, k), apart = std::max(m, k) - low;
          sum = hn::NegMulAdd(l[m], z[low][apart], sum);
        }
        now[k] = sum;
      }
      VF own = Get(pivot_, f);
      for (int m = 1; m <= kBand; m++) own = hn::NegMulAdd(l[m], now[m], own);
      now[0] = own;
      Put(own, variance_, f);
      if constexpr (kBand >= 2) {
        StorePart(d, hn::Add(now[1], zero), v_.next.at(f, 0) + now_.at.x, now_.at.count);
        StorePart(d, hn::Add(now[2], zero), v_.second.at(f, 0) + now_.at.x, now_.at.count);
      }
      for (int i = kBand; i >= 1; i--) {
        for (int k = 0; k <= kBand; k++) z[i][k] = i > 1 ? z[i - 1][k] : now[k];
      }
    }
  }

  HWY_NOINLINE void Tell() {
    const DF d;
    const DU du;
    const VF zero = hn::Zero(d), one = hn::Set(d, 1.0f);
    // The residuals' squares take the place of the values.
    before_[0] = 0;
    for (int64_t y = 0; y < v_.rows(); y++) {
      before_[y + 1] = before_[y] + now_.flagged[y];
      const VF residual = hn::Sub(Get(now_.value, y), Get(model_, y));
      Put(hn::Mul(hn::Mul(residual, residual), Get(now_.weight, y)), now_.value, y);
    }
    const auto set = [&](MF where, uint32_t bit)
                         HWY_ATTR { return hn::IfThenElseZero(hn::RebindMask(du, where), hn::Set(du, bit)); };
    for (int64_t f = 0; f < v_.fibres(); f++) {
      const auto [first, rows] = now_.fibre[f].span;
      const float *profile = ProfileOf(now_.fibre[f]), *weight = now_.weight + first * kLanes;
      for (const View<float>* out : {&v_.flux, &v_.ivar, &v_.chi2, &v_.crosstalk})
        Ahead(*out, f + kFibresAhead, now_.at.x);
      Ahead(v_.dq, f + kFibresAhead, now_.at.x);
      Ahead(v_.traceDq, f + kFibresAhead, now_.at.x);
      const VF c = LoadPart(d, v_.centre.at(f, 0) + now_.at.x, now_.at.count), row = Half(c);
      const VF own = Get(now_.own, f), light = Get(now_.light, f);
      const MF dim = hn::Lt(light, hn::Set(d, kLeastLight));
      MF dropped = hn::Or(dim, hn::Eq(Get(pivot_, f), zero));
      if (HWY_UNLIKELY(anyGone_)) dropped = hn::Or(dropped, Shared(f));
      const VF flux = hn::IfThenZeroElse(dropped, Get(flux_, f));
      const VF variance = hn::IfThenElse(dropped, one, Get(variance_, f));
      StorePart(d, hn::Add(flux, zero), v_.flux.at(f, 0) + now_.at.x, now_.at.count);
      StorePart(d, hn::IfThenZeroElse(dropped, hn::Div(one, variance)), v_.ivar.at(f, 0) + now_.at.x, now_.at.count);

      // chi2 of the pixels next to the trace; what the fibre's own flux takes of their degrees of freedom is its leverage.
      VF chi2 = zero, used = zero, freedom = zero;
      const VF judged = hn::Set(d, static_cast<float>(std::min(kJudged, s_.reach)));
      for (int64_t j = now_.fibre[f].judged; j < now_.fibre[f].afterJudged; j++) {
        const VF away = hn::Abs(hn::Sub(hn::Set(d, static_cast<float>(first + j)), row));
        const VF w = Get(weight, j), p = Get(profile, j);
        const MF counts = hn::And(hn::Le(away, judged), hn::Gt(w, zero));
        chi2 = hn::Add(chi2, hn::IfThenElseZero(counts, Get(now_.value, first + j)));
        used = hn::Add(used, hn::IfThenElseZero(counts, hn::Mul(w, hn::Mul(p, p))));
        freedom = hn::Add(freedom, hn::IfThenElseZero(counts, one));
      }
      freedom = hn::NegMulAdd(used, variance, freedom);
      const MF known = hn::AndNot(dropped, hn::Gt(freedom, hn::Set(d, 0.5f)));
      StorePart(d, hn::IfThenElseZero(known, hn::Div(chi2, hn::IfThenElse(known, freedom, one))),
                v_.chi2.at(f, 0) + now_.at.x, now_.at.count);

      // Light of the others, seen through this fibre's weights, for each unit of its own.
      VF others = zero;
      if constexpr (kBand > 0) {
        for (int m = 1; m <= kBand; m++) {
          if (f + m < v_.fibres()) others = hn::MulAdd(Get(now_.cross[m - 1], f), Get(flux_, f + m), others);
          if (f - m >= 0) others = hn::MulAdd(Get(now_.cross[m - 1], f - m), Get(flux_, f - m), others);
        }
      } else {
        for (int64_t j = 0; j < rows; j++) {
          const VF p = Get(profile, j), wp = hn::Mul(Get(weight, j), p);
          others = hn::MulAdd(wp, hn::NegMulAdd(flux, p, Get(model_, first + j)), others);
        }
      }
      const VF unit = hn::Mul(hn::IfThenElse(dropped, one, own), hn::Max(flux, hn::Sqrt(variance)));
      const VF crosstalk = hn::IfThenZeroElse(dropped, hn::Div(others, hn::IfThenElse(dropped, one, unit)));
      StorePart(d, hn::Add(crosstalk, zero), v_.crosstalk.at(f, 0) + now_.at.x, now_.at.count);

      VU bits = LoadPart(du, v_.traceDq.at(f, 0) + now_.at.x, now_.at.count);
      const bool clean = before_[first + rows] == before_[first];
      for (int64_t j = 0; !clean && j < rows; j++) {
        if (now_.flagged[first + j] == 0) continue;
        const MF counts = hn::Ge(Get(profile, j), hn::Set(d, kCounts));
        bits = hn::Or(bits,
                      hn::IfThenElseZero(hn::RebindMask(du, counts), hn::Load(du, now_.bits + (first + j) * kLanes)));
      }
      bits = hn::Or(bits, set(dropped, dq::kExtractionFailed));
      bits = hn::Or(bits, set(dim, dq::kNoGoodPixels));
      const MF wide = hn::And(hn::Lt(Get(now_.squares, f), hn::Set(d, kWideSquares)), hn::Not(dropped));
      bits = hn::Or(bits, set(wide, dq::kWideWindow));
      if constexpr (kBand > 0) bits = hn::Or(bits, set(hn::Gt(crosstalk, one), dq::kCrossTalk));
      const VF reach = hn::Set(d, static_cast<float>(s_.reach));
      const MF beyond =
          hn::Or(hn::Lt(row, reach), hn::Gt(row, hn::Sub(hn::Set(d, static_cast<float>(v_.rows() - 1)), reach)));
      if (HWY_UNLIKELY(!hn::AllFalse(d, beyond))) {
        VF seen = zero;
        for (int64_t j = 0; j < rows; j++) seen = hn::Add(seen, Get(profile, j));
        bits = hn::Or(bits, set(hn::And(beyond, hn::Lt(seen, hn::Set(d, kOnChip))), dq::kOffChip));
      }
      StorePart(du, bits, v_.dq.at(f, 0) + now_.at.x, now_.at.count);
    }
  }

  // Lanes where a fibre next to this one dropped out because the two cannot be told apart.
  HWY_INLINE MF Shared(int64_t f) {
    const DF d;
    const VF zero = hn::Zero(d);
    MF shared = hn::FirstN(d, 0);
    for (int m = 1; m <= kBand; m++) {
      for (const int64_t g : {f - m, f + m}) {
        if (g < 0 || g >= v_.fibres()) continue;
        const VF cross = Get(now_.cross[m - 1], std::min(f, g)), limit = hn::Mul(Get(now_.own, f), Get(now_.own, g));
        const MF gone = hn::And(hn::Eq(Get(pivot_, g), zero), hn::Gt(Get(now_.own, g), zero));
        shared = hn::Or(shared, hn::And(gone, hn::Gt(hn::Mul(cross, cross), hn::Mul(limit, hn::Set(d, kMostOverlap)))));
      }
    }
    return shared;
  }

  const KernelCall& call_;
  const Views& v_;
  const Settings& s_;
  Slot slots_[kSlots];
  Slot now_;  // the one that is finished
  float *model_, *flux_, *variance_, *pivot_;
  float* factor_[kBand + 1];
  bool anyGone_;     // whether a fibre with light dropped out
  int32_t* before_;  // rows before a row that weights changed in, in the end those that are flagged
  float* profile_;
  Table table_;
};

template <int kBand>
Status ExtractColumns(const KernelCall& call, const Views& v, const Settings& s) {
  if (const Status status = CheckPlanes(v); !status.ok()) return status;
  if (v.fibres() == 0) return Ok();
  Solver<kBand> solver(call, v, s);
  for (int64_t x = 0; x < v.flux.cols; x += kSlots * kLanes) {
    const int64_t columns = std::min<int64_t>(kSlots * kLanes, v.flux.cols - x);
    solver.Run(x, columns);
  }
  return Ok();
}

}  // namespace fibres
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();
#endif
