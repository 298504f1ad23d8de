#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/trace-tweak/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <limits>

#include "generated/trace-tweak.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;
using namespace rampline::trace_tweak;  // NOLINT: the generated ports and parameters

constexpr int kSamples = 481, kNodes = 9;
constexpr int kTable = 512;  // a register from the last sample on lies within
constexpr float kReach = 12.0f, kPerPixel = 20.0f;
constexpr int kPixels = 9, kHalf = 4;  // of a window
constexpr int kTotals = 11;
constexpr int64_t kGroup = 32;   // columns that share a profile
constexpr int kFewest = 5;       // pixels with weight: four parameters and one to spare
constexpr float kRidge = 1e-4f;  // keeps the flux defined where profile and background cannot be told apart
constexpr float kSure = 9.0f;    // square of the significance at which half of a flux is believed
constexpr float kHuge = 1e30f;   // not data
constexpr float kFar = 1e6f;     // px; not a position

using D = hn::ScalableTag<float>;
using DI = hn::RebindToSigned<D>;
using V = hn::Vec<D>;
using VI = hn::Vec<DI>;
using M = hn::Mask<D>;
constexpr int64_t kMostLanes = static_cast<int64_t>(hn::MaxLanes(D()));

// The profile of a fibre in the middle of a group of columns.
void Blend(const View<const float>& profile, int64_t fibre, double at, float* table) {
  const int64_t node = std::clamp<int64_t>(static_cast<int64_t>(at), 0, kNodes - 2);
  const auto part = static_cast<float>(std::clamp(at - static_cast<double>(node), 0.0, 1.0));
  const float *a = profile.at(fibre, node), *b = profile.at(fibre, node + 1);
  const D d;
  const auto lanes = static_cast<int>(hn::Lanes(d));
  const V to = hn::Set(d, part);
  for (int i = 0;; i = std::min(i + lanes, kSamples - lanes)) {  // the last register overlaps the one before
    const V low = hn::LoadU(d, a + i);
    hn::StoreU(hn::MulAdd(hn::Sub(hn::LoadU(d, b + i), low), to, low), d, table + i);
    if (i == kSamples - lanes) return;
  }
}
// Light a pixel at each sample, by central differences; none at the ends.
void Slopes(const float* table, float* slope) {
  const D d;
  const auto lanes = static_cast<int>(hn::Lanes(d));
  const V half = hn::Set(d, 0.5f * kPerPixel);
  for (int i = 1;; i = std::min(i + lanes, kSamples - 1 - lanes)) {
    hn::StoreU(hn::Mul(hn::Sub(hn::LoadU(d, table + i + 1), hn::LoadU(d, table + i - 1)), half), d, slope + i);
    if (i == kSamples - 1 - lanes) break;
  }
  slope[0] = slope[kSamples - 1] = 0.0f;
}

// A few columns, as many as a register holds; of those beyond the block nothing counts.
struct Columns {
  int64_t x, count;
};

class Block {
 public:
  explicit Block(const KernelCall& call)
      : params_(ParamsOf(call)),
        image_(call.ports[kImage].view<const float>()),
        ivar_(call.ports[kIvar].view<const float>()),
        dq_(call.ports[kDq].view<const uint32_t>()),
        centre_(call.ports[kCentre].view<const float>()),
        width_(call.ports[kWidth].view<const float>()),
        flux_(call.ports[kFlux].view<const float>()),
        profile_(call.ports[kProfile].view<const float>()),
        sums_(call.ports[kSums].view<double>()),
        fitted_(call.ports[kFitted].view<float>()),
        tables_(call.scratch.data) {}

  // All fibres in the columns from x to end, which share their profiles.
  void Run(int64_t row, int64_t x, int64_t end, double node) {
    const auto lanes = static_cast<int64_t>(hn::Lanes(d_));
    for (int64_t fibre = 0; fibre < centre_.planes; fibre++) {
      if (fibre == 0) Blend(profile_, 0, node, Table(0));
      if (fibre + 1 < centre_.planes) Blend(profile_, fibre + 1, node, Table(fibre + 1));
      Slopes(Table(fibre), Slope());
      V totals[kTotals];
      for (V& total : totals) total = hn::Zero(d_);
      for (int64_t at = x; at < end; at += lanes) {
        Fetch(fibre + 2, row, at);
        Add(fibre, row, {at, std::min(lanes, end - at)}, totals);
      }
      for (int i = 0; i < kTotals; i++) {
        sums_.at(fibre, row)[i] += static_cast<double>(hn::GetLane(hn::SumOfLanes(d_, totals[i])));
      }
    }
  }

