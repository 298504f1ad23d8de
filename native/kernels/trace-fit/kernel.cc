#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/trace-fit/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "generated/trace-fit.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;
using namespace rampline::trace_fit;  // NOLINT: the generated ports and parameters

constexpr int64_t kFibres = 300, kNodes = 9, kSamples = 481, kBins = 128, kValues = 12;
constexpr int64_t kAll =
    17;  // those, and what a pedestal needs: its sums with the other three, with itself and with the rest
constexpr int64_t kGroup = 16;  // columns that share a variance and a table: about what the profile changes in
constexpr float kTableReach = 12, kPerPixel = 20;
constexpr float kOwn = 4;  // a pixel so much noisier than the others of its row and group is believed to be so

// Lanes of at most 16 floats divide a group.
using D = hn::CappedTag<float, kGroup>;
using V = hn::Vec<D>;
using DI = hn::Rebind<int32_t, D>;

// A fibre in a group of columns. Columns without a trace have flux 0 and the centre of another.
struct Fibre {
  HWY_ALIGN float centre[kGroup], per[kGroup], flux[kGroup], valid[kGroup];
  float low, high, widest, steepest;  // of the centres, and the largest width and its inverse's largest value
  bool any, light;
};

bool Good(float v, float most) { return std::abs(v) < most; }

void Take(const View<const float>& centre, const View<const float>& width, const View<const float>& flux, int64_t fibre,
          int64_t x, int64_t n, Fibre* out) {
  const float *c = centre.at(0, fibre) + x, *w = width.at(0, fibre) + x, *f = flux.at(0, fibre) + x;
  out->any = out->light = false;
  out->widest = out->steepest = 0;
  float some = 0;
  for (int64_t i = 0; i < kGroup; i++) {
    const bool valid = i < n && Good(c[i], 1e6f) && w[i] > 0.05f && w[i] < 20.0f && Good(f[i], 1e9f);
    out->valid[i] = valid ? 1.0f : 0.0f;
    out->centre[i] = valid ? c[i] : 0.0f;
    out->per[i] = valid ? 1.0f / w[i] : 1.0f;
    out->flux[i] = valid ? f[i] : 0.0f;
    out->steepest = std::max(out->steepest, out->per[i]);
    if (!valid) continue;
    if (!out->any || c[i] < out->low) out->low = c[i];
    if (!out->any || c[i] > out->high) out->high = c[i];
    out->widest = std::max(out->widest, w[i]);
    some = c[i];
    out->any = true;
    out->light = out->light || f[i] != 0.0f;
  }
  for (int64_t i = 0; i < kGroup; i++) {
    if (out->valid[i] == 0.0f) out->centre[i] = some;
  }
}

// The profile between two nodes, in samples from `from` up to `to`.
void Blend(const float* a, const float* b, float part, int64_t from, int64_t to, float* table) {
  const hn::ScalableTag<float> d;
  const auto n = static_cast<int64_t>(hn::Lanes(d));
  const auto p = hn::Set(d, part);
  int64_t i = from;
  for (; i + n <= to; i += n) {
    const auto before = hn::LoadU(d, a + i);
    hn::StoreU(hn::MulAdd(hn::Sub(hn::LoadU(d, b + i), before), p, before), d, table + i);
  }
  for (; i < to; i++) table[i] = a[i] + (b[i] - a[i]) * part;
}

// Its density there by central differences; 0 at both ends.
void Differentiate(const float* table, int64_t from, int64_t to, float* density) {
  const hn::ScalableTag<float> d;
  const auto n = static_cast<int64_t>(hn::Lanes(d));
  const auto half = hn::Set(d, kPerPixel / 2);
  density[from] = density[to - 1] = 0;
  int64_t i = from + 1;
  for (; i + n <= to - 1; i += n) {
    hn::StoreU(hn::Mul(hn::Sub(hn::LoadU(d, table + i + 1), hn::LoadU(d, table + i - 1)), half), d, density + i);
  }
  for (; i < to - 1; i++) density[i] = (table[i + 1] - table[i - 1]) * (kPerPixel / 2);
}

// Where values fall in the table, and their shares between samples.
struct Place {
  hn::Vec<DI> index;
  V part;
  // The columns of a group lie alike on a trace: all samples are in the register from `base` on, at `lane` of it. Else far.
  int64_t base;
  hn::Vec<DI> lane;
  bool near;
};

