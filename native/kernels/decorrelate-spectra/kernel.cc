#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/decorrelate-spectra/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "generated/decorrelate-spectra.h"
#include "native/core/extract.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;
using namespace rampline::decorrelate_spectra;  // NOLINT: the generated ports and parameters
namespace ex = rampline::extract;

using DF = hn::CappedTag<float, ex::kMostLanes>;
using DU = hn::RebindToUnsigned<DF>;
using DI = hn::RebindToSigned<DF>;
using VF = hn::Vec<DF>;
using MF = hn::Mask<DF>;
constexpr int kLanes = static_cast<int>(hn::MaxLanes(DF()));
constexpr int kBand = ex::kMostBand;
// A flux beyond is none.
constexpr float kMostFlux = 1e15f;
// The root is found where no entry moves by more than this part of the smaller of its two diagonals.
constexpr float kEnough = 1e-5f;
constexpr int kMostSweeps = 200;
// Part of the root of a fibre's own information that the diagonal of the root keeps, and that its row must add up to. Light
// that is nowhere negative gives a sum of 1 or more.
constexpr float kLeastDiagonal = 0.1f, kLeastSum = 0.5f;

template <class D>
HWY_INLINE hn::Vec<D> LoadPart(D d, const hn::TFromD<D>* from, int count) {
  HWY_ALIGN hn::TFromD<D> part[kLanes];
  for (int i = 0; i < kLanes; i++) part[i] = from[std::min(i, count - 1)];
  return hn::Load(d, part);
}
HWY_INLINE void StorePart(VF v, float* to, int count) {
  HWY_ALIGN float part[kLanes];
  hn::Store(v, DF(), part);
  std::copy_n(part, count, to);
}
HWY_INLINE VF Get(const float* list, int64_t i) { return hn::Load(DF(), list + i * kLanes); }
HWY_INLINE void Put(VF v, float* list, int64_t i) { hn::Store(v, DF(), list + i * kLanes); }

// Registers of neighbouring columns. Everything is computed lane by lane, and what is added for the sake of other lanes is 0.
class Solver {
 public:
  explicit Solver(const KernelCall& call) : call_(call), p_(ParamsOf(call)) {
    image_ = call.ports[kImage].view<const float>();
    imageIvar_ = call.ports[kImageIvar].view<const float>();
    imageDq_ = call.ports[kImageDq].view<const uint32_t>();
    centre_ = call.ports[kCentre].view<const float>();
    width_ = call.ports[kWidth].view<const float>();
    profile_ = call.ports[kProfile].view<const float>();
    flux_ = call.ports[kFlux].view<const float>();
    ivar_ = call.ports[kIvar].view<const float>();
    decorrelated_ = call.ports[kDecorrelated].view<float>();
    error_ = call.ports[kError].view<float>();
    resolution_ = call.ports[kResolution].view<float>();
    rows_ = image_.planes;
    fibres_ = centre_.planes;
    float* at = call.scratch.data;
    const auto take = [&](int64_t registers) {
      float* here = at;
      at += registers * kLanes;
      return here;
    };
    for (auto* list : {&model_, &weight_}) *list = take(rows_);
    for (auto* list : {&light_, &kept_, &moved_}) *list = take(fibres_);
    // Fibres beyond both ends are 0, so that a band never ends.
    for (int m = 0; m <= kBand; m++) normal_[m] = take(fibres_ + 2 * kBand) + kBand * kLanes;
    for (int m = 0; m <= kBand; m++) root_[m] = take(fibres_ + 2 * kBand) + kBand * kLanes;
    // With one lane alone, lists of floats end anywhere, and a Span has words of eight bytes.
    at = call.scratch.data + (at - call.scratch.data + 15) / 16 * 16;
    // With one lane alone, lists of floats end anywhere, and a Span has words of eight bytes.
    at = call.scratch.data + (at - call.scratch.data + 15) / 16 * 16;
    span_ = reinterpret_cast<ex::Span*>(at);
    at += (fibres_ * static_cast<int64_t>(sizeof(ex::Span)) + 63) / 64 * 16;
    table_ = at;
  }

  // Up to a register of columns.
  void Run(int64_t x, int count) {
    x_ = x;
    count_ = count;
    if (!Profiles()) {  // a trace is so steep that there is no room for its rows: columns one by one
      for (int k = 0; k < count; k++) Run(x + k, 1);
      return;
    }
    Weights();
    Normal();
    Drop();
    Root();
    Tell();
  }

