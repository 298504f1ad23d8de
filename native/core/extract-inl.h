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

#include <hwy/cache_control.h>
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
    // A whole line that is not read again is written past the caches: they need not fetch it first.
    if (kLanes * sizeof(*to) == 64 && reinterpret_cast<uintptr_t>(to) % 64 == 0) {
      hn::Stream(v, d, to);
    } else {
      hn::StoreU(v, d, to);
    }
    return;
  }
  HWY_ALIGN hn::TFromD<D> part[kLanes];
  hn::Store(v, d, part);
  std::memcpy(to, part, static_cast<size_t>(count) * sizeof(part[0]));
}

// Neighbouring rows of a detector lie in different pages, so no hardware asks for them in time.
constexpr int64_t kRowsAhead = 8, kFibresAhead = 4;
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
  VF given;          // the centre as it is, number or not
  VU bits;           // of the trace
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
  p.given = c;
  p.bits = bits;
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
  const float half = kMiddle / p.lowScale + 0.501f;  // with room for rounding: P is 0 in the rows that are left out
  const int64_t low = std::max(static_cast<int64_t>(std::floor(p.lowCentre + 0.5f)) - reach,
                               static_cast<int64_t>(std::ceil(p.lowCentre - half)));
  const int64_t high = std::min(static_cast<int64_t>(std::floor(p.highCentre + 0.5f)) + reach,
                                static_cast<int64_t>(std::floor(p.highCentre + half)));
  const int64_t first = std::max<int64_t>(low, 0), last = std::min(high, rows - 1);
  return last < first ? Span{0, 0} : Span{first, last - first + 1};
}

// Cumulative profiles at the nodes. One with a value that is no part of all light (|C| > 2, NaN) is no profile: between it and
// the next nodes the fibre has no light.
class Tables {
 public:
  // Scratch that they need [floats].
  static int64_t Floats(int64_t fibres) { return (fibres * kNodes + 63) / 64 * 16; }
  Tables(const Views& v, float* scratch) : v_(v), known_(reinterpret_cast<uint8_t*>(scratch)) {
    std::memset(known_, 0, static_cast<size_t>(v.fibres() * kNodes));
  }
  struct Pair {
    const float *low, *high;
  };
  HWY_INLINE Pair Around(int64_t fibre, int32_t node) {
    if (HWY_UNLIKELY(!Sane(fibre, node) || !Sane(fibre, node + 1))) return {kDark, kDark};
    return {v_.profile.at(fibre, node), v_.profile.at(fibre, node + 1)};
  }
  // Where both tables of a fibre begin, for those who ask for memory ahead; they lie one behind the other.
  HWY_INLINE const float* Next(int64_t fibre, int32_t node) const {
    return v_.profile.at(std::min(fibre + 1, v_.profile.planes - 1), node);
  }

 private:
  HWY_INLINE bool Sane(int64_t fibre, int32_t node) {
    uint8_t& known = known_[fibre * kNodes + node];
    if (HWY_UNLIKELY(known == 0)) known = Judge(v_.profile.at(fibre, node)) ? 1 : 2;
    return known == 1;
  }
  static HWY_NOINLINE bool Judge(const float* table) {
    const DF d;
    MF sane = hn::FirstN(d, kLanes);
    for (int i = 0;; i = std::min(i + kLanes, kSamples - kLanes)) {  // the last register overlaps the one before
      sane = hn::And(sane, hn::Le(hn::Abs(hn::LoadU(d, table + i)), hn::Set(d, kMostCumulative)));
      if (i == kSamples - kLanes) return hn::AllTrue(d, sane);
    }
  }
  static constexpr float kDark[kSamples] = {};
  const Views& v_;
  uint8_t* known_;  // of each fibre and node: 0 not judged, 1 sane, 2 not
};