 private:
  float* Table(int64_t fibre) { return tables_ + (fibre % 3) * kTable; }
  float* Slope() { return tables_ + 3 * kTable; }

  // Asks for the window of a fibre before its turn: rows of a detector lie pages apart, and waiting for them takes longest.
  void Fetch(int64_t fibre, int64_t row, int64_t x) const {
    if (fibre >= centre_.planes) return;
    const float centre = centre_.at(fibre, row)[x];
    if (!(centre > 0 && centre < static_cast<float>(image_.planes))) return;
    const auto middle = static_cast<int64_t>(centre);
    const int64_t last = std::min(middle + kHalf, image_.planes - 1);
    for (int64_t y = std::max<int64_t>(middle - kHalf, 0); y <= last; y++) {
      __builtin_prefetch(image_.at(y, row) + x);
      __builtin_prefetch(ivar_.at(y, row) + x);
      if (dq_.data != nullptr) __builtin_prefetch(dq_.at(y, row) + x);
    }
  }

  V Load(const View<const float>& from, int64_t plane, int64_t row, Columns c) const {
    const float* in = from.at(plane, row) + c.x;
    if (c.count == static_cast<int64_t>(hn::Lanes(d_))) return hn::LoadU(d_, in);
    HWY_ALIGN float part[kMostLanes] = {};
    std::copy_n(in, c.count, part);
    return hn::Load(d_, part);
  }
  M Below(V v, float limit) const { return hn::Lt(hn::Abs(v), hn::Set(d_, limit)); }  // false for NaN

  // The edges of a window's pixels in a table. Neighbouring columns see nearly the same places, so that one register of the table
  // mostly holds the samples of all of them; gathering takes longer. Where it begins is told by the lowest place of the first edge
  // and the shortest way from edge to edge, with room for rounding, so that it need not be looked for at each edge.
  struct Edges {
    V from, per;  // of the first pixel's middle [px from the centre], 1 / width
    float low, step;
    bool near;
  };
  Edges EdgesOf(V from, V per) const {
    const V step = hn::Mul(per, hn::Set(d_, kPerPixel));
    const V first = hn::MulAdd(hn::Sub(from, hn::Set(d_, 0.5f)), step, hn::Set(d_, kReach * kPerPixel));
    const float low = hn::GetLane(hn::MinOfLanes(d_, first)), high = hn::GetLane(hn::MaxOfLanes(d_, first));
    const float shortest = hn::GetLane(hn::MinOfLanes(d_, step)), longest = hn::GetLane(hn::MaxOfLanes(d_, step));
    const float spread = high - low + static_cast<float>(kPixels) * (longest - shortest);
    return {from, per, low - 0.01f, shortest, spread + 2.02f <= static_cast<float>(hn::Lanes(d_))};
  }
  // Where an edge lies in a table: the sample below, and the way to the next.
  struct Place {
    V z;  // widths from the centre
    VI index;
    V part;
    int32_t base;
    bool near;
  };
  Place Find(const Edges& edges, int edge) const {
    const V z = hn::Mul(hn::Add(edges.from, hn::Set(d_, static_cast<float>(edge) - 0.5f)), edges.per);
    const V at = hn::Mul(hn::Add(z, hn::Set(d_, kReach)), hn::Set(d_, kPerPixel));
    const V inside = hn::Min(hn::Max(at, hn::Zero(d_)), hn::Set(d_, static_cast<float>(kSamples - 1)));
    const VI index = hn::Min(hn::ConvertTo(di_, inside), hn::Set(di_, kSamples - 2));
    const V part = hn::Sub(inside, hn::ConvertTo(d_, index));
    const float base = edges.low + static_cast<float>(edge) * edges.step;
    return {z, index, part, static_cast<int32_t>(std::clamp(base, 0.0f, static_cast<float>(kSamples - 2))), edges.near};
  }
  V Look(const float* table, const Place& place) const {
    V a, b;
    if (place.near) {
      const auto within = hn::IndicesFromVec(d_, hn::Sub(place.index, hn::Set(di_, place.base)));
      a = hn::TableLookupLanes(hn::LoadU(d_, table + place.base), within);
      b = hn::TableLookupLanes(hn::LoadU(d_, table + place.base + 1), within);
    } else {
      a = hn::GatherIndex(d_, table, place.index);
      b = hn::GatherIndex(d_, table + 1, place.index);
    }
    return hn::MulAdd(hn::Sub(b, a), place.part, a);
  }