 private:
  float* ProfileOf(int64_t f) { return table_ + f * ex::kMostRows * kLanes; }

  // Cumulative profile of a fibre z samples from its middle.
  HWY_INLINE VF Cumulative(const float* fibre, hn::Vec<DI> left, hn::Vec<DI> right, VF part, VF z) const {
    const DF d;
    const VF at = hn::Min(hn::Max(z, hn::Set(d, -ex::kMiddle)), hn::Set(d, ex::kMiddle));
    const VF sample = hn::Min(hn::Floor(at), hn::Set(d, ex::kMiddle - 1)), f = hn::Sub(at, sample);
    const auto i = hn::ConvertTo(DI(), hn::Add(sample, hn::Set(d, ex::kMiddle)));
    const auto low = hn::Add(left, i), high = hn::Add(right, i);
    const VF a = hn::GatherIndex(d, fibre, low), b = hn::GatherIndex(d, fibre + 1, low);
    const VF c = hn::GatherIndex(d, fibre, high), e = hn::GatherIndex(d, fibre + 1, high);
    const VF here = hn::MulAdd(part, hn::Sub(c, a), a), then = hn::MulAdd(part, hn::Sub(e, b), b);
    return hn::MulAdd(f, hn::Sub(then, here), here);
  }

  // P of every fibre, its rows, and its flux; false where there is no room.
  bool Profiles() {
    const DF d;
    const DI di;
    HWY_ALIGN float position[kLanes];
    const int64_t last = call_.whole.cols - 1;
    for (int i = 0; i < kLanes; i++) {
      const int64_t column = call_.origin.x + x_ + std::min(i, count_ - 1);
      const double u = last > 0 ? static_cast<double>(column) * (ex::kNodes - 1) / static_cast<double>(last) : 0.0;
      position[i] = static_cast<float>(u);
    }
    const VF at = hn::Load(d, position);
    const auto node =
        hn::Min(hn::Max(hn::ConvertTo(di, at), hn::Zero(di)), hn::Set(di, static_cast<int32_t>(ex::kNodes - 2)));
    const VF part = hn::Sub(at, hn::ConvertTo(d, node));
    const auto stride = hn::Set(di, static_cast<int32_t>(profile_.rowStride));
    const auto left = hn::Mul(node, stride), right = hn::Add(left, stride);
    const VF one = hn::Set(d, 1.0f), half = hn::Set(d, 0.5f), reach = hn::Set(d, static_cast<float>(p_.reach));
    for (int64_t f = 0; f < fibres_; f++) {
      const VF c = LoadPart(d, centre_.at(f, 0) + x_, count_), w = LoadPart(d, width_.at(f, 0) + x_, count_);
      const VF flux = LoadPart(d, flux_.at(f, 0) + x_, count_), ivar = LoadPart(d, ivar_.at(f, 0) + x_, count_);
      MF ok = hn::And(hn::Lt(hn::Abs(c), hn::Set(d, ex::kFarthest)), hn::Gt(ivar, hn::Zero(d)));
      ok = hn::And(ok, hn::And(hn::Ge(w, hn::Set(d, ex::kLeastWidth)), hn::Le(w, hn::Set(d, ex::kMostWidth))));
      ok = hn::And(ok, hn::Lt(hn::Abs(flux), hn::Set(d, kMostFlux)));
      Put(hn::IfThenElseZero(ok, flux), light_, f);
      span_[f] = {0, 0};
      if (hn::AllFalse(d, ok)) continue;
      const VF row = hn::Floor(hn::Add(c, half)), far = hn::Set(d, 2 * ex::kFarthest);
      const auto low = static_cast<int64_t>(hn::GetLane(hn::MinOfLanes(d, hn::IfThenElse(ok, row, far)))) - p_.reach;
      const auto high =
          static_cast<int64_t>(hn::GetLane(hn::MaxOfLanes(d, hn::IfThenElse(ok, row, hn::Neg(far))))) + p_.reach;
      const int64_t first = std::max<int64_t>(low, 0), rows = std::min(high, rows_ - 1) - first + 1;
      if (rows <= 0) continue;
      if (rows > ex::kMostRows) return false;
      span_[f] = {first, rows};
      const VF centre = hn::IfThenElseZero(ok, c);
      const VF scale = hn::Div(hn::Set(d, ex::kPerPixel), hn::IfThenElse(ok, w, one));
      const float* fibre = profile_.at(f, 0);
      float* to = ProfileOf(f);
      const auto light = [&](int64_t y) HWY_ATTR {
        const VF edge = hn::Set(d, static_cast<float>(y) - 0.5f);
        return Cumulative(fibre, left, right, part, hn::Mul(hn::Sub(edge, centre), scale));
      };
      VF below = light(first);
      for (int64_t j = 0; j < rows; j++) {
        const VF above = light(first + j + 1), share = hn::Sub(above, below);
        below = above;
        const VF away = hn::Abs(hn::Sub(hn::Set(d, static_cast<float>(first + j)), row));
        const MF in = hn::And(hn::And(ok, hn::Le(away, reach)), hn::Le(hn::Abs(share), hn::Set(d, 2.0f)));
        Put(hn::IfThenElseZero(in, share), to, j);
      }
    }
    return true;
  }