// about: where one of the values falls, about.
HWY_INLINE Place PlaceOf(D d, V z, float about) {
  const DI di;
  const auto lanes = static_cast<int32_t>(hn::Lanes(d));
  const V at = hn::MulAdd(z, hn::Set(d, kPerPixel), hn::Set(d, kTableReach * kPerPixel));
  const V in = hn::Min(hn::Max(at, hn::Zero(d)), hn::Set(d, static_cast<float>(kSamples - 1)));
  const auto i = hn::Min(hn::ConvertTo(di, in), hn::Set(di, static_cast<int32_t>(kSamples - 2)));
  const float sample = std::clamp((about + kTableReach) * kPerPixel, 0.0f, static_cast<float>(kSamples));
  const int32_t base =
      std::clamp(static_cast<int32_t>(sample) - lanes / 2, 0, static_cast<int32_t>(kSamples) - 1 - lanes);
  const auto lane = hn::Sub(i, hn::Set(di, base));
  const auto out = hn::Or(hn::Lt(lane, hn::Zero(di)), hn::Gt(lane, hn::Set(di, lanes - 1)));
  return {i, hn::Sub(in, hn::ConvertTo(d, i)), base, lane, hn::AllFalse(di, out)};
}

HWY_INLINE V Look(D d, const float* table, const Place& place) {
  V a, b;
  if (HWY_LIKELY(place.near)) {
    const auto lane = hn::IndicesFromVec(d, place.lane);
    a = hn::TableLookupLanes(hn::LoadU(d, table + place.base), lane);
    b = hn::TableLookupLanes(hn::LoadU(d, table + place.base + 1), lane);
  } else {
    a = hn::GatherIndex(d, table, place.index);
    b = hn::GatherIndex(d, table + 1, place.index);
  }
  return hn::MulAdd(hn::Sub(b, a), place.part, a);
}

// A group of columns: pixels, weights and what all fibres show, each [row][16].
struct Group {
  float *value, *weight, *model;
  int64_t rows, n;
};

// The weight of a pixel is that of the other pixels of its row in the group, so that it does not follow the pixel's own noise.
void Weigh(const View<const float>& image, const View<const float>& ivar, int64_t x, const Group& group) {
  // Rows are pages apart, so the processor does not foresee them.
  constexpr int64_t kAhead = 24;
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const V zero = hn::Zero(d), one = hn::Set(d, 1.0f);
  HWY_ALIGN float lastValue[kGroup] = {}, lastIvar[kGroup] = {};
  for (int64_t row = 0; row < group.rows; row++) {
    const float *v = image.data + row * image.planeStride + x, *w = ivar.data + row * ivar.planeStride + x;
    if (row + kAhead < group.rows) {
      // The group may begin anywhere in a line of the cache.
      for (const int64_t i : {int64_t{0}, group.n - 1}) {
        __builtin_prefetch(v + kAhead * image.planeStride + i);
        __builtin_prefetch(w + kAhead * ivar.planeStride + i);
      }
    }
    if (group.n < kGroup) {
      std::copy_n(v, group.n, lastValue);
      std::copy_n(w, group.n, lastIvar);
      v = lastValue;
      w = lastIvar;
    }
    float *value = group.value + row * kGroup, *weight = group.weight + row * kGroup;
    V sums = zero, counts = zero;
    for (int64_t i = 0; i < kGroup; i += lanes) {
      const V given = hn::LoadU(d, v + i), own = hn::LoadU(d, w + i);
      const auto good = hn::And(hn::Lt(hn::Abs(given), hn::Set(d, 1e9f)),
                                hn::And(hn::Gt(own, hn::Set(d, 1e-12f)), hn::Lt(own, hn::Set(d, 1e12f))));
      const V variance = hn::IfThenElseZero(good, hn::Div(one, own));
      hn::Store(hn::IfThenElseZero(good, given), d, value + i);
      hn::Store(variance, d, weight + i);
      hn::Store(zero, d, group.model + row * kGroup + i);
      sums = hn::Add(sums, variance);
      counts = hn::Add(counts, hn::IfThenElseZero(good, one));
    }
    const float sum = hn::GetLane(hn::SumOfLanes(d, sums)), count = hn::GetLane(hn::SumOfLanes(d, counts));
    const V all = hn::Set(d, sum), per = hn::Set(d, 1.0f / std::max(count - 1.0f, 1.0f));
    for (int64_t i = 0; i < kGroup; i += lanes) {
      const V variance = hn::Load(d, weight + i);
      const V rest = hn::Mul(hn::Sub(all, variance), per);
      const auto alone = hn::Gt(variance, hn::Mul(hn::Set(d, kOwn), rest));
      const V used = count < 1.5f ? variance : hn::IfThenElse(alone, variance, rest);
      hn::Store(hn::IfThenElseZero(hn::Gt(variance, zero), hn::Div(one, used)), d, weight + i);
    }
  }
}