  // Takes the light of a fibre off the window whose first pixel is `first`.
  void TakeOff(int64_t fibre, int64_t row, Columns c, V first, V* rest) {
    const V centre = Load(centre_, fibre, row, c), width = Load(width_, fibre, row, c),
            flux = Load(flux_, fibre, row, c);
    const M known = hn::And(hn::And(Below(centre, kFar), Below(flux, kHuge)), Sane(width));
    if (hn::AllFalse(d_, known)) return;
    const V light = hn::IfThenElseZero(known, flux);
    const V per = hn::Div(hn::Set(d_, 1.0f), hn::IfThenElse(known, width, hn::Set(d_, 1.0f)));
    const V from = hn::IfThenElseZero(known, hn::Sub(first, centre));
    const Edges edges = EdgesOf(from, per);
    V before = hn::Zero(d_);
    for (int t = 0; t <= kPixels; t++) {
      const Place place = Find(edges, t);
      const V cumulative = Look(Table(fibre), place);
      if (t > 0) rest[t - 1] = hn::NegMulAdd(light, hn::Sub(cumulative, before), rest[t - 1]);
      before = cumulative;
    }
  }
  M Sane(V width) const { return hn::And(hn::Gt(width, hn::Set(d_, 0.01f)), hn::Lt(width, hn::Set(d_, 100.0f))); }

  // Data and weights of the window whose first pixel is `first` (whole numbers).
  void Window(int64_t row, Columns c, V first, V* data, V* weight) const {
    const auto lanes = static_cast<int64_t>(hn::Lanes(d_));
    const VI top = hn::ConvertTo(di_, first);
    const int32_t y0 = hn::GetLane(top);
    const VI rows = hn::Set(di_, static_cast<int32_t>(image_.planes));
    const auto there = hn::Lt(hn::Iota(d_, 0), hn::Set(d_, static_cast<float>(c.count)));
    const bool level = c.count == lanes && hn::AllTrue(di_, hn::Eq(top, hn::Set(di_, y0)));
    const VI x =
        hn::Min(hn::Iota(di_, static_cast<int32_t>(c.x)), hn::Set(di_, static_cast<int32_t>(c.x + c.count - 1)));
    for (int t = 0; t < kPixels; t++) {
      V value = hn::Zero(d_), ivar = hn::Zero(d_);
      VI bits = hn::Zero(di_);
      if (level) {
        if (y0 + t >= 0 && y0 + t < image_.planes) {
          value = hn::LoadU(d_, image_.at(y0 + t, row) + c.x);
          ivar = hn::LoadU(d_, ivar_.at(y0 + t, row) + c.x);
          if (dq_.data != nullptr) {
            bits = hn::LoadU(di_, reinterpret_cast<const int32_t*>(dq_.at(y0 + t, row)) + c.x);
          }
        }
      } else {
        const VI y = hn::Add(top, hn::Set(di_, t));
        const auto inside = hn::And(hn::Gt(y, hn::Set(di_, -1)), hn::Lt(y, rows));
        const VI line = hn::IfThenElseZero(inside, y);
        const auto at = [&](int64_t stride) {
          return hn::Add(hn::Mul(line, hn::Set(di_, static_cast<int32_t>(stride))), x);
        };
        const M use = hn::And(hn::RebindMask(d_, inside), there);
        value = hn::IfThenElseZero(use, hn::GatherIndex(d_, image_.at(0, row), at(image_.planeStride)));
        ivar = hn::IfThenElseZero(use, hn::GatherIndex(d_, ivar_.at(0, row), at(ivar_.planeStride)));
        if (dq_.data != nullptr) {
          bits = hn::GatherIndex(di_, reinterpret_cast<const int32_t*>(dq_.at(0, row)), at(dq_.planeStride));
        }
      }
      const auto good = hn::Eq(hn::And(bits, hn::Set(di_, params_.skip)), hn::Zero(di_));
      const M counts = hn::And(hn::And(hn::RebindMask(d_, good), hn::Gt(ivar, hn::Zero(d_))),
                               hn::And(Below(ivar, kHuge), Below(value, kHuge)));
      data[t] = hn::IfThenElseZero(counts, value);
      weight[t] = hn::IfThenElseZero(counts, ivar);
    }
  }