  // Weights of the pixels as extract-joint has them in the end: revised by the model, none for what stands out above it.
  void Weights() {
    const DF d;
    const DU du;
    const VF zero = hn::Zero(d), one = hn::Set(d, 1.0f), tolerance = hn::Set(d, p_.profileError);
    const VF limit = hn::Set(d, p_.reject * p_.reject), photons = hn::Set(d, p_.photonVariance);
    const auto bad = hn::Set(du, static_cast<uint32_t>(p_.bad));
    for (int64_t y = 0; y < rows_; y++) Put(zero, model_, y);
    for (int64_t f = 0; f < fibres_; f++) {
      const VF flux = Get(light_, f);
      const auto [first, rows] = span_[f];
      const float* profile = ProfileOf(f);
      for (int64_t j = 0; j < rows; j++) {
        Put(hn::MulAdd(flux, Get(profile, j), Get(model_, first + j)), model_, first + j);
      }
    }
    for (int64_t y = 0; y < rows_; y++) {
      const VF value = LoadPart(d, image_.at(y, 0) + x_, count_), given = LoadPart(d, imageIvar_.at(y, 0) + x_, count_);
      const auto bits = LoadPart(du, imageDq_.at(y, 0) + x_, count_);
      MF use = hn::RebindMask(d, hn::Eq(hn::And(bits, bad), hn::Zero(du)));
      use = hn::And(use, hn::Lt(hn::Abs(value), hn::Set(d, ex::kLargest)));
      use = hn::And(
          use, hn::And(hn::Gt(given, hn::Set(d, ex::kSmallestWeight)), hn::Lt(given, hn::Set(d, ex::kLargestWeight))));
      VF w = hn::IfThenElseZero(use, given);
      const VF residual = hn::Sub(hn::IfThenElseZero(use, value), Get(model_, y));
      if (p_.photonVariance > 0) {
        const VF noisy = hn::Max(hn::IfThenElseZero(use, value), zero);
        const VF more = hn::Mul(photons, hn::Sub(hn::Max(Get(model_, y), zero), noisy));
        w = hn::Div(w, hn::Max(hn::MulAdd(w, more, one), hn::Set(d, ex::kLeastRevised)));
      }
      if (p_.reject > 0) {
        const VF part = hn::Mul(tolerance, Get(model_, y));
        const VF allowed = hn::Mul(limit, hn::MulAdd(hn::Mul(part, part), w, one));
        const MF out = hn::And(hn::Gt(residual, zero), hn::Gt(hn::Mul(hn::Mul(residual, residual), w), allowed));
        w = hn::IfThenZeroElse(out, w);
      }
      Put(w, weight_, y);
    }
  }

  // N_fg = sum W P_f P_g within the band. A fibre without light on the good pixels drops out.
  void Normal() {
    const DF d;
    const VF zero = hn::Zero(d);
    for (int m = 0; m <= kBand; m++) {
      for (int64_t f = -kBand; f < fibres_ + kBand; f++) {
        Put(zero, normal_[m], f);
        Put(zero, root_[m], f);
      }
    }
    for (int64_t f = 0; f < fibres_; f++) {
      const auto [first, rows] = span_[f];
      const float* profile = ProfileOf(f);
      HWY_ALIGN float weighted[ex::kMostRows * ex::kMostLanes];
      VF own = zero, squares = zero;
      for (int64_t j = 0; j < rows; j++) {
        const VF p = Get(profile, j), w = Get(weight_, first + j), wp = hn::Mul(w, p);
        const VF seen = hn::IfThenElseZero(hn::Gt(w, zero), p);
        Put(wp, weighted, j);
        own = hn::MulAdd(wp, p, own);
        squares = hn::MulAdd(seen, seen, squares);
      }
      Put(own, normal_[0], f);
      const MF seen = hn::And(hn::Gt(own, zero), hn::Ge(squares, hn::Set(d, ex::kLeastSquares)));
      Put(hn::IfThenElseZero(seen, hn::Set(d, 1.0f)), kept_, f);
      for (int m = 1; m <= std::min<int64_t>(kBand, f); m++) {
        const auto [otherFirst, otherRows] = span_[f - m];
        const float* other = ProfileOf(f - m);
        const int64_t from = std::max(first, otherFirst), to = std::min(first + rows, otherFirst + otherRows);
        VF sum = zero;
        for (int64_t y = from; y < to; y++) sum = hn::MulAdd(Get(weighted, y - first), Get(other, y - otherFirst), sum);
        Put(sum, normal_[m], f - m);
      }
    }
  }

