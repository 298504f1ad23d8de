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

// Values of the cumulative profile between two nodes, z samples from its middle, -240 <= z <= 240: counted from there, z has
// its smallest rounding where the light is. Near: all lanes' samples lie in one register from sample `base`; else they are
// gathered. Both give the same bits.
template <bool kNear>
HWY_INLINE VF Cumulative(const float* low, const float* high, VF part, VF z, int64_t base) {
  const DF d;
  const DI di;
  const VF middle = hn::Set(d, kMiddle);
  const auto i = hn::Min(hn::ConvertTo(di, hn::Add(z, middle)), hn::Set(di, kSamples - 2));
  const VF f = hn::Sub(z, hn::Sub(hn::ConvertTo(d, i), middle));
  VF a0, a1, b0, b1;
  if constexpr (kNear) {
    const auto index = hn::Sub(i, hn::Set(di, static_cast<int32_t>(base)));
    const auto here = hn::IndicesFromVec(d, index), then = hn::IndicesFromVec(d, hn::Add(index, hn::Set(di, 1)));
    const VF a = hn::LoadU(d, low + base), b = hn::LoadU(d, high + base);
    a0 = hn::TableLookupLanes(a, here);
    a1 = hn::TableLookupLanes(a, then);
    b0 = hn::TableLookupLanes(b, here);
    b1 = hn::TableLookupLanes(b, then);
  } else {
    a0 = hn::GatherIndex(d, low, i);
    a1 = hn::GatherIndex(d, low + 1, i);
    b0 = hn::GatherIndex(d, high, i);
    b1 = hn::GatherIndex(d, high + 1, i);
  }
  const VF here = hn::MulAdd(part, hn::Sub(b0, a0), a0), then = hn::MulAdd(part, hn::Sub(b1, a1), a1);
  return hn::MulAdd(f, hn::Sub(then, here), here);
}

// A lower limit of all lanes' samples at an edge; a thousandth of a sample is allowed for rounding.
HWY_INLINE float LowSample(const Place& p, float edge) {
  const float t = edge - p.highCentre;
  return kMiddle + t * (t < 0 ? p.highScale : p.lowScale) - 1e-3f;
}
HWY_INLINE float HighSample(const Place& p, float edge) {
  const float t = edge - p.lowCentre;
  return kMiddle + t * (t < 0 ? p.lowScale : p.highScale) + 1e-3f;
}

