#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/fold-group/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "generated/fold-group.h"
#include "native/core/ramp-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
using namespace ramp;                  // NOLINT: short names for registers of pixels
using namespace rampline::fold_group;  // NOLINT: the generated ports and parameters

constexpr int kMost = 8;
constexpr float kSigmaOfMad = 1.4826f;  // of a normal distribution
constexpr float kLast = 3e38f;          // sorts missing values behind all others

// Sorts eight registers in each lane with the shortest network, 19 exchanges (Knuth, TAOCP 3, 5.3.4).
HWY_INLINE void SortEight(VF* v) {
  constexpr int kPairs[19][2] = {{0, 2}, {1, 3}, {4, 6}, {5, 7}, {0, 4}, {1, 5}, {2, 6}, {3, 7}, {0, 1}, {2, 3},
                                 {4, 5}, {6, 7}, {2, 4}, {3, 5}, {1, 4}, {3, 6}, {1, 2}, {3, 4}, {5, 6}};
#pragma GCC unroll 19
  for (const auto& pair : kPairs) {
    const VF a = v[pair[0]], b = v[pair[1]];
    v[pair[0]] = hn::Min(a, b);
    v[pair[1]] = hn::Max(a, b);
  }
}

// The median of the first n of eight sorted registers, n lane by lane; not defined where n is 0.
HWY_INLINE VF MedianOfSorted(DF d, const VF* v, VF n) {
  const VF half = hn::Set(d, 0.5f), one = hn::Set(d, 1.0f);
  const VF low = hn::Floor(hn::Mul(half, hn::Sub(n, one))), high = hn::Floor(hn::Mul(half, n));
  VF a = v[0], b = v[0];
#pragma GCC unroll 7
  for (int k = 1; k < kMost; k++) {
    const VF at = hn::Set(d, static_cast<float>(k));
    a = hn::IfThenElse(hn::Eq(low, at), v[k], a);
    b = hn::IfThenElse(hn::Eq(high, at), v[k], b);
  }
  return hn::Mul(half, hn::Add(a, b));
}