  // The sum over the window of w a b.
  V Dot(const V* w, const V* a, const V* b) const {
    V sum = hn::Zero(d_);
    for (int t = 0; t < kPixels; t++) sum = hn::MulAdd(hn::Mul(w[t], a[t]), b[t], sum);
    return sum;
  }
  // Takes off the weighted mean: the constant background.
  void Level(const V* w, V per, V* a) const {
    V sum = hn::Zero(d_);
    for (int t = 0; t < kPixels; t++) sum = hn::MulAdd(w[t], a[t], sum);
    const V mean = hn::Mul(sum, per);
    for (int t = 0; t < kPixels; t++) a[t] = hn::Sub(a[t], mean);
  }
  // Takes off k b.
  void Less(V k, const V* b, V* a) const {
    for (int t = 0; t < kPixels; t++) a[t] = hn::NegMulAdd(k, b[t], a[t]);
  }

  void Add(int64_t fibre, int64_t row, Columns c, V* totals) {
    const V zero = hn::Zero(d_), one = hn::Set(d_, 1.0f);
    const V measured = Load(centre_, fibre, row, c), width = Load(width_, fibre, row, c);
    const M sane = hn::And(Below(measured, kFar), Sane(width));
    const V centre = hn::IfThenElse(sane, measured, hn::Set(d_, -kFar));
    const V per = hn::Div(one, hn::IfThenElse(sane, width, one));
    const V first = hn::Sub(hn::Floor(hn::Add(centre, hn::Set(d_, 0.5f))), hn::Set(d_, static_cast<float>(kHalf)));
    V data[kPixels], w[kPixels];
    Window(row, c, first, data, w);
    if (flux_.data != nullptr) {
      if (fibre > 0) TakeOff(fibre - 1, row, c, first, data);
      if (fibre + 1 < centre_.planes) TakeOff(fibre + 1, row, c, first, data);
    }

    // The profile and its derivatives with respect to the centre and the logarithm of the width.
    V shape[kPixels], move[kPixels], widen[kPixels];
    const Edges edges = EdgesOf(hn::Sub(first, centre), per);
    V cumulative = zero, slope = zero, spread = zero;
    for (int t = 0; t <= kPixels; t++) {
      const Place place = Find(edges, t);
      const V sum = Look(Table(fibre), place), steep = Look(Slope(), place), wide = hn::Mul(place.z, steep);
      if (t > 0) {
        shape[t - 1] = hn::Sub(sum, cumulative);
        move[t - 1] = hn::Mul(hn::Sub(slope, steep), per);
        widen[t - 1] = hn::Sub(spread, wide);
      }
      cumulative = sum;
      slope = steep;
      spread = wide;
    }

    V number = zero, weight = zero, square = zero;
    for (int t = 0; t < kPixels; t++) {
      number = hn::Add(number, hn::IfThenElseZero(hn::Gt(w[t], zero), one));
      weight = hn::Add(weight, w[t]);
      square = hn::MulAdd(hn::Mul(w[t], shape[t]), shape[t], square);
    }
    const M enough = hn::And(hn::Ge(number, hn::Set(d_, static_cast<float>(kFewest))), hn::Gt(square, zero));
    const V perWeight = hn::Div(one, hn::IfThenElse(hn::Gt(weight, zero), weight, one));
    Level(w, perWeight, shape);
    Level(w, perWeight, move);
    Level(w, perWeight, widen);
    Level(w, perWeight, data);
    const V power = hn::MulAdd(hn::Set(d_, kRidge), square, Dot(w, shape, shape));
    const V perPower = hn::Div(one, hn::IfThenElse(enough, power, one));
    const V flux = hn::Mul(Dot(w, shape, data), perPower);
    Less(flux, shape, data);
    Less(hn::Mul(Dot(w, shape, move), perPower), shape, move);
    Less(hn::Mul(Dot(w, shape, widen), perPower), shape, widen);

    const V chi2 = Dot(w, data, data), freedom = hn::Sub(number, hn::Set(d_, 2.0f));
    const V doubt = hn::Div(chi2, hn::Mul(hn::Max(freedom, one), hn::Set(d_, params_.doubt)));
    const V belief = hn::Div(one, hn::MulAdd(doubt, doubt, one));
    // What is noise in one fibre must not become a pull, neither its own nor in the next.
    const V certain = hn::Mul(hn::Mul(flux, flux), power);
    const V trust = hn::Div(certain, hn::Add(certain, hn::Set(d_, kSure)));
    const V trusted = hn::Mul(flux, trust), pulling = hn::Mul(trusted, belief);
    // Without bias the product of the true flux and the trusted one: trusted flux - variance d(trusted)/d(flux).
    const V beyond = hn::Add(hn::MulAdd(hn::Set(d_, 2.0f), trust, hn::Set(d_, -3.0f)), certain);
    const V sure = hn::Mul(hn::Mul(hn::Mul(perPower, trust), beyond), belief), noisy = hn::Mul(pulling, pulling);
    const V cc = Dot(w, move, move), cw = Dot(w, move, widen), ww = Dot(w, widen, widen);
    const V sums[kTotals] = {hn::Mul(pulling, Dot(w, move, data)),
                             hn::Mul(pulling, Dot(w, widen, data)),
                             hn::Mul(sure, cc),
                             hn::Mul(sure, cw),
                             hn::Mul(sure, ww),
                             hn::Mul(noisy, cc),
                             hn::Mul(noisy, cw),
                             hn::Mul(noisy, ww),
                             hn::IfThenElseZero(hn::Gt(flux, zero), hn::Mul(certain, belief)),
                             hn::Mul(belief, chi2),
                             hn::Mul(belief, freedom)};
    M usable = hn::And(enough, Below(flux, 1e15f));
    for (const V& sum : sums) usable = hn::And(usable, Below(sum, kHuge));
    for (int i = 0; i < kTotals; i++) {
      totals[i] = hn::Add(totals[i], hn::IfThenElseZero(usable, sums[i]));
    }
    const V fitted = hn::IfThenElseZero(usable, trusted);
    float* out = fitted_.at(fibre, row) + c.x;
    if (c.count == static_cast<int64_t>(hn::Lanes(d_))) {
      hn::StoreU(fitted, d_, out);
    } else {
      HWY_ALIGN float last[kMostLanes];
      hn::Store(fitted, d_, last);
      std::copy_n(last, c.count, out);
    }
  }

