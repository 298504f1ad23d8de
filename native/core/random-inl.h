// The SIMD side of native/core/random.h: the same operations in the same order, so the same bits on every CPU target.
// Included once per target. MulAdd is not used here on purpose: it is one rounding on some targets and two on others.
#if defined(RAMPLINE_CORE_RANDOM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RAMPLINE_CORE_RANDOM_INL_H_
#undef RAMPLINE_CORE_RANDOM_INL_H_
#else
#define RAMPLINE_CORE_RANDOM_INL_H_
#endif

#include <hwy/highway.h>

#include "native/core/random.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace random {
namespace hn = hwy::HWY_NAMESPACE;
using namespace rampline::random;  // NOLINT: constants and the key

#if HWY_TARGET == HWY_SCALAR
// One lane cannot hold a 64-bit product; the scalar function is already in reach by the using directive above.
using rampline::random::RowBits;
#else
// High and low words of a * m.
template <class D, class V = hn::Vec<D>>
HWY_INLINE void MulWide(D d, V a, V m, V& high, V& low) {
  const hn::Repartition<uint64_t, D> d64;
  const auto even = hn::MulEven(a, m);
  const auto odd = hn::MulEven(hn::BitCast(d, hn::ShiftRight<32>(hn::BitCast(d64, a))), m);
  high = hn::OddEven(hn::BitCast(d, odd), hn::BitCast(d, hn::ShiftRight<32>(even)));
  low = hn::OddEven(hn::BitCast(d, hn::ShiftLeft<32>(odd)), hn::BitCast(d, even));
}

HWY_INLINE void RowBits(Key key, int32_t stream, int32_t read, int64_t row, int64_t segment,
                        uint32_t* HWY_RESTRICT out) {
  const hn::ScalableTag<uint32_t> d;
  using V = hn::Vec<decltype(d)>;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  const V m0 = hn::Set(d, 0xD2511F53u), m1 = hn::Set(d, 0xCD9E8D57u);
  const uint32_t word2 = static_cast<uint32_t>(segment) | static_cast<uint32_t>(stream) << 16;
  for (int64_t b = 0; b < kBlocks; b += 2 * n) {
    V c0 = hn::Iota(d, static_cast<uint32_t>(b)), e0 = hn::Iota(d, static_cast<uint32_t>(b + n));
    V c1 = hn::Set(d, static_cast<uint32_t>(row)), e1 = c1;
    V c2 = hn::Set(d, word2), e2 = c2;
    V c3 = hn::Set(d, static_cast<uint32_t>(read)), e3 = c3;
    uint32_t k0 = key.low, k1 = key.high;
    for (int round = 0; round < 10; round++) {
      const V vk0 = hn::Set(d, k0), vk1 = hn::Set(d, k1);
      V ah, al, bh, bl, fh, fl, gh, gl;
      MulWide(d, c0, m0, ah, al);
      MulWide(d, c2, m1, bh, bl);
      MulWide(d, e0, m0, fh, fl);
      MulWide(d, e2, m1, gh, gl);
      c0 = hn::Xor(hn::Xor(bh, c1), vk0);
      c2 = hn::Xor(hn::Xor(ah, c3), vk1);
      c1 = bl;
      c3 = al;
      e0 = hn::Xor(hn::Xor(gh, e1), vk0);
      e2 = hn::Xor(hn::Xor(fh, e3), vk1);
      e1 = gl;
      e3 = fl;
      k0 += 0x9E3779B9;
      k1 += 0xBB67AE85;
    }
    hn::StoreU(c0, d, out + b), hn::StoreU(e0, d, out + b + n);
    hn::StoreU(c1, d, out + kBlocks + b), hn::StoreU(e1, d, out + kBlocks + b + n);
    hn::StoreU(c2, d, out + 2 * kBlocks + b), hn::StoreU(e2, d, out + 2 * kBlocks + b + n);
    hn::StoreU(c3, d, out + 3 * kBlocks + b), hn::StoreU(e3, d, out + 3 * kBlocks + b + n);
  }
}

#endif