template <bool kNear>
HWY_INLINE void FillProfile(const float* low, const float* high, VF part, const Place& p, const Span& s, float* to) {
  const DF d;
  const VF end = hn::Set(d, kMiddle), start = hn::Neg(end), two = hn::Set(d, 2.0f);
  VF below = end;
  for (int64_t e = 0; e <= s.rows; e++) {
    const float edge = static_cast<float>(s.first + e) - 0.5f;
    const VF z = hn::Mul(hn::Sub(hn::Set(d, edge), p.centre), p.scale);
    const auto base = static_cast<int64_t>(std::clamp(LowSample(p, edge), 0.0f, static_cast<float>(kSamples - kLanes)));
    const VF above = Cumulative<kNear>(low, high, part, hn::Min(hn::Max(z, start), end), base);
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
                        float* to) {
  const DF d;
  if (s.rows == 0) return;
  const float bottom = static_cast<float>(s.first) - 0.5f, top = bottom + static_cast<float>(s.rows);
  const float spread = std::max(HighSample(p, bottom) - LowSample(p, bottom), HighSample(p, top) - LowSample(p, top));
  const bool near = spread + 2.0f <= static_cast<float>(kLanes - 1);
  HWY_ALIGN float other[(kMostRows + 1) * kMostLanes];
  for (int32_t node = at.firstNode; node <= at.lastNode; node++) {
    const float *low = v.profile.at(fibre, node), *high = v.profile.at(fibre, node + 1);
    const VF part = hn::Sub(at.position, hn::Set(d, static_cast<float>(node)));
    float* into = node == at.firstNode ? to : other;
    if (near) {
      FillProfile<true>(low, high, part, p, s, into);
    } else {
      FillProfile<false>(low, high, part, p, s, into);
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
  for (int64_t j = 0; j < s.rows; j++) {
    const auto y = static_cast<float>(s.first + j);
    if (p.all && y >= highRow - static_cast<float>(reach) && y <= lowRow + static_cast<float>(reach)) continue;
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

// Registers of columns whose pixels are read together: four of AVX-512 are 256 bytes of a row.
constexpr int kSlots = 4;

struct Fibre {
  Span span;
  int64_t at;  // of its profile, in registers
};

// The least squares of one set of columns for fibres that overlap with kBand others on each side; kBand 0 is each fibre by
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
    for (int slot = 0; slot <= kSlots; slot++) {
      values_[slot] = take(v.rows());
      weights_[slot] = take(v.rows());
      bitmaps_[slot] = reinterpret_cast<uint32_t*>(take(v.rows()));
    }
    model_ = take(v.rows());
    for (auto* list : {&own_, &right_, &light_, &squares_, &flux_, &variance_, &pivot_}) *list = take(v.fibres());
    for (int m = 0; m < kBand; m++) cross_[m] = take(v.fibres());
    for (int m = 0; m < kBand; m++) factor_[m] = take(v.fibres());
    fibre_ = reinterpret_cast<Fibre*>(at);
    at += (v.fibres() * static_cast<int64_t>(sizeof(Fibre)) + 63) / 64 * 16;
    for (uint8_t*& marks : marks_) {
      marks = reinterpret_cast<uint8_t*>(at);
      at += (v.rows() + 63) / 64 * 16;
    }
    profile_ = at;
  }

  // The pixels of up to kSlots registers of columns: a row is one place in memory, and the next row is far from it.
  HWY_NOINLINE void Load(int64_t x, int64_t columns, int slot) {
    const DF d;
    const DU du;
    for (int64_t y = 0; y < v_.rows(); y++) {
      for (int64_t done = 0; done < columns; done += kLanes) {
        Ahead(v_.image, y + kRowsAhead, x + done);
        Ahead(v_.imageIvar, y + kRowsAhead, x + done);
        Ahead(v_.imageDq, y + kRowsAhead, x + done);
        const int count = static_cast<int>(std::min<int64_t>(kLanes, columns - done));
        const Pixels p = PixelsOf(v_, y, {x + done, count, 0, 0, hn::Zero(d)}, s_.bad);
        const int64_t i = slot + done / kLanes;
        Put(p.value, values_[i], y);
        Put(p.weight, weights_[i], y);
        hn::Store(p.bits, du, bitmaps_[i] + y * kLanes);
        marks_[i][y] = hn::AllTrue(du, hn::Eq(p.bits, hn::Zero(du))) ? 0 : 1;
      }
    }
  }

  HWY_NOINLINE void Run(int64_t x, int count, int slot) {
    at_ = ColumnsAt(call_, x, count);
    value_ = values_[slot];
    weight_ = weights_[slot];
    bits_ = bitmaps_[slot];
    flagged_ = marks_[slot];
    int64_t used = 0;
    for (int64_t f = 0; f < v_.fibres(); f++) {
      Ahead(v_.centre, f + kFibresAhead, x);
      Ahead(v_.width, f + kFibresAhead, x);
      Ahead(v_.traceDq, f + kFibresAhead, x);
      const Place p = PlaceOf(v_, f, at_);
      const Span s = SpanOf(p, s_.reach, v_.rows());
      if (s.rows > kMostRows) {  // too steep: a column by itself has at most 2 kMostReach + 1 rows
        for (int i = 0; i < count; i++) {
          Load(x + i, 1, kSlots);
          Run(x + i, 1, kSlots);
        }
        return;
      }
      fibre_[f] = {s, used};
      used += s.rows;
      Profile(v_, f, at_, p, s, s_.reach, ProfileOf(f));
    }
    Solve();
    if (s_.photonVariance > 0 || s_.reject > 0) {
      const bool rejected = Reweight();
      if (rejected || s_.photonVariance > 0) Solve();
      // The first model had the faults of the weights as given, and the light of what was rejected.
      if (s_.photonVariance > 0) {
        Revise();
        Solve();
      }
    }
    Invert();
    Tell();
  }

 private:
  float* ProfileOf(int64_t f) { return profile_ + fibre_[f].at * kLanes; }
  static HWY_INLINE VF Get(const float* list, int64_t i) { return hn::Load(DF(), list + i * kLanes); }
  static HWY_INLINE void Put(VF v, float* list, int64_t i) { hn::Store(v, DF(), list + i * kLanes); }

  // The normal equations, their solution, and the model of all fibres.
  HWY_NOINLINE void Solve() {
    const DF d;
    const VF zero = hn::Zero(d);
    HWY_ALIGN float weighted[kMostRows * kMostLanes];
    for (int64_t f = 0; f < v_.fibres(); f++) {
      const auto [first, rows] = fibre_[f].span;
      const float* profile = ProfileOf(f);
      VF own = zero, right = zero, light = zero, squares = zero;
      for (int64_t j = 0; j < rows; j++) {
        const VF p = Get(profile, j), w = Get(weight_, first + j), wp = hn::Mul(w, p);
        const VF seen = hn::IfThenElseZero(hn::Gt(w, zero), p);
        Put(wp, weighted, j);
        own = hn::MulAdd(wp, p, own);
        right = hn::MulAdd(wp, Get(value_, first + j), right);
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
          const float* theirs = ProfileOf(g);
          for (int64_t y = from; y < to; y++) {
            sum = hn::MulAdd(Get(weighted, y - first), Get(theirs, y - other.first), sum);
          }
          Put(sum, cross_[m - 1], g);
        }
      }
      for (int m = 1; m <= kBand; m++) Put(zero, cross_[m - 1], f);  // until the fibres above are there
    }
    Factor();
    for (int64_t y = 0; y < v_.rows(); y++) Put(zero, model_, y);
    for (int64_t f = 0; f < v_.fibres(); f++) {
      const auto [first, rows] = fibre_[f].span;
      const float* profile = ProfileOf(f);
      const VF flux = Get(flux_, f);
      for (int64_t j = 0; j < rows; j++) {
        Put(hn::MulAdd(flux, Get(profile, j), Get(model_, first + j)), model_, first + j);
      }
    }
  }

  // L D L^T without square roots, then the fluxes. A fibre without light, or one that its neighbours leave no information
  // of its own, drops out: its row and column are passed over. One that only shows its wings is solved for, as its neighbours
  // need it; it is not told of.
  HWY_INLINE void Factor() {
    const DF d;
    const VF zero = hn::Zero(d), one = hn::Set(d, 1.0f);
    const int64_t n = v_.fibres();
    for (int64_t f = 0; f < n; f++) {
      Put(Get(own_, f), pivot_, f);
      Put(Get(right_, f), flux_, f);
      for (int m = 0; m < kBand; m++) Put(Get(cross_[m], f), factor_[m], f);
    }
    for (int64_t f = 0; f < n; f++) {
      const VF pivot = Get(pivot_, f), own = Get(own_, f);
      MF ok = hn::And(hn::Gt(own, zero), hn::Ge(Get(squares_, f), hn::Set(d, kLeastSquares)));
      ok = hn::And(ok, hn::Ge(pivot, hn::Mul(own, hn::Set(d, kLeastPivot))));
      const VF inverse = hn::IfThenElseZero(ok, hn::Div(one, hn::IfThenElse(ok, pivot, one)));
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
    bool any = false;
    for (int64_t y = 0; y < v_.rows(); y++) {
      const VF value = Get(value_, y), model = Get(model_, y);
      VF w = Get(weight_, y);
      if (s_.photonVariance > 0) w = Revised(w, value, model, photons);
      if (s_.reject > 0) {
        const VF residual = hn::Sub(value, model), part = hn::Mul(tolerance, model);
        const VF allowed = hn::Mul(limit, hn::MulAdd(hn::Mul(part, part), w, one));
        const MF out = hn::And(hn::And(hn::Gt(residual, zero), hn::Gt(w, zero)),
                               hn::Gt(hn::Mul(hn::Mul(residual, residual), w), allowed));
        if (HWY_UNLIKELY(!hn::AllFalse(d, out))) {
          any = true;
          w = hn::IfThenZeroElse(out, w);
          const VU bits = hn::Load(du, bits_ + y * kLanes);
          const VU mark = hn::IfThenElse(hn::RebindMask(du, out), hn::Set(du, dq::kModelOutlier), bits);
          hn::Store(mark, du, bits_ + y * kLanes);
          flagged_[y] = 1;
        }
      }
      Put(w, weight_, y);
    }
    return any;
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
      const VF w = Get(weight_, y);
      const VF given = PixelsOf(v_, y, at_, s_.bad).weight;
      const VF again = Revised(given, Get(value_, y), Get(model_, y), hn::Set(d, s_.photonVariance));
      Put(hn::IfThenElseZero(hn::Gt(w, hn::Zero(d)), again), weight_, y);
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
        StorePart(d, hn::Add(now[1], zero), v_.next.at(f, 0) + at_.x, at_.count);
        StorePart(d, hn::Add(now[2], zero), v_.second.at(f, 0) + at_.x, at_.count);
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
    for (int64_t y = 0; y < v_.rows(); y++) {
      const VF residual = hn::Sub(Get(value_, y), Get(model_, y));
      Put(hn::Mul(hn::Mul(residual, residual), Get(weight_, y)), value_, y);
    }
    const auto set = [&](MF where, uint32_t bit)
                         HWY_ATTR { return hn::IfThenElseZero(hn::RebindMask(du, where), hn::Set(du, bit)); };
    for (int64_t f = 0; f < v_.fibres(); f++) {
      const auto [first, rows] = fibre_[f].span;
      const float* profile = ProfileOf(f);
      for (const View<float>* out : {&v_.flux, &v_.ivar, &v_.chi2, &v_.crosstalk}) Ahead(*out, f + kFibresAhead, at_.x);
      Ahead(v_.dq, f + kFibresAhead, at_.x);
      Ahead(v_.traceDq, f + kFibresAhead, at_.x);
      const VF c = LoadPart(d, v_.centre.at(f, 0) + at_.x, at_.count), row = Half(c);
      const VF own = Get(own_, f), light = Get(light_, f);
      const MF dim = hn::Lt(light, hn::Set(d, kLeastLight));
      const MF dropped = hn::Or(dim, hn::Or(hn::Eq(Get(pivot_, f), zero), Shared(f)));
      const VF flux = hn::IfThenZeroElse(dropped, Get(flux_, f));
      const VF variance = hn::IfThenElse(dropped, one, Get(variance_, f));
      StorePart(d, hn::Add(flux, zero), v_.flux.at(f, 0) + at_.x, at_.count);
      StorePart(d, hn::IfThenZeroElse(dropped, hn::Div(one, variance)), v_.ivar.at(f, 0) + at_.x, at_.count);

      // chi2 of the pixels next to the trace; what the fibre's own flux takes of their degrees of freedom is its leverage.
      VF chi2 = zero, used = zero, freedom = zero;
      const VF judged = hn::Set(d, static_cast<float>(std::min(kJudged, s_.reach)));
      for (int64_t j = 0; j < rows; j++) {
        const VF away = hn::Abs(hn::Sub(hn::Set(d, static_cast<float>(first + j)), row));
        const VF w = Get(weight_, first + j), p = Get(profile, j);
        const MF counts = hn::And(hn::Le(away, judged), hn::Gt(w, zero));
        if (hn::AllFalse(d, counts)) continue;
        chi2 = hn::Add(chi2, hn::IfThenElseZero(counts, Get(value_, first + j)));
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
          if (f + m < v_.fibres()) others = hn::MulAdd(Get(cross_[m - 1], f), Get(flux_, f + m), others);
          if (f - m >= 0) others = hn::MulAdd(Get(cross_[m - 1], f - m), Get(flux_, f - m), others);
        }
      } else {
        for (int64_t j = 0; j < rows; j++) {
          const VF wp = hn::Mul(Get(weight_, first + j), Get(profile, j));
          others = hn::MulAdd(wp, hn::NegMulAdd(flux, Get(profile, j), Get(model_, first + j)), others);
        }
      }
      const VF unit = hn::Mul(hn::IfThenElse(dropped, one, own), hn::Max(flux, hn::Sqrt(variance)));
      const VF crosstalk = hn::IfThenZeroElse(dropped, hn::Div(others, hn::IfThenElse(dropped, one, unit)));
      StorePart(d, hn::Add(crosstalk, zero), v_.crosstalk.at(f, 0) + at_.x, at_.count);

      VU bits = LoadPart(du, v_.traceDq.at(f, 0) + at_.x, at_.count);
      for (int64_t j = 0; j < rows; j++) {
        if (flagged_[first + j] == 0) continue;
        const MF counts = hn::Ge(Get(profile, j), hn::Set(d, kCounts));
        bits = hn::Or(bits, hn::IfThenElseZero(hn::RebindMask(du, counts), hn::Load(du, bits_ + (first + j) * kLanes)));
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
        const VF cross = Get(cross_[m - 1], std::min(f, g)), limit = hn::Mul(Get(own_, f), Get(own_, g));
        const MF gone = hn::And(hn::Eq(Get(pivot_, g), zero), hn::Gt(Get(own_, g), zero));
        shared = hn::Or(shared, hn::And(gone, hn::Gt(hn::Mul(cross, cross), hn::Mul(limit, hn::Set(d, kMostOverlap)))));
      }
    }
    return shared;
  }

  const KernelCall& call_;
  const Views& v_;
  const Settings& s_;
  Columns at_;
  // What Load filled, and in the last slot a single column.
  float *values_[kSlots + 1], *weights_[kSlots + 1];
  uint32_t* bitmaps_[kSlots + 1];
  uint8_t* marks_[kSlots + 1];
  float *value_, *weight_, *model_;  // of the slot at hand
  uint32_t* bits_;
  float *own_, *right_, *light_, *squares_, *flux_, *variance_, *pivot_;
  float* cross_[kBand + 1];
  float* factor_[kBand + 1];
  Fibre* fibre_;
  uint8_t* flagged_;
  float* profile_;
};

template <int kBand>
Status ExtractColumns(const KernelCall& call, const Views& v, const Settings& s) {
  if (const Status status = CheckPlanes(v); !status.ok()) return status;
  if (v.fibres() == 0) return Ok();
  Solver<kBand> solver(call, v, s);
  for (int64_t x = 0; x < v.flux.cols; x += kSlots * kLanes) {
    const int64_t columns = std::min<int64_t>(kSlots * kLanes, v.flux.cols - x);
    solver.Load(x, columns, 0);
    for (int64_t done = 0; done < columns; done += kLanes) {
      const int count = static_cast<int>(std::min<int64_t>(kLanes, columns - done));
      solver.Run(x + done, count, static_cast<int>(done / kLanes));
    }
  }
  return Ok();
}

}  // namespace fibres
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();
#endif