// The sample that lies at or below those of all lanes at an edge, from the middle; a thousandth is allowed for rounding.
HWY_INLINE VF LowSample(const Place& p, VF edge) {
  const DF d;
  const VF t = hn::Sub(edge, hn::Set(d, p.highCentre)), past = hn::Set(d, p.lowScale);
  const VF scale = hn::IfThenElse(hn::Lt(t, hn::Zero(d)), hn::Set(d, p.highScale), past);
  return hn::Floor(hn::MulAdd(t, scale, hn::Set(d, -1e-3f)));
}
HWY_INLINE float Spread(const Place& p, float edge) {
  const float low = edge - p.highCentre, high = edge - p.lowCentre;
  return high * (high < 0 ? p.lowScale : p.highScale) - low * (low < 0 ? p.highScale : p.lowScale) + 2e-3f;
}

// P from the cumulative profiles between two nodes and between two samples. Near: at each edge all lanes' samples lie in one
// register of the table from sample `base` on; else they are gathered. Both give the same bits.
template <bool kNear>
HWY_INLINE void FillProfile(const Tables::Pair& table, VF part, const Place& p, const Span& s, const float* next,
                            float* to) {
  const DF d;
  const DI di;
  const float bottom = static_cast<float>(s.first) - 0.5f;
  // Floats from 2^23 on have their ones in their last bits: a sample within the register, without a conversion.
  constexpr float kWhole = 8388608.0f;
  constexpr int32_t kLast = kSamples - 1 - kLanes;
  HWY_ALIGN int32_t base[(kMostRows + kMostLanes) / kMostLanes * kMostLanes];
  HWY_ALIGN float within[(kMostRows + kMostLanes) / kMostLanes * kMostLanes];
  for (int64_t e = 0; kNear && e <= s.rows; e += kLanes) {
    const VF low = hn::Add(LowSample(p, hn::Iota(d, bottom + static_cast<float>(e))), hn::Set(d, kMiddle));
    const VF from = hn::Min(hn::Max(low, hn::Zero(d)), hn::Set(d, static_cast<float>(kLast)));
    hn::Store(hn::ConvertTo(di, from), di, base + e);
    hn::Store(hn::Sub(hn::Set(d, kWhole + kMiddle), from), d, within + e);
  }
  // Counted from the middle of the table, z has its smallest rounding where the light is.
  const VF end = hn::Set(d, kMiddle), start = hn::Neg(end), one = hn::Set(d, 1.0f);
  const VF other = hn::Sub(one, part);
  VF below = one, edge = hn::Set(d, bottom);
  for (int64_t e = 0; e <= s.rows; e++, edge = hn::Add(edge, one)) {
    __builtin_prefetch(next + e * 2 * 16);
    __builtin_prefetch(next + e * 2 * 16 + 16);
    const VF z = hn::Min(hn::Max(hn::Mul(hn::Sub(edge, p.centre), p.scale), start), end);
    const VF sample = hn::Min(hn::Floor(z), hn::Set(d, kMiddle - 1)), f = hn::Sub(z, sample);
    VF a0, a1, b0, b1;
    if constexpr (kNear) {
      const auto bits = hn::BitCast(di, hn::Add(sample, hn::Set(d, within[e])));
      const auto here = hn::IndicesFromVec(d, hn::And(bits, hn::Set(di, kLanes - 1)));
      const float *low = table.low + base[e], *high = table.high + base[e];
      a0 = hn::TableLookupLanes(hn::LoadU(d, low), here);
      a1 = hn::TableLookupLanes(hn::LoadU(d, low + 1), here);
      b0 = hn::TableLookupLanes(hn::LoadU(d, high), here);
      b1 = hn::TableLookupLanes(hn::LoadU(d, high + 1), here);
    } else {
      const auto i = hn::ConvertTo(di, hn::Add(sample, hn::Set(d, kMiddle)));
      a0 = hn::GatherIndex(d, table.low, i);
      a1 = hn::GatherIndex(d, table.low + 1, i);
      b0 = hn::GatherIndex(d, table.high, i);
      b1 = hn::GatherIndex(d, table.high + 1, i);
    }
    const VF low = hn::MulAdd(f, hn::Sub(a1, a0), a0), high = hn::MulAdd(f, hn::Sub(b1, b0), b0);
    const VF above = hn::MulAdd(part, high, hn::Mul(other, low));
    if (e > 0) hn::Store(hn::Sub(above, below), d, to + (e - 1) * kLanes);
    below = above;
  }
}

