#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/core/fft.cc"
#include "native/core/fft.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<double, 8>;
using V = hn::Vec<D>;

struct Complex {
  V re, im;
};
HWY_INLINE Complex Add(Complex a, Complex b) { return {hn::Add(a.re, b.re), hn::Add(a.im, b.im)}; }
HWY_INLINE Complex Sub(Complex a, Complex b) { return {hn::Sub(a.re, b.re), hn::Sub(a.im, b.im)}; }
HWY_INLINE Complex Scale(Complex a, V s) { return {hn::Mul(a.re, s), hn::Mul(a.im, s)}; }
HWY_INLINE Complex TimesMinusI(Complex a) { return {a.im, hn::Neg(a.re)}; }
// No fused operations: they would round differently from target to target.
HWY_INLINE Complex Mul(Complex a, V re, V im) {
  return {hn::Sub(hn::Mul(a.re, re), hn::Mul(a.im, im)), hn::Add(hn::Mul(a.re, im), hn::Mul(a.im, re))};
}

// The transform of kRadix numbers in place.
template <int kRadix>
HWY_INLINE void Butterfly(D d, Complex* a) {
  if constexpr (kRadix == 2) {
    const Complex t = a[1];
    a[1] = Sub(a[0], t);
    a[0] = Add(a[0], t);
  } else if constexpr (kRadix == 3) {
    const Complex sum = Add(a[1], a[2]);
    const Complex turn = TimesMinusI(Scale(Sub(a[1], a[2]), hn::Set(d, 0.86602540378443864676)));  // sin(2 pi / 3)
    const Complex middle = Sub(a[0], Scale(sum, hn::Set(d, 0.5)));
    a[0] = Add(a[0], sum);
    a[1] = Add(middle, turn);
    a[2] = Sub(middle, turn);
  } else if constexpr (kRadix == 4) {
    const Complex s02 = Add(a[0], a[2]), d02 = Sub(a[0], a[2]);
    const Complex s13 = Add(a[1], a[3]), d13 = TimesMinusI(Sub(a[1], a[3]));
    a[0] = Add(s02, s13);
    a[1] = Add(d02, d13);
    a[2] = Sub(s02, s13);
    a[3] = Sub(d02, d13);
  } else {
    static_assert(kRadix == 5);
    const V c1 = hn::Set(d, 0.30901699437494742410), c2 = hn::Set(d, -0.80901699437494742410);  // cos(2 pi k / 5)
    const V s1 = hn::Set(d, 0.95105651629515357212), s2 = hn::Set(d, 0.58778525229247312917);   // sin(2 pi k / 5)
    const Complex p1 = Add(a[1], a[4]), m1 = Sub(a[1], a[4]), p2 = Add(a[2], a[3]), m2 = Sub(a[2], a[3]);
    const Complex r1 = Add(a[0], Add(Scale(p1, c1), Scale(p2, c2)));
    const Complex r2 = Add(a[0], Add(Scale(p1, c2), Scale(p2, c1)));
    const Complex i1 = TimesMinusI(Add(Scale(m1, s1), Scale(m2, s2)));
    const Complex i2 = TimesMinusI(Sub(Scale(m1, s2), Scale(m2, s1)));
    a[0] = Add(a[0], Add(p1, p2));
    a[1] = Add(r1, i1);
    a[4] = Sub(r1, i1);
    a[2] = Add(r2, i2);
    a[3] = Sub(r2, i2);
  }
}

// One pass over n * batch numbers: `length` is what is left to transform, `stride` what has been done times the batch.
template <int kRadix>
void PassOf(int64_t length, int64_t stride, const double* cosines, const double* sines, int64_t step,
            const double* HWY_RESTRICT xr, const double* HWY_RESTRICT xi, double* HWY_RESTRICT yr,
            double* HWY_RESTRICT yi) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t part = length / kRadix;
  for (int64_t p = 0; p < part; p++) {
    V wr[kRadix], wi[kRadix];
    for (int j = 1; j < kRadix; j++) {
      wr[j] = hn::Set(d, cosines[p * j * step]);
      wi[j] = hn::Set(d, sines[p * j * step]);
    }
    for (int64_t q = 0; q < stride; q += lanes) {
      Complex a[kRadix];
      for (int j = 0; j < kRadix; j++) {
        const int64_t at = q + stride * (p + part * j);
        a[j] = {hn::LoadU(d, xr + at), hn::LoadU(d, xi + at)};
      }
      Butterfly<kRadix>(d, a);
      for (int j = 0; j < kRadix; j++) {
        const int64_t at = q + stride * (kRadix * p + j);
        const Complex b = j == 0 ? a[0] : Mul(a[j], wr[j], wi[j]);
        hn::StoreU(b.re, d, yr + at);
        hn::StoreU(b.im, d, yi + at);
      }
    }
  }
}

void FftPass(int radix, int64_t length, int64_t stride, const double* cosines, const double* sines, int64_t step,
             const double* xr, const double* xi, double* yr, double* yi) {
  switch (radix) {
    case 2: return PassOf<2>(length, stride, cosines, sines, step, xr, xi, yr, yi);
    case 3: return PassOf<3>(length, stride, cosines, sines, step, xr, xi, yr, yi);
    case 4: return PassOf<4>(length, stride, cosines, sines, step, xr, xi, yr, yi);
    default: return PassOf<5>(length, stride, cosines, sines, step, xr, xi, yr, yi);
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline {
namespace {
HWY_EXPORT(FftPass);
}  // namespace

int64_t BatchFft::GoodLength(int64_t atLeast) {
  for (int64_t n = std::max<int64_t>(2, atLeast + atLeast % 2);; n += 2) {
    int64_t rest = n;
    for (const int prime : {2, 3, 5}) {
      while (rest % prime == 0) rest /= prime;
    }
    if (rest == 1) return n;
  }
}

BatchFft::BatchFft(int64_t n) : n_(n), cos_(static_cast<size_t>(n)), sin_(static_cast<size_t>(n)) {
  int64_t rest = n;
  for (const int radix : {4, 2, 3, 5}) {
    for (; rest % radix == 0; rest /= radix) radices_.push_back(radix);
  }
  for (int64_t j = 0; j < n; j++) {
    const double angle = -2 * std::numbers::pi * static_cast<double>(j) / static_cast<double>(n);
    cos_[static_cast<size_t>(j)] = std::cos(angle);
    sin_[static_cast<size_t>(j)] = std::sin(angle);
  }
}

void BatchFft::Forward(double* re, double* im, double* work) const {
  const int64_t size = n_ * kBatch;
  double *xr = re, *xi = im, *yr = work, *yi = work + size;
  int64_t length = n_, stride = kBatch;
  for (const int radix : radices_) {
    HWY_DYNAMIC_DISPATCH(FftPass)(radix, length, stride, cos_.data(), sin_.data(), n_ / length, xr, xi, yr, yi);
    std::swap(xr, yr);
    std::swap(xi, yi);
    length /= radix;
    stride *= radix;
  }
  if (xr != re) {
    std::copy(xr, xr + size, re);
    std::copy(xi, xi + size, im);
  }
}

}  // namespace rampline
#endif
