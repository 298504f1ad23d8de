// Counting and adding 16-bit pixels. Included once per CPU target.
#if defined(RAMPLINE_CORE_COUNT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RAMPLINE_CORE_COUNT_INL_H_
#undef RAMPLINE_CORE_COUNT_INL_H_
#else
#define RAMPLINE_CORE_COUNT_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr int kCountLanes = 32;  // 16-bit lanes of the widest vector
using D16 = hn::CappedTag<int16_t, kCountLanes>;
using V16 = hn::Vec<D16>;

// Signed comparison is the one that all targets have; flipping the top bit keeps the order.
HWY_INLINE V16 LoadFlipped(D16 d, const uint16_t* p) {
  const hn::RebindToUnsigned<D16> du;
  return hn::BitCast(d, hn::Xor(hn::LoadU(du, p), hn::Set(du, 0x8000)));
}
HWY_INLINE V16 SetFlipped(D16 d, uint16_t value) { return hn::Set(d, static_cast<int16_t>(value ^ 0x8000)); }

HWY_INLINE V16 CountIf(D16 d, V16 count, hn::Mask<D16> mask) {
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
  return hn::IfThenElse(mask, hn::Add(count, hn::Set(d, 1)), count);  // one masked addition
#else
  return hn::Sub(count, hn::VecFromMask(d, mask));
#endif
}

// Number of values below `threshold`, which may be anything.
HWY_INLINE int64_t CountBelow(const uint16_t* HWY_RESTRICT p, int64_t n, int64_t threshold) {
  if (threshold <= 0) return 0;
  if (threshold > 65535) return n;
  const D16 d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const V16 t = SetFlipped(d, static_cast<uint16_t>(threshold));
  int64_t total = 0, i = 0;
  while (i + lanes <= n) {
    const int64_t stop = std::min(n / lanes * lanes, i + 32766 * lanes);  // before a 16-bit lane is full
    V16 a = hn::Zero(d), b = hn::Zero(d);
    for (; i + 2 * lanes <= stop; i += 2 * lanes) {
      a = CountIf(d, a, hn::Lt(LoadFlipped(d, p + i), t));
      b = CountIf(d, b, hn::Lt(LoadFlipped(d, p + i + lanes), t));
    }
    if (i < stop) {
      a = CountIf(d, a, hn::Lt(LoadFlipped(d, p + i), t));
      i += lanes;
    }
    alignas(64) int16_t counts[kCountLanes];
    for (const V16 c : {a, b}) {
      hn::Store(c, d, counts);
      for (int64_t l = 0; l < lanes; l++) total += counts[l];
    }
  }
  for (; i < n; i++) total += p[i] < threshold ? 1 : 0;
  return total;
}

// Sum of the values, each clamped to [low, high]; n at most 65536.
HWY_INLINE int64_t SumClamped(const uint16_t* HWY_RESTRICT p, int64_t n, uint16_t low, uint16_t high) {
  int64_t total = 0, i = 0;
#if HWY_TARGET != HWY_SCALAR
  const D16 d;
  const hn::RepartitionToWide<hn::RebindToUnsigned<D16>> d32;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const V16 lo = SetFlipped(d, low), hi = SetFlipped(d, high), flip = hn::Set(d, INT16_MIN);
  auto even = hn::Zero(d32), odd = hn::Zero(d32);
  for (; i + lanes <= n; i += lanes) {
    const V16 v = hn::Xor(hn::Min(hn::Max(LoadFlipped(d, p + i), lo), hi), flip);
    const auto pairs = hn::BitCast(d32, v);
    even = hn::Add(even, hn::And(pairs, hn::Set(d32, 0xFFFF)));
    odd = hn::Add(odd, hn::ShiftRight<16>(pairs));
  }
  alignas(64) uint32_t sums[kCountLanes / 2];
  hn::Store(hn::Add(even, odd), d32, sums);
  for (size_t l = 0; l < hn::Lanes(d32); l++) total += sums[l];
#endif
  for (; i < n; i++) total += std::clamp(p[i], low, high);
  return total;
}

}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();
#endif