// a * b + c with two roundings, on every target.
template <class V>
HWY_INLINE V Then(V a, V b, V c) {
  return hn::Add(hn::Mul(a, b), c);
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V Log(D d, V x) {
  const hn::RebindToSigned<D> di;
  const auto bits = hn::Add(hn::BitCast(di, x), hn::Set(di, 0x3f800000 - 0x3f3504f3));
  // The argument is positive, so the arithmetic shift is the logical one.
  const V e = hn::ConvertTo(d, hn::Sub(hn::ShiftRight<23>(bits), hn::Set(di, 127)));
  const V m = hn::BitCast(d, hn::Add(hn::And(bits, hn::Set(di, 0x007fffff)), hn::Set(di, 0x3f3504f3)));
  const V z = hn::Sub(m, hn::Set(d, 1.0f));
  V p = hn::Set(d, 7.0376836292e-2f);
  p = Then(p, z, hn::Set(d, -1.1514610310e-1f));
  p = Then(p, z, hn::Set(d, 1.1676998740e-1f));
  p = Then(p, z, hn::Set(d, -1.2420140846e-1f));
  p = Then(p, z, hn::Set(d, 1.4249322787e-1f));
  p = Then(p, z, hn::Set(d, -1.6668057665e-1f));
  p = Then(p, z, hn::Set(d, 2.0000714765e-1f));
  p = Then(p, z, hn::Set(d, -2.4999993993e-1f));
  p = Then(p, z, hn::Set(d, 3.3333331174e-1f));
  const V zz = hn::Mul(z, z);
  V y = hn::Mul(hn::Mul(p, z), zz);
  y = hn::Add(y, hn::Mul(e, hn::Set(d, -2.12194440e-4f)));
  y = hn::Sub(y, hn::Mul(hn::Set(d, 0.5f), zz));
  return hn::Add(hn::Add(z, y), hn::Mul(e, hn::Set(d, 0.693359375f)));
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V ExpMinus(D d, V x) {
  const hn::RebindToSigned<D> di;
  const auto whole = hn::ConvertTo(di, Then(x, hn::Set(d, 1.44269504f), hn::Set(d, 0.5f)));
  const V n = hn::ConvertTo(d, whole);
  V r = hn::Sub(hn::Mul(n, hn::Set(d, 0.693359375f)), x);
  r = hn::Add(r, hn::Mul(n, hn::Set(d, -2.12194440e-4f)));
  V p = hn::Set(d, 1.9875691500e-4f);
  p = Then(p, r, hn::Set(d, 1.3981999507e-3f));
  p = Then(p, r, hn::Set(d, 8.3334519073e-3f));
  p = Then(p, r, hn::Set(d, 4.1665795894e-2f));
  p = Then(p, r, hn::Set(d, 1.6666665459e-1f));
  p = Then(p, r, hn::Set(d, 5.0000001201e-1f));
  p = hn::Add(Then(p, hn::Mul(r, r), r), hn::Set(d, 1.0f));
  return hn::Mul(p, hn::BitCast(d, hn::ShiftLeft<23>(hn::Sub(hn::Set(di, 127), whole))));
}

template <class D, class VU = hn::Vec<hn::RebindToUnsigned<D>>, class V = hn::Vec<D>>
HWY_INLINE V Normal(D d, VU bits) {
  const hn::RebindToSigned<D> di;
  const auto word = hn::BitCast(di, bits);
  const V part = hn::ConvertTo(d, hn::And(word, hn::Set(di, 0x7fffffff)));
  const V p = hn::Mul(hn::Add(part, hn::Set(d, 0.5f)), hn::Set(d, 0x1p-31f));
  const V w = hn::Sub(hn::Zero(d), Log(d, hn::Mul(p, hn::Sub(hn::Set(d, 2.0f), p))));
  const V s = hn::Sub(w, hn::Set(d, 2.5f));
  V near = hn::Set(d, 2.81022636e-08f);
  near = Then(near, s, hn::Set(d, 3.43273939e-07f));
  near = Then(near, s, hn::Set(d, -3.5233877e-06f));
  near = Then(near, s, hn::Set(d, -4.39150654e-06f));
  near = Then(near, s, hn::Set(d, 0.00021858087f));
  near = Then(near, s, hn::Set(d, -0.00125372503f));
  near = Then(near, s, hn::Set(d, -0.00417768164f));
  near = Then(near, s, hn::Set(d, 0.246640727f));
  near = Then(near, s, hn::Set(d, 1.50140941f));
  const auto isNear = hn::Lt(w, hn::Set(d, 5.0f));
  V best = near;
  if (!hn::AllTrue(d, isNear)) {  // 1 draw in 148
    const V t = hn::Sub(hn::Sqrt(hn::IfThenElse(isNear, hn::Set(d, 5.0f), w)), hn::Set(d, 3.0f));
    V far = hn::Set(d, -0.000200214257f);
    far = Then(far, t, hn::Set(d, 0.000100950558f));
    far = Then(far, t, hn::Set(d, 0.00134934322f));
    far = Then(far, t, hn::Set(d, -0.00367342844f));
    far = Then(far, t, hn::Set(d, 0.00573950773f));
    far = Then(far, t, hn::Set(d, -0.0076224613f));
    far = Then(far, t, hn::Set(d, 0.00943887047f));
    far = Then(far, t, hn::Set(d, 1.00167406f));
    far = Then(far, t, hn::Set(d, 2.83297682f));
    best = hn::IfThenElse(isNear, near, far);
  }
  const V z = hn::Mul(hn::Mul(best, hn::Sub(hn::Set(d, 1.0f), p)), hn::Set(d, 1.41421356f));
  const auto negative = hn::MaskFromVec(hn::BitCast(d, hn::BroadcastSignBit(word)));
  return hn::IfThenElse(negative, hn::Sub(hn::Zero(d), z), z);
}

template <class D, class VU = hn::Vec<hn::RebindToUnsigned<D>>, class V = hn::Vec<D>>
HWY_INLINE V Poisson(D d, V mean, VU bits) {
  const hn::RebindToSigned<D> di;
  const V zero = hn::Zero(d), one = hn::Set(d, 1.0f);
  mean = hn::IfThenElse(hn::Gt(mean, zero), mean, zero);
  const V limit = hn::Set(d, kPoissonMeanLimit);
  mean = hn::IfThenElse(hn::Lt(mean, limit), mean, limit);
  const auto small = hn::Lt(mean, hn::Set(d, kPoissonSearchBelow));
  V result = zero;
  if (!hn::AllFalse(d, small)) {
    const V lambda = hn::IfThenElseZero(small, mean);
    const V u = hn::Mul(hn::ConvertTo(d, hn::BitCast(di, hn::ShiftRight<8>(bits))), hn::Set(d, 0x1p-24f));
    V term = ExpMinus(d, lambda), sum = term;
    auto going = small;
    for (int k = 1; k <= kPoissonSearchSteps; k++) {
      const auto more = hn::Or(hn::Ge(term, hn::Set(d, 0x1p-27f)), hn::Lt(hn::Set(d, static_cast<float>(k)), lambda));
      going = hn::And(going, hn::And(hn::Ge(u, sum), more));
      if (hn::AllFalse(d, going)) break;
      result = hn::Add(result, hn::IfThenElseZero(going, one));
      term = hn::Mul(term, hn::Mul(lambda, hn::Set(d, 1.0f / static_cast<float>(k))));
      sum = hn::Add(sum, term);
    }
  }
  if (!hn::AllTrue(d, small)) {
    const V w = Normal(d, bits);
    const V root = hn::Sqrt(hn::IfThenElse(small, one, mean));
    const V ww = hn::Mul(w, w);
    V q = hn::Add(mean, hn::Mul(root, w));
    q = hn::Add(q, Then(ww, hn::Set(d, 0.166666667f), hn::Set(d, 0.333333333f)));
    q = hn::Sub(q, hn::Div(hn::Mul(w, Then(ww, hn::Set(d, 0.0138888889f), hn::Set(d, 0.0277777778f))), root));
    q = hn::IfThenElse(hn::Gt(q, zero), q, zero);
    result = hn::IfThenElse(small, result, hn::ConvertTo(d, hn::ConvertTo(di, q)));
  }
  return result;
}

}  // namespace random
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();
#endif