Status FoldGroup(const KernelCall& call) {
  const auto level = call.ports[kLevel].view<const float>(), sigma = call.ports[kSigma].view<const float>();
  const auto exposureWeight = call.ports[kExposureWeight].view<const float>();
  const auto mean = call.ports[kMean].view<float>(), weight = call.ports[kWeight].view<float>();
  const auto variance = call.ports[kVariance].view<float>(), expected = call.ports[kExpected].view<float>();
  const auto scatter = call.ports[kScatter].view<float>();
  const auto count = call.ports[kCount].view<uint16_t>(), rejected = call.ports[kRejected].view<uint16_t>();
  const auto planes = static_cast<int>(level.planes);
  const DF d;
  const VF zero = hn::Zero(d), one = hn::Set(d, 1.0f), last = hn::Set(d, kLast);
  const VF cut = hn::Set(d, ParamsOf(call).outlierSigma);
  float weights[kMost];
  for (int k = 0; k < kMost; k++) {
    const float one = k < planes ? exposureWeight.at(k, 0)[0] : 0.0f;
    weights[k] = one > 0 && one < 1e15f ? one : 0.0f;
  }
  ForPixels<1>(level.rows, level.cols, [&](int64_t row, int64_t x, int part, auto) HWY_ATTR {
    VF v[kMost], s[kMost], sorted[kMost];
    hn::Mask<DF> valid[kMost];
    VF n = zero;
    for (int k = 0; k < kMost; k++) {
      v[k] = k < planes ? LoadPart(d, level.at(k, row) + x, part) : hn::NaN(d);
      s[k] = k < planes ? LoadPart(d, sigma.at(k, row) + x, part) : one;
      valid[k] = hn::And(hn::Lt(hn::Abs(v[k]), hn::Set(d, 1e18f)),
                         hn::And(hn::Gt(s[k], hn::Set(d, 1e-15f)), hn::Lt(s[k], hn::Set(d, 1e15f))));
      valid[k] = hn::And(valid[k], hn::Gt(hn::Set(d, weights[k]), zero));
      v[k] = hn::IfThenElse(valid[k], v[k], last);
      n = hn::Add(n, hn::IfThenElseZero(valid[k], one));
      sorted[k] = v[k];
    }
    SortEight(sorted);
    const VF median = hn::IfThenElseZero(hn::Gt(n, zero), MedianOfSorted(d, sorted, n));
    VF away[kMost];
    for (int k = 0; k < kMost; k++) {
      away[k] = hn::IfThenElse(valid[k], hn::Abs(hn::Sub(v[k], median)), last);
      sorted[k] = away[k];
    }
    SortEight(sorted);
    const VF spread = hn::Mul(hn::Set(d, kSigmaOfMad), MedianOfSorted(d, sorted, n));
    const auto enough = hn::Gt(n, hn::Set(d, 2.5f));
    VF w = zero, shift = zero, kept = zero, out = zero, errors = zero, noise = zero;
    for (int k = 0; k < kMost; k++) {
      const auto wrong = hn::And(enough, hn::Gt(away[k], hn::Mul(cut, hn::Max(s[k], spread))));
      out = hn::Add(out, hn::IfThenElseZero(hn::And(valid[k], wrong), one));
      valid[k] = hn::AndNot(wrong, valid[k]);
      const VF own = hn::IfThenElseZero(valid[k], hn::Set(d, weights[k]));
      const VF square = hn::IfThenElseZero(valid[k], hn::Mul(own, hn::Mul(s[k], s[k])));
      noise = hn::Add(noise, square);
      errors = hn::MulAdd(own, square, errors);
      s[k] = own;
      v[k] = hn::IfThenElseZero(valid[k], hn::Sub(v[k], median));
      w = hn::Add(w, s[k]);
      shift = hn::MulAdd(s[k], v[k], shift);
      kept = hn::Add(kept, hn::IfThenElseZero(valid[k], one));
    }
    const auto any = hn::Gt(w, zero);
    shift = hn::IfThenElseZero(any, hn::Div(shift, hn::IfThenElse(any, w, one)));
    VF own = zero;
    for (int k = 0; k < kMost; k++) {
      const VF rest = hn::Sub(v[k], shift);
      own = hn::MulAdd(hn::Mul(s[k], rest), rest, own);
    }
    float* meanAt = mean.at(0, row) + x;
    float* weightAt = weight.at(0, row) + x;
    float* varianceAt = variance.at(0, row) + x;
    float* expectedAt = expected.at(0, row) + x;
    float* scatterAt = scatter.at(0, row) + x;
    uint16_t* countAt = count.at(0, row) + x;
    uint16_t* rejectedAt = rejected.at(0, row) + x;
    const VF before = LoadPart(d, weightAt, part), meanBefore = LoadPart(d, meanAt, part);
    const VF total = hn::Add(before, w);
    const VF share = hn::IfThenElseZero(any, hn::Div(w, hn::IfThenElse(any, total, one)));
    const VF delta = hn::IfThenElseZero(any, hn::Sub(hn::Add(median, shift), meanBefore));
    own = hn::MulAdd(hn::Mul(delta, delta), hn::Mul(before, share), own);
    StorePart(d, hn::MulAdd(delta, share, meanBefore), meanAt, part);
    StorePart(d, total, weightAt, part);
    StorePart(d, hn::Add(LoadPart(d, varianceAt, part), errors), varianceAt, part);
    StorePart(d, hn::Add(LoadPart(d, expectedAt, part), noise), expectedAt, part);
    StorePart(d, hn::Add(LoadPart(d, scatterAt, part), own), scatterAt, part);
    StoreCounts(d, hn::Add(LoadCounts(d, countAt, part), kept), countAt, part);
    StoreCounts(d, hn::Add(LoadCounts(d, rejectedAt, part), out), rejectedAt, part);
  });
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::fold_group {
namespace {
HWY_EXPORT(FoldGroup);
}
Status Run(const KernelCall& call) {
  if (call.ports[kLevel].planes > 8) {
    return Fail(Code::kUsage, "a group has at most 8 exposures", -1, 8, call.ports[kLevel].planes);
  }
  return HWY_DYNAMIC_DISPATCH(FoldGroup)(call);
}
}  // namespace rampline::fold_group
#endif