// P of a fibre for the rows of `s`, a register a row.
HWY_INLINE void Profile(int64_t fibre, const Columns& at, const Place& p, const Span& s, int64_t reach, Tables& tables,
                        float* to) {
  const DF d;
  if (s.rows == 0) return;
  const float bottom = static_cast<float>(s.first) - 0.5f, top = bottom + static_cast<float>(s.rows);
  const bool near = std::max(Spread(p, bottom), Spread(p, top)) + 2.0f <= static_cast<float>(kLanes);
  HWY_ALIGN float other[(kMostRows + 1) * kMostLanes];
  for (int32_t node = at.firstNode; node <= at.lastNode; node++) {
    const Tables::Pair table = tables.Around(fibre, node);
    const float* next = tables.Next(fibre, node);
    const VF part = hn::Sub(at.position, hn::Set(d, static_cast<float>(node)));
    float* into = node == at.firstNode ? to : other;
    if (near) {
      FillProfile<true>(table, part, p, s, next, into);
    } else {
      FillProfile<false>(table, part, p, s, next, into);
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

// Registers of columns whose pixels are fetched together: rows of a detector lie far apart, and memory that is asked for a line
// here and there gives a tenth of what it gives in turn.
constexpr int kPanels = 4;

struct Fibre {
  Span span;
  int64_t at;                   // of its profile, in registers
  int64_t judged, afterJudged;  // rows of the span next to the trace of any lane
};

// The least squares of a register of columns for fibres that overlap with kBand others on each side; kBand 0 is each fibre by
// itself. What it keeps of them, mostly profiles, is as much as the second cache holds, and the way back over the fibres begins
// where the way up ended.
template <int kBand>
class Solver {
 public:
  Solver(const KernelCall& call, const Views& v, const Settings& s)
      : call_(call), v_(v), s_(s), tables_(v, call.scratch.data) {
    float* at = call.scratch.data + Tables::Floats(v.fibres());
    const auto take = [&](int64_t registers) {
      float* here = at;
      at += registers * kLanes;
      return here;
    };
    model_ = take(v.rows());
    revised_ = take(v.rows());
    for (Panel& panel : panels_) {
      for (auto* list : {&panel.value, &panel.weight}) *list = take(v.rows());
      panel.bits = reinterpret_cast<uint32_t*>(take(v.rows()));
      panel.flagged = reinterpret_cast<uint8_t*>(at);
      at += (v.rows() + 63) / 64 * 16;
    }
    for (auto* list : {&row_, &own_, &right_, &light_, &squares_, &flux_, &inverse_}) *list = take(v.fibres());
    traceDq_ = reinterpret_cast<uint32_t*>(take(v.fibres()));
    for (int m = 0; m < kBand; m++) {
      cross_[m] = take(v.fibres());
      factor_[m] = take(v.fibres());
    }
    before_ = reinterpret_cast<int32_t*>(at);
    at += (v.rows() + 16) / 16 * 16;
    // With one lane alone, lists of floats end anywhere, and a Fibre has words of eight bytes.
    at = call.scratch.data + (at - call.scratch.data + 15) / 16 * 16;
    fibre_ = reinterpret_cast<Fibre*>(at);
    at += (v.fibres() * static_cast<int64_t>(sizeof(Fibre)) + 63) / 64 * 16;
    profile_ = at;
  }

  // Up to kPanels registers of columns.
  void Run(int64_t x, int64_t columns) {
    const int panels = static_cast<int>((columns + kLanes - 1) / kLanes);
    Columns at[kPanels];
    for (int i = 0; i < panels; i++) {
      const int64_t done = static_cast<int64_t>(i) * kLanes;
      at[i] = ColumnsAt(call_, x + done, static_cast<int>(std::min<int64_t>(kLanes, columns - done)));
    }
    const DU du;
    for (int64_t y = 0; y < v_.rows(); y++) {
      for (int i = 0; i < panels; i++) {
        Ahead(v_.image, y + kRowsAhead, at[i].x);
        Ahead(v_.imageIvar, y + kRowsAhead, at[i].x);
        Ahead(v_.imageDq, y + kRowsAhead, at[i].x);
        const Pixels p = PixelsOf(v_, y, at[i], s_.bad);
        Put(p.value, panels_[i].value, y);
        Put(p.weight, panels_[i].weight, y);
        panels_[i].flagged[y] = hn::AllTrue(du, hn::Eq(p.bits, hn::Zero(du))) ? 0 : 1;
        if (panels_[i].flagged[y] != 0) hn::Store(p.bits, du, panels_[i].bits + y * kLanes);
      }
    }
    bool steep[kPanels];
    for (int i = 0; i < panels; i++) {
      at_ = at[i];
      now_ = panels_[i];
      steep[i] = !Solve();
    }
    for (int i = 0; i < panels; i++) {
      for (int k = 0; steep[i] && k < at[i].count; k++) Run(at[i].x + k, 1);
    }
  }

 private:
  // Pixels of a register of columns, of each row.
  struct Panel {
    float *value, *weight;
    uint32_t* bits;    // of the rows that are flagged
    uint8_t* flagged;  // rows with bits in any lane
  };

  // False: a fibre's windows need more rows than there is room for, and columns must come one by one.
  HWY_NOINLINE bool Solve() {
    int64_t used = 0;
    gone_ = hn::FirstN(DF(), 0);
    for (int64_t f = 0; f < v_.fibres(); f++) {
      for (const View<const float>* in : {&v_.centre, &v_.width}) Ahead(*in, f + kFibresAhead, at_.x);
      Ahead(v_.traceDq, f + kFibresAhead, at_.x);
      const Place p = PlaceOf(v_, f, at_);
      const Span s = SpanOf(p, s_.reach, v_.rows());
      if (HWY_UNLIKELY(s.rows > kMostRows)) return false;  // of one column at most 2 kMostReach + 1
      Fibre& fibre = fibre_[f];
      fibre = {s, used, 0, 0};
      if (s.rows > 0) {
        const int64_t judged = std::min(kJudged, s_.reach);
        const auto low = static_cast<int64_t>(std::floor(p.lowCentre + 0.5f)) - judged - s.first;
        const auto high = static_cast<int64_t>(std::floor(p.highCentre + 0.5f)) + judged - s.first;
        fibre.judged = std::clamp<int64_t>(low, 0, s.rows);
        fibre.afterJudged = std::clamp<int64_t>(high + 1, 0, s.rows);
      }
      used += s.rows;
      Put(Half(p.given), row_, f);
      hn::Store(p.bits, DU(), traceDq_ + f * kLanes);
      Profile(f, at_, p, s, s_.reach, tables_, ProfileOf(fibre));
      Normal(f);
      Eliminate(f);
    }
    Back();
    if (s_.photonVariance > 0 || s_.reject > 0) {
      const bool rejected = Reweight();
      if (rejected || s_.photonVariance > 0) Again();
      // The first model had the faults of the weights as given, and the light of what was rejected.
      if (s_.photonVariance > 0) {
        Revise();
        Again();
      }
    }
    Tell();
    return true;
  }

  float* ProfileOf(const Fibre& fibre) { return profile_ + fibre.at * kLanes; }
  static HWY_INLINE VF Get(const float* list, int64_t i) { return hn::Load(DF(), list + i * kLanes); }
  static HWY_INLINE void Put(VF v, float* list, int64_t i) { hn::Store(v, DF(), list + i * kLanes); }

  // A fibre's line of the normal equations, as far as the fibres below it.
  HWY_INLINE void Normal(int64_t f) {
    const DF d;
    const VF zero = hn::Zero(d);
    HWY_ALIGN float weighted[kMostRows * kMostLanes];
    const auto [first, rows] = fibre_[f].span;
    const float *profile = ProfileOf(fibre_[f]), *weight = now_.weight + first * kLanes;
    const float* value = now_.value + first * kLanes;
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
    Put(own, own_, f);
    Put(right, right_, f);
    Put(light, light_, f);
    Put(squares, squares_, f);
    for (int m = 1; m <= kBand; m++) {
      VF sum = zero;
      if (const int64_t g = f - m; g >= 0) {
        const Span& other = fibre_[g].span;
        const int64_t from = std::max(first, other.first), to = std::min(first + rows, other.first + other.rows);
        const float* theirs = ProfileOf(fibre_[g]) + (from - other.first) * kLanes;
        const float* mine = weighted + (from - first) * kLanes;
        for (int64_t j = 0; j < to - from; j++) sum = hn::MulAdd(Get(mine, j), Get(theirs, j), sum);
      }
      Put(sum, cross_[m - 1], f);
    }
  }

  // A fibre's line of L D L^T, without square roots, and of the fluxes as far as the fibres below tell them. A fibre without
  // light, or one that its neighbours leave no information of its own, drops out: its row and column are passed over. One that
  // only shows its wings is solved for, as its neighbours need it; it is not told of.
  HWY_INLINE void Eliminate(int64_t f) {
    const DF d;
    const VF zero = hn::Zero(d), one = hn::Set(d, 1.0f);
    const VF own = Get(own_, f);
    VF pivot = own, flux = Get(right_, f), c[kBand + 1];
    for (int m = kBand; m >= 1; m--) {
      if (f - m < 0) continue;
      c[m] = Get(cross_[m - 1], f);
      for (int k = m + 1; k <= kBand; k++) {
        if (f - k >= 0) c[m] = hn::NegMulAdd(c[k], Get(factor_[k - m - 1], f - m), c[m]);
      }
      const VF l = hn::Mul(c[m], Get(inverse_, f - m));
      Put(l, factor_[m - 1], f);
      pivot = hn::NegMulAdd(l, c[m], pivot);
      flux = hn::NegMulAdd(l, Get(flux_, f - m), flux);
    }
    MF ok = hn::And(hn::Gt(own, zero), hn::Ge(Get(squares_, f), hn::Set(d, kLeastSquares)));
    ok = hn::And(ok, hn::Ge(pivot, hn::Mul(own, hn::Set(d, kLeastPivot))));
    gone_ = hn::Or(gone_, hn::AndNot(ok, hn::Gt(own, zero)));
    Put(hn::IfThenElseZero(ok, hn::Div(one, hn::IfThenElse(ok, pivot, one))), inverse_, f);
    Put(flux, flux_, f);
  }

  // The fluxes, and the model of all fibres.
  HWY_NOINLINE void Back() {
    std::memset(model_, 0, static_cast<size_t>(v_.rows() * kLanes) * sizeof(float));
    for (int64_t f = v_.fibres() - 1; f >= 0; f--) {
      VF flux = hn::Mul(Get(flux_, f), Get(inverse_, f));
      const int last = static_cast<int>(std::min<int64_t>(kBand, v_.fibres() - 1 - f));
      for (int m = 1; m <= last; m++) flux = hn::NegMulAdd(Get(factor_[m - 1], f + m), Get(flux_, f + m), flux);
      Put(flux, flux_, f);
      const auto [first, rows] = fibre_[f].span;
      const float* profile = ProfileOf(fibre_[f]);
      float* model = model_ + first * kLanes;
      for (int64_t j = 0; j < rows; j++) Put(hn::MulAdd(flux, Get(profile, j), Get(model, j)), model, j);
    }
  }

  // Once more, for the fibres in whose rows weights changed.
  HWY_NOINLINE void Again() {
    gone_ = hn::FirstN(DF(), 0);
    for (int64_t f = 0; f < v_.fibres(); f++) {
      const auto [first, rows] = fibre_[f].span;
      if (before_[first + rows] != before_[first]) Normal(f);
      Eliminate(f);
    }
    Back();
  }

  // Weights by the model, and none for what stands out above it. Returns whether anything did.
  HWY_NOINLINE bool Reweight() {
    const DF d;
    const DU du;
    const VF zero = hn::Zero(d), photons = hn::Set(d, s_.photonVariance), tolerance = hn::Set(d, s_.profileError);
    const VF limit = hn::Set(d, s_.reject > 0 ? s_.reject * s_.reject : 0.0f), one = hn::Set(d, 1.0f);
    before_[0] = 0;
    given_ = now_.weight;
    // The weights as given are asked for again; reading the image once more would take as long as a solution.
    if (s_.photonVariance > 0) now_.weight = revised_;
    for (int64_t y = 0; y < v_.rows(); y++) {
      bool changed = s_.photonVariance > 0;
      const VF value = Get(now_.value, y), model = Get(model_, y);
      VF w = Get(given_, y);
      if (s_.photonVariance > 0) w = Revised(w, value, model, photons);
      if (s_.reject > 0) {
        const VF residual = hn::Sub(value, model), part = hn::Mul(tolerance, model);
        const VF allowed = hn::Mul(limit, hn::MulAdd(hn::Mul(part, part), w, one));
        const MF out = hn::And(hn::And(hn::Gt(residual, zero), hn::Gt(w, zero)),
                               hn::Gt(hn::Mul(hn::Mul(residual, residual), w), allowed));
        if (HWY_UNLIKELY(!hn::AllFalse(d, out))) {
          changed = true;
          w = hn::IfThenZeroElse(out, w);
          const VU bits = now_.flagged[y] != 0 ? hn::Load(du, now_.bits + y * kLanes) : hn::Zero(du);
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

  // W for the photons of the model instead of those of the noisy value; a value below 0 had none.
  static HWY_INLINE VF Revised(VF w, VF value, VF model, VF photons) {
    const DF d;
    const VF zero = hn::Zero(d);
    const VF more = hn::Mul(photons, hn::Sub(hn::Max(model, zero), hn::Max(value, zero)));
    return hn::Div(w, hn::Max(hn::MulAdd(w, more, hn::Set(d, 1.0f)), hn::Set(d, kLeastRevised)));
  }

  // Again from the weights as given, for pixels that still have any.
  HWY_NOINLINE void Revise() {
    const DF d;
    for (int64_t y = 0; y < v_.rows(); y++) {
      const VF w = Get(now_.weight, y);
      const VF again = Revised(Get(given_, y), Get(now_.value, y), Get(model_, y), hn::Set(d, s_.photonVariance));
      Put(hn::IfThenElseZero(hn::Gt(w, hn::Zero(d)), again), now_.weight, y);
    }
  }

  // What the spectra say, from the highest fibre down: the band of N^-1 follows from the factors that way (Takahashi, Fagan and
  // Chin 1973), marginal variances and covariances of neighbours.
  HWY_NOINLINE void Tell() {
    const DF d;
    const DU du;
    const VF zero = hn::Zero(d), one = hn::Set(d, 1.0f);
    // The residuals' squares take the place of what is not asked for again.
    float* chi = kBand > 0 ? model_ : now_.value;
    before_[0] = 0;
    for (int64_t y = 0; y < v_.rows(); y++) {
      before_[y + 1] = before_[y] + now_.flagged[y];
      const VF residual = hn::Sub(Get(now_.value, y), Get(model_, y));
      Put(hn::Mul(hn::Mul(residual, residual), Get(now_.weight, y)), chi, y);
    }
    const bool anyGone = !hn::AllFalse(d, gone_);
    VF z[kBand + 1][kBand + 1];  // z[i][k] = Z(f + i, f + i + k), i from 1
    for (auto& row : z) {
      for (VF& value : row) value = zero;
    }
    const auto set = [&](MF where, uint32_t bit)
                         HWY_ATTR { return hn::IfThenElseZero(hn::RebindMask(du, where), hn::Set(du, bit)); };
    for (int64_t f = v_.fibres() - 1; f >= 0; f--) {
      const auto [first, rows] = fibre_[f].span;
      const float *profile = ProfileOf(fibre_[f]), *weight = now_.weight + first * kLanes;
      VF l[kBand + 1], now[kBand + 1];
      for (int m = 1; m <= kBand; m++) l[m] = f + m < v_.fibres() ? Get(factor_[m - 1], f + m) : zero;
      now[0] = Get(inverse_, f);
      for (int k = 1; k <= kBand; k++) {
        VF sum = zero;
        for (int m = 1; m <= kBand; m++) {
          const int low = std::min(m, k), apart = std::max(m, k) - low;
          sum = hn::NegMulAdd(l[m], z[low][apart], sum);
        }
        now[k] = sum;
      }
      for (int m = 1; m <= kBand; m++) now[0] = hn::NegMulAdd(l[m], now[m], now[0]);
      if constexpr (kBand >= 2) {
        StorePart(d, hn::Add(now[1], zero), v_.next.at(f, 0) + at_.x, at_.count);
        StorePart(d, hn::Add(now[2], zero), v_.second.at(f, 0) + at_.x, at_.count);
      }
      for (int i = kBand; i >= 1; i--) {
        for (int k = 0; k <= kBand; k++) z[i][k] = i > 1 ? z[i - 1][k] : now[k];
      }
      const VF row = Get(row_, f);
      const VF own = Get(own_, f), light = Get(light_, f);
      const MF dim = hn::Lt(light, hn::Set(d, kLeastLight));
      MF dropped = hn::Or(dim, hn::Eq(Get(inverse_, f), zero));
      if (HWY_UNLIKELY(anyGone)) dropped = hn::Or(dropped, Shared(f));
      const VF flux = hn::IfThenZeroElse(dropped, Get(flux_, f));
      const VF variance = hn::IfThenElse(dropped, one, now[0]);
      StorePart(d, hn::Add(flux, zero), v_.flux.at(f, 0) + at_.x, at_.count);
      StorePart(d, hn::IfThenZeroElse(dropped, hn::Div(one, variance)), v_.ivar.at(f, 0) + at_.x, at_.count);

      // chi2 of the pixels next to the trace; what the fibre's own flux takes of their degrees of freedom is its leverage.
      VF chi2 = zero, used = zero, freedom = zero;
      const VF judged = hn::Set(d, static_cast<float>(std::min(kJudged, s_.reach)));
      for (int64_t j = fibre_[f].judged; j < fibre_[f].afterJudged; j++) {
        const VF away = hn::Abs(hn::Sub(hn::Set(d, static_cast<float>(first + j)), row));
        const VF w = Get(weight, j), p = Get(profile, j);
        const MF counts = hn::And(hn::Le(away, judged), hn::Gt(w, zero));
        chi2 = hn::Add(chi2, hn::IfThenElseZero(counts, Get(chi, first + j)));
        used = hn::Add(used, hn::IfThenElseZero(counts, hn::Mul(w, hn::Mul(p, p))));
        freedom = hn::Add(freedom, hn::IfThenElseZero(counts, one));
      }
      freedom = hn::NegMulAdd(used, variance, freedom);
      const MF known = hn::AndNot(dropped, hn::Gt(freedom, hn::Set(d, 0.5f)));
      StorePart(d, hn::IfThenElseZero(known, hn::Div(chi2, hn::IfThenElse(known, freedom, one))),
                v_.chi2.at(f, 0) + at_.x, at_.count);

      // Light of the others, seen through this fibre's weights, for each unit of its own.
      VF others = zero;
      if constexpr (kBand > 0) {
        for (int m = 1; m <= kBand; m++) {
          if (f + m < v_.fibres()) others = hn::MulAdd(Get(cross_[m - 1], f + m), Get(flux_, f + m), others);
          if (f - m >= 0) others = hn::MulAdd(Get(cross_[m - 1], f), Get(flux_, f - m), others);
        }
      } else {
        for (int64_t j = 0; j < rows; j++) {
          const VF p = Get(profile, j), wp = hn::Mul(Get(weight, j), p);
          others = hn::MulAdd(wp, hn::NegMulAdd(flux, p, Get(model_, first + j)), others);
        }
      }
      const VF unit = hn::Mul(hn::IfThenElse(dropped, one, own), hn::Max(flux, hn::Sqrt(variance)));
      const VF crosstalk = hn::IfThenZeroElse(dropped, hn::Div(others, hn::IfThenElse(dropped, one, unit)));
      StorePart(d, hn::Add(crosstalk, zero), v_.crosstalk.at(f, 0) + at_.x, at_.count);

      VU bits = hn::Load(du, traceDq_ + f * kLanes);
      const bool clean = before_[first + rows] == before_[first];
      for (int64_t j = 0; !clean && j < rows; j++) {
        if (now_.flagged[first + j] == 0) continue;
        const MF counts = hn::Ge(Get(profile, j), hn::Set(d, kCounts));
        bits = hn::Or(bits,
                      hn::IfThenElseZero(hn::RebindMask(du, counts), hn::Load(du, now_.bits + (first + j) * kLanes)));
      }
      bits = hn::Or(bits, set(dropped, dq::kExtractionFailed));
      bits = hn::Or(bits, set(dim, dq::kNoGoodPixels));
      const MF wide = hn::And(hn::Lt(Get(squares_, f), hn::Set(d, kWideSquares)), hn::Not(dropped));
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
      StorePart(du, bits, v_.dq.at(f, 0) + at_.x, at_.count);
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
        const VF cross = Get(cross_[m - 1], std::max(f, g)), limit = hn::Mul(Get(own_, f), Get(own_, g));
        const MF gone = hn::And(hn::Eq(Get(inverse_, g), zero), hn::Gt(Get(own_, g), zero));
        shared = hn::Or(shared, hn::And(gone, hn::Gt(hn::Mul(cross, cross), hn::Mul(limit, hn::Set(d, kMostOverlap)))));
      }
    }
    return shared;
  }

  const KernelCall& call_;
  const Views& v_;
  const Settings& s_;
  Tables tables_;
  Columns at_;
  Panel panels_[kPanels], now_;
  float* model_;             // of each row
  float *revised_, *given_;  // weights of each row: place for those by the model; those that it was made with
  int32_t* before_;          // rows before a row that weights changed in, in the end those that are flagged
  // Of each fibre; inverse: 1 / pivot, 0: dropped out. cross and factor: with the fibre m + 1 below.
  float *row_, *own_, *right_, *light_, *squares_, *flux_, *inverse_, *cross_[kBand + 1], *factor_[kBand + 1];
  uint32_t* traceDq_;
  MF gone_;  // lanes in which a fibre with light dropped out
  Fibre* fibre_;
  float* profile_;
};

template <int kBand>
Status ExtractColumns(const KernelCall& call, const Views& v, const Settings& s) {
  if (const Status status = CheckPlanes(v); !status.ok()) return status;
  if (v.fibres() == 0) return Ok();
  Solver<kBand> solver(call, v, s);
  for (int64_t x = 0; x < v.flux.cols; x += kPanels * kLanes)
    solver.Run(x, std::min<int64_t>(kPanels * kLanes, v.flux.cols - x));
  hwy::FlushStream();
  return Ok();
}

}  // namespace fibres
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();
#endif