  // Fibres that those before them leave less than kLeastPivot of their own information drop out, as in extract-joint.
  void Drop() {
    const DF d;
    const VF one = hn::Set(d, 1.0f), zero = hn::Zero(d);
    // L D L^T in the place of the root, which is not made yet.
    for (int m = 0; m <= kBand; m++) {
      for (int64_t f = 0; f < fibres_; f++) Put(Get(normal_[m], f), root_[m], f);
    }
    for (int64_t f = 0; f < fibres_; f++) {
      const VF pivot = Get(root_[0], f), least = hn::Mul(Get(normal_[0], f), hn::Set(d, ex::kLeastPivot));
      const MF ok = hn::And(hn::Gt(Get(kept_, f), zero), hn::Ge(pivot, least));
      Put(hn::IfThenElseZero(ok, one), kept_, f);
      const VF inverse = hn::IfThenElseZero(ok, hn::Div(one, hn::IfThenElse(ok, pivot, one)));
      for (int m = 1; m <= kBand; m++) {
        const VF l = hn::Mul(Get(root_[m], f), inverse);
        for (int k = m; k <= kBand && f + m < fibres_; k++) {
          Put(hn::NegMulAdd(l, Get(root_[k], f), Get(root_[k - m], f + m)), root_[k - m], f + m);
        }
      }
    }
    for (int64_t f = 0; f < fibres_; f++) {
      for (int m = 0; m <= kBand && f + m < fibres_; m++) {
        const VF both = hn::Mul(Get(kept_, f), Get(kept_, f + m));
        Put(hn::Mul(both, Get(normal_[m], f)), normal_[m], f);
      }
    }
  }

  // The symmetric root X of N within the band: each entry in turn is set so that (X X) has it right, the others as they are
  // (the method of Gauss and Seidel), until nothing moves.
  void Root() {
    const DF d;
    const VF zero = hn::Zero(d), one = hn::Set(d, 1.0f), two = hn::Set(d, 2.0f), enough = hn::Set(d, kEnough);
    for (int64_t f = 0; f < fibres_; f++) Put(hn::Sqrt(Get(normal_[0], f)), root_[0], f);
    for (int m = 1; m <= kBand; m++) {
      for (int64_t f = 0; f < fibres_; f++) {
        const VF sum = f + m < fibres_ ? hn::Add(Get(root_[0], f), Get(root_[0], f + m)) : zero;
        const MF there = hn::Gt(sum, zero);
        const VF entry = hn::Div(Get(normal_[m], f), hn::IfThenElse(there, sum, one));
        Put(hn::IfThenElseZero(there, entry), root_[m], f);
      }
    }
    MF busy = hn::Eq(zero, zero);
    for (int sweep = 0; sweep < kMostSweeps && !hn::AllFalse(d, busy); sweep++) {
      // A lane that is done is not touched again: what it is must not depend on the others.
      for (int64_t f = 0; f < fibres_; f++) Put(hn::IfThenZeroElse(busy, Get(moved_, f)), moved_, f);
      MF moving = hn::Ne(zero, zero);
      for (int64_t f = 0; f < fibres_; f++) {
        for (int m = 0; m <= kBand && f + m < fibres_; m++) {
          const int64_t g = f + m;
          VF sum = zero;
          for (int64_t k = g - kBand; k <= f + kBand; k++) {
            const VF a = k < f ? Get(root_[f - k], k) : Get(root_[k - f], f);
            const VF b = k < g ? Get(root_[g - k], k) : Get(root_[k - g], g);
            sum = hn::MulAdd(a, b, sum);
          }
          const VF mine = Get(root_[0], f), theirs = Get(root_[0], g), pair = hn::Add(mine, theirs);
          const MF there = hn::And(hn::Gt(hn::Min(mine, theirs), zero), busy);
          const VF step = hn::Div(hn::Sub(Get(normal_[m], f), sum), hn::IfThenElse(there, pair, one));
          const VF before = Get(root_[m], f);
          VF now = hn::Add(before, step);
          if (m == 0) now = hn::Max(now, hn::Mul(hn::Set(d, kLeastDiagonal), hn::Sqrt(Get(normal_[0], f))));
          Put(hn::IfThenElse(there, now, before), root_[m], f);
          const VF scale = hn::Mul(enough, hn::Min(mine, theirs));
          const MF far = hn::And(there, hn::Gt(hn::Abs(step), scale));
          moving = hn::Or(moving, far);
          Put(hn::IfThenElse(far, two, Get(moved_, f)), moved_, f);
          Put(hn::IfThenElse(far, two, Get(moved_, g)), moved_, g);
        }
      }
      busy = hn::And(busy, moving);
    }
  }