  const D d_;
  const DI di_;
  const Params& params_;
  View<const float> image_, ivar_;
  View<const uint32_t> dq_;
  View<const float> centre_, width_, flux_, profile_;
  View<double> sums_;
  View<float> fitted_;
  float* tables_;
};

Status TraceTweak(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto image = call.ports[kImage].view<const float>();
  const auto sums = call.ports[kSums].view<double>();
  Block block(call);
  for (int64_t row = 0; row < image.rows; row++) {
    for (int64_t fibre = 0; fibre < sums.planes; fibre++) std::fill_n(sums.at(fibre, row), sums.cols, 0.0);
    const int64_t first = (call.origin.row + row) * params.stride;
    for (int64_t x = 0; x < image.cols;) {
      const int64_t group = (first + x) / kGroup;
      const int64_t end = std::min(image.cols, (group + 1) * kGroup - first);
      const double middle = static_cast<double>(group * kGroup) + 0.5 * (kGroup - 1);
      block.Run(row, x, end, middle * (kNodes - 1) / (params.columns - 1));
      x = end;
    }
  }
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::trace_tweak {
namespace {
HWY_EXPORT(TraceTweak);
}
Status Run(const KernelCall& call) {
  // Pixels of a column are found by 32-bit offsets.
  for (const Port port : {kImage, kIvar, kDq}) {
    const Array& array = call.ports[port];
    if (array.data != nullptr && array.planes * array.planeStride > std::numeric_limits<int32_t>::max()) {
      return Fail(Code::kUsage, "an image of 2^31 pixels or more");
    }
  }
  return HWY_DYNAMIC_DISPATCH(TraceTweak)(call);
}
}  // namespace rampline::trace_tweak
#endif