void Paint(const Fibre& fibre, const float* table, const Group& group) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const float reach = kTableReach * fibre.widest + 0.5f;
  const auto first = static_cast<int64_t>(std::max(0.0f, std::ceil(fibre.low - reach)));
  const auto last = std::min(group.rows - 1, static_cast<int64_t>(std::floor(fibre.high + reach)));
  for (int64_t i = 0; i < kGroup; i += lanes) {
    const V c = hn::Load(d, fibre.centre + i), per = hn::Load(d, fibre.per + i), f = hn::Load(d, fibre.flux + i);
    const auto below = [&](int64_t row) {
      const float edge = static_cast<float>(row) - 0.5f;
      const V z = hn::Mul(hn::Sub(hn::Set(d, edge), c), per);
      return Look(d, table, PlaceOf(d, z, (edge - fibre.centre[i]) * fibre.per[i]));
    };
    V before = below(first);
    for (int64_t row = first; row <= last; row++) {
      const V next = below(row + 1);
      float* to = group.model + row * kGroup + i;
      hn::Store(hn::MulAdd(f, hn::Sub(next, before), hn::Load(d, to)), d, to);
      before = next;
    }
  }
}

void Accumulate(const Fibre& fibre, const float* table, const float* density, const Params& params, const Group& group,
                double* sums) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const V zero = hn::Zero(d), one = hn::Set(d, 1.0f), reach = hn::Set(d, params.reach);
  const V clip = hn::Set(d, params.clip * params.clip), allowed = hn::Set(d, params.model);
  const auto first = static_cast<int64_t>(std::max(0.0f, std::floor(fibre.low - params.reach)));
  const auto last = std::min(group.rows - 1, static_cast<int64_t>(std::ceil(fibre.high + params.reach)));
  for (int64_t i = 0; i < kGroup; i += lanes) {
    const V c = hn::Load(d, fibre.centre + i), per = hn::Load(d, fibre.per + i), f = hn::Load(d, fibre.flux + i);
    const auto valid = hn::Gt(hn::Load(d, fibre.valid + i), zero);
    V s[kAll];
    for (V& one_sum : s) one_sum = zero;
    V z = hn::Mul(hn::Sub(hn::Set(d, static_cast<float>(first) - 0.5f), c), per);
    const auto about = [&](int64_t row) { return (static_cast<float>(row) - 0.5f - fibre.centre[i]) * fibre.per[i]; };
    Place place = PlaceOf(d, z, about(first));
    V below = Look(d, table, place), slope = Look(d, density, place);
    for (int64_t row = first; row <= last; row++) {
      const V y = hn::Set(d, static_cast<float>(row));
      const V zNext = hn::Mul(hn::Sub(hn::Set(d, static_cast<float>(row) + 0.5f), c), per);
      place = PlaceOf(d, zNext, about(row + 1));
      const V next = Look(d, table, place), slopeNext = Look(d, density, place);
      const V part = hn::Sub(next, below), scale = hn::Neg(hn::Mul(f, per));
      const V byCentre = hn::Mul(scale, hn::Sub(slopeNext, slope));
      const V byWidth = hn::Mul(scale, hn::NegMulAdd(slope, z, hn::Mul(slopeNext, zNext)));
      const V model = hn::Load(d, group.model + row * kGroup + i);
      const V rest = hn::Sub(hn::Load(d, group.value + row * kGroup + i), model);
      const V given = hn::Load(d, group.weight + row * kGroup + i);
      auto counts = hn::And(hn::And(valid, hn::Gt(given, zero)), hn::Le(hn::Abs(hn::Sub(y, c)), reach));
      if (params.clip > 0) {
        const V error = hn::Mul(allowed, model);
        const V limit = hn::Mul(clip, hn::MulAdd(hn::Mul(error, error), given, one));
        counts = hn::And(counts, hn::Le(hn::Mul(hn::Mul(rest, rest), given), limit));
      }
      const V w = hn::IfThenElseZero(counts, given);
      const V wPart = hn::Mul(w, part), wCentre = hn::Mul(w, byCentre), wWidth = hn::Mul(w, byWidth);
      s[0] = hn::MulAdd(wPart, part, s[0]);
      s[1] = hn::MulAdd(wPart, byCentre, s[1]);
      s[2] = hn::MulAdd(wPart, byWidth, s[2]);
      s[3] = hn::MulAdd(wCentre, byCentre, s[3]);
      s[4] = hn::MulAdd(wCentre, byWidth, s[4]);
      s[5] = hn::MulAdd(wWidth, byWidth, s[5]);
      s[6] = hn::MulAdd(wPart, rest, s[6]);
      s[7] = hn::MulAdd(wCentre, rest, s[7]);
      s[8] = hn::MulAdd(wWidth, rest, s[8]);
      s[9] = hn::MulAdd(hn::Mul(w, rest), rest, s[9]);
      s[10] = hn::Add(s[10], hn::IfThenElseZero(counts, one));
      s[11] = hn::Add(s[11], hn::IfThenElseZero(counts, part));
      if (params.pedestal) {
        s[12] = hn::Add(s[12], wPart);
        s[13] = hn::Add(s[13], wCentre);
        s[14] = hn::Add(s[14], wWidth);
        s[15] = hn::Add(s[15], w);
        s[16] = hn::MulAdd(w, rest, s[16]);
      }
      z = zNext;
      below = next;
      slope = slopeNext;
    }
    HWY_ALIGN float lane[kGroup];
    for (int64_t k = 0; k < kAll; k++) {
      hn::Store(s[k], d, lane);
      for (int64_t j = 0; j < lanes; j++) sums[k] += lane[j];
    }
  }
}