  void Tell() {
    const DF d;
    const VF zero = hn::Zero(d), one = hn::Set(d, 1.0f);
    const VF missing = hn::Set(d, std::numeric_limits<float>::quiet_NaN());
    for (int64_t f = 0; f < fibres_; f++) {
      VF sum = zero, light = zero;
      const auto entry = [&](int64_t g) HWY_ATTR { return g < f ? Get(root_[f - g], g) : Get(root_[g - f], f); };
      for (int64_t g = f - kBand; g <= f + kBand; g++) {
        sum = hn::Add(sum, entry(g));
        if (g >= 0 && g < fibres_) light = hn::MulAdd(entry(g), Get(light_, g), light);
      }
      const VF least = hn::Mul(hn::Set(d, kLeastSum), hn::Sqrt(Get(normal_[0], f)));
      MF known = hn::And(hn::Gt(Get(kept_, f), zero), hn::Eq(Get(moved_, f), zero));
      known = hn::And(known, hn::And(hn::Gt(sum, zero), hn::Ge(sum, least)));
      const VF by = hn::IfThenElse(known, sum, one);
      StorePart(hn::IfThenElse(known, hn::Div(light, by), missing), decorrelated_.at(f, 0) + x_, count_);
      StorePart(hn::IfThenElse(known, hn::Div(one, by), missing), error_.at(f, 0) + x_, count_);
      for (int k = 0; k <= 2 * kBand; k++) {
        const VF r = hn::IfThenElseZero(known, hn::Div(entry(f + k - kBand), by));
        StorePart(hn::Add(r, zero), resolution_.at(f, k) + x_, count_);
      }
    }
  }

  const KernelCall& call_;
  const Params& p_;
  View<const float> image_, imageIvar_, centre_, width_, profile_, flux_, ivar_;
  View<const uint32_t> imageDq_;
  View<float> decorrelated_, error_, resolution_;
  int64_t rows_, fibres_, x_ = 0;
  int count_ = 0;
  float *model_, *weight_;         // of the rows
  float *light_, *kept_, *moved_;  // of the fibres
  float *normal_[kBand + 1], *root_[kBand + 1];
  ex::Span* span_;
  float* table_;
};

Status Decorrelate(const KernelCall& call) {
  const auto image = call.ports[kImage].view<const float>(), centre = call.ports[kCentre].view<const float>();
  for (const Port port : {kImageIvar, kImageDq}) {
    if (call.ports[port].planes != image.planes) return Fail(Code::kUsage, "image, ivar and dq differ in rows");
  }
  for (const Port port : {kWidth, kProfile, kFlux, kIvar, kDecorrelated, kError, kResolution}) {
    if (call.ports[port].planes == centre.planes) continue;
    return Fail(Code::kUsage, "arrays differ in their number of fibres", -1, centre.planes, call.ports[port].planes);
  }
  if (centre.planes == 0) return Ok();
  Solver solver(call);
  for (int64_t x = 0; x < centre.cols; x += kLanes) {
    solver.Run(x, static_cast<int>(std::min<int64_t>(kLanes, centre.cols - x)));
  }
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::decorrelate_spectra {
namespace {
HWY_EXPORT(Decorrelate);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(Decorrelate)(call); }
}  // namespace rampline::decorrelate_spectra
#endif