// Solves for the pedestal and leaves the equations of the other three.
void Marginalise(double* s) {
  if (!(s[15] > 0)) return;
  int at = 0;
  for (int a = 0; a < 3; a++) {
    for (int b = a; b < 3; b++) s[at++] -= s[12 + a] * s[12 + b] / s[15];
    s[6 + a] -= s[12 + a] * s[16] / s[15];
  }
  s[9] -= s[16] * s[16] / s[15];
}

Status TraceFit(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto image = call.ports[kImage].view<const float>(), ivar = call.ports[kIvar].view<const float>();
  const auto centre = call.ports[kCentre].view<const float>(), width = call.ports[kWidth].view<const float>();
  const auto flux = call.ports[kFlux].view<const float>(), profile = call.ports[kProfile].view<const float>();
  const auto sums = call.ports[kSums].view<double>();
  float* scratch = call.scratch.data;
  float *table = scratch, *density = scratch + 512;
  const int64_t planes = image.planes * kGroup, cols = image.cols;
  Group group{scratch + 1088, scratch + 1088 + planes, scratch + 1088 + 2 * planes, image.planes, 0};
  const auto fibres = std::make_unique<Fibre[]>(kFibres);
  double found[kFibres][kAll];
  for (int64_t v = 0; v < kValues; v++) {
    for (int64_t k = 0; k < kFibres; k++) std::fill_n(sums.at(v, k), kBins, 0.0);
  }
  for (int64_t bin = 0; bin < kBins; bin++) {
    for (auto& row : found) std::fill_n(row, kAll, 0.0);
    const int64_t end = bin % params.every == params.every / 2 ? (bin + 1) * cols / kBins : 0;
    for (int64_t x = bin * cols / kBins; x < end; x += kGroup) {
      group.n = std::min(kGroup, end - x);
      Weigh(image, ivar, x, group);
      // The table of the group's middle serves all its columns: what lies between averages out.
      const double middle = static_cast<double>(x) + 0.5 * static_cast<double>(group.n - 1);
      const double at = cols > 1 ? middle / static_cast<double>(cols - 1) * (kNodes - 1) : 0.0;
      const int64_t node = std::min<int64_t>(static_cast<int64_t>(at), kNodes - 2);
      const auto part = static_cast<float>(at - static_cast<double>(node));
      for (int64_t k = 0; k < kFibres; k++) {
        // Traces are pages apart, as rows are.
        constexpr int64_t kAhead = 8;
        if (k + kAhead < kFibres) {
          for (const auto* port : {&centre, &width, &flux}) __builtin_prefetch(port->at(0, k + kAhead) + x);
        }
        Take(centre, width, flux, k, x, group.n, &fibres[k]);
      }
      for (int64_t k = 0; k < kFibres; k++) {
        if (!fibres[k].any || !fibres[k].light) continue;
        Blend(profile.at(k, node), profile.at(k, node + 1), part, 0, kSamples, table);
        Paint(fibres[k], table, group);
      }
      for (int64_t k = 0; k < kFibres; k++) {
        const Fibre& fibre = fibres[k];
        if (!fibre.any) continue;
        // The edges of the pixels in reach, and a row more on either side, where the columns do not lie alike.
        const float most = (params.reach + fibre.high - fibre.low + 2) * fibre.steepest;
        const auto half = static_cast<int64_t>(std::min(most, kTableReach) * kPerPixel) + kGroup;
        const int64_t from = std::max<int64_t>(kSamples / 2 - half, 0);
        const int64_t to = std::min(kSamples / 2 + half + 1, kSamples);
        Blend(profile.at(k, node), profile.at(k, node + 1), part, from, to, table);
        Differentiate(table, from, to, density);
        Accumulate(fibre, table, density, params, group, found[k]);
      }
    }
    if (end == 0) continue;
    for (int64_t k = 0; k < kFibres; k++) {
      if (params.pedestal) Marginalise(found[k]);
      for (int64_t v = 0; v < kValues; v++) sums.at(v, k)[bin] = found[k][v];
    }
  }
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::trace_fit {
namespace {
HWY_EXPORT(TraceFit);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(TraceFit)(call); }
}  // namespace rampline::trace_fit
#endif
