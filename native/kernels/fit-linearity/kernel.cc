// In double precision: determinants of nearly parallel equations decide, and a detector is fitted a few times for dozens of
// flats.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/fit-linearity/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <limits>

#include "generated/dq.h"
#include "generated/fit-linearity.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;
using namespace rampline::fit_linearity;  // NOLINT: the generated ports and parameters

using DD = hn::ScalableTag<double>;
using VD = hn::Vec<DD>;
using MD = hn::Mask<DD>;
using DF = hn::Rebind<float, DD>;
constexpr int kLanes = static_cast<int>(hn::MaxLanes(DD()));
constexpr int kPlanes = 12;
constexpr int kValues = 36;  // sums of an amplifier

// A vector with the operators that make the algebra below readable.
struct V {
  VD v;
  V() = default;
  HWY_INLINE V(VD value) : v(value) {}                     // NOLINT: meant to convert
  HWY_INLINE V(double value) : v(hn::Set(DD(), value)) {}  // NOLINT: meant to convert
};
HWY_INLINE V operator+(V a, V b) { return hn::Add(a.v, b.v); }
HWY_INLINE V operator-(V a, V b) { return hn::Sub(a.v, b.v); }
HWY_INLINE V operator*(V a, V b) { return hn::Mul(a.v, b.v); }
HWY_INLINE V operator/(V a, V b) { return hn::Div(a.v, b.v); }
HWY_INLINE MD operator>(V a, V b) { return hn::Gt(a.v, b.v); }
HWY_INLINE MD operator>=(V a, V b) { return hn::Ge(a.v, b.v); }
HWY_INLINE MD operator<=(V a, V b) { return hn::Le(a.v, b.v); }
HWY_INLINE MD And(MD a, MD b) { return hn::And(a, b); }
HWY_INLINE V Max(V a, V b) { return hn::Max(a.v, b.v); }
HWY_INLINE V Abs(V a) { return hn::Abs(a.v); }
HWY_INLINE V Choose(MD where, V yes, V no) { return hn::IfThenElse(where, yes.v, no.v); }
HWY_INLINE V OrZero(MD where, V yes) { return hn::IfThenElseZero(where, yes.v); }

struct Symmetric {
  V a, b, c;  // 22, 23, 33
};
HWY_INLINE Symmetric operator+(Symmetric p, Symmetric q) { return {p.a + q.a, p.b + q.b, p.c + q.c}; }

// (u, v) m^-1 (u, v)'; 1 stands for a determinant that is not positive.
HWY_INLINE V Quadratic(Symmetric m, V u, V v) {
  const V det = m.a * m.c - m.b * m.b;
  return (m.c * u * u - V(2.0) * m.b * u * v + m.a * v * v) / Choose(det > V(0.0), det, V(1.0));
}

struct Solution {
  V c2, c3;
  Symmetric u;
  MD valid;
};
HWY_INLINE Solution Solve(const V* s) {
  Solution out;
  const V p = s[0] * s[3], q = s[1] * s[2], det = p - q;
  const MD solvable = And(s[9] >= V(8.0), Abs(det) > V(1e-6) * (Abs(p) + Abs(q)));
  const V per = V(1.0) / Choose(solvable, det, V(1.0));
  const V i00 = s[3] * per, i01 = V(0.0) - s[1] * per, i10 = V(0.0) - s[2] * per, i11 = s[0] * per, two = 2.0;
  out.c2 = OrZero(solvable, V(0.0) - (i00 * s[4] + i01 * s[5]));
  out.c3 = OrZero(solvable, V(0.0) - (i10 * s[4] + i11 * s[5]));
  out.u.a = OrZero(solvable, i00 * i00 * s[6] + two * i00 * i01 * s[7] + i01 * i01 * s[8]);
  out.u.b = OrZero(solvable, i00 * i10 * s[6] + (i00 * i11 + i01 * i10) * s[7] + i01 * i11 * s[8]);
  out.u.c = OrZero(solvable, i10 * i10 * s[6] + two * i10 * i11 * s[7] + i11 * i11 * s[8]);
  const MD definite = out.u.a * out.u.c - out.u.b * out.u.b > V(1e-9) * out.u.a * out.u.c;
  out.valid = And(And(solvable, definite), And(out.u.a > V(0.0), out.u.c > V(0.0)));
  return out;
}

class Fitter {
 public:
  explicit Fitter(const KernelCall& call)
      : call_(call),
        params_(ParamsOf(call)),
        first_(call.ports[kFirst].view<const float>()),
        second_(call.ports[kSecond].view<const float>()) {}

  void Run() {
    const double* table = call_.ports[kTable].view<const double>().at(0, 0);
    for (int64_t row = 0; row < first_.rows; row++) {
      const int64_t y = call_.origin.row + row;
      const bool edge = y < params_.border || y >= call_.whole.rows - params_.border;
      double* out = call_.ports[kSums].view<double>().at(0, row);
      for (int64_t a = 0; a < 4; a++) {
        V sums[kValues];
        for (V& sum : sums) sum = 0.0;
        const int64_t to = first_.cols * (a + 1) / 4;
        for (int64_t x = first_.cols * a / 4; x < to; x += kLanes) {
          Fit(row, x, static_cast<int>(std::min<int64_t>(kLanes, to - x)), edge, table + kPlanes * a, sums);
        }
        for (int i = 0; i < kValues; i++) out[kValues * a + i] = hn::GetLane(hn::SumOfLanes(DD(), sums[i].v));
      }
    }
  }

 private:
  // Spare lanes repeat the last pixel.
  static HWY_INLINE V Load(const float* from, int count) {
    const DF df;
    if (HWY_LIKELY(count == kLanes)) return hn::PromoteTo(DD(), hn::LoadU(df, from));
    HWY_ALIGN float part[kLanes];
    for (int i = 0; i < kLanes; i++) part[i] = from[std::min(i, count - 1)];
    return hn::PromoteTo(DD(), hn::Load(df, part));
  }

  HWY_INLINE void Fit(int64_t row, int64_t x, int count, bool edge, const double* t, V* sums) {
    const DD d;
    const V column = V(hn::Iota(d, static_cast<double>(x))), zero = 0.0, one = 1.0, two = 2.0;
    const MD here = hn::FirstN(d, static_cast<size_t>(count)), no = zero > zero;
    const MD inside = And(column >= V(params_.border), V(static_cast<double>(first_.cols - params_.border)) > column);
    const MD science = edge ? no : And(here, inside);
    V s[3][kPlanes];
    for (int i = 0; i < kPlanes; i++) {
      s[0][i] = Load(first_.at(i, row) + x, count);
      s[1][i] = Load(second_.at(i, row) + x, count);
      s[2][i] = i == 10 ? Max(s[0][i], s[1][i]) : s[0][i] + s[1][i];
    }
    const Solution a = Solve(s[0]), b = Solve(s[1]), both = Solve(s[2]);
    const bool known = t[5] > 0;
    const V h = t[5], c2 = t[0], c3 = t[1];
    const Symmetric scatter{t[2], t[3], t[4]}, v{h * both.u.a, h * both.u.b, h * both.u.c}, total = v + scatter;
    const V d2 = both.c2 - c2, d3 = both.c3 - c3, det = total.a * total.c - total.b * total.b;
    const MD usable = And(And(both.valid, science), known ? det > zero : hn::Not(no));
    const V chi = known ? Quadratic(total, d2, d3) : zero;
    const MD odd = And(usable, chi > V(static_cast<double>(params_.outlier) * params_.outlier));
    const auto add = [&](int i, MD where, V value) HWY_ATTR { sums[i] = sums[i] + OrZero(where, value); };
    add(31, usable, one);
    add(32, odd, one);
    MD counts = And(usable, And(a.valid, b.valid));
    if (known) {
      counts = And(counts, chi <= V(static_cast<double>(params_.clip) * params_.clip));
      counts = And(counts, And(v.a <= V(t[9]), v.c <= V(t[10])));
    }
    add(0, counts, one);
    for (int half = 0; half < 2; half++) {
      for (int i = 0; i < 9; i++) add(1 + 9 * half + i, counts, s[half][i]);
    }
    const V a2 = a.c2 - c2, a3 = a.c3 - c3, b2 = b.c2 - c2, b3 = b.c3 - c3;
    add(19, counts, Quadratic(a.u + b.u, a2 - b2, a3 - b3));
    add(20, counts, a2);
    add(21, counts, a3);
    add(22, counts, b2);
    add(23, counts, b3);
    const V products[3] = {a2 * b2, V(0.5) * (a2 * b3 + a3 * b2), a3 * b3};
    for (int i = 0; i < 3; i++) {
      add(24 + i, counts, products[i]);
      add(27 + i, counts, products[i] * products[i]);
    }
    add(30, counts, s[2][10]);

    // K = T (T + V)^-1
    const MD pulled = known ? usable : no;
    const V safe = Choose(pulled, det, one);
    const V k00 = OrZero(pulled, (scatter.a * total.c - scatter.b * total.b) / safe);
    const V k01 = OrZero(pulled, (scatter.b * total.a - scatter.a * total.b) / safe);
    const V k10 = OrZero(pulled, (scatter.b * total.c - scatter.c * total.b) / safe);
    const V k11 = OrZero(pulled, (scatter.c * total.a - scatter.b * total.b) / safe);
    const V r00 = one - k00, r11 = one - k11, e22 = t[6], e23 = t[7], e33 = t[8];
    const V variance2 = r00 * scatter.a - k01 * scatter.b + r00 * r00 * e22 - two * r00 * k01 * e23 + k01 * k01 * e33;
    const V variance3 = r11 * scatter.c - k10 * scatter.b + k10 * k10 * e22 - two * r11 * k10 * e23 + r11 * r11 * e33;
    const MD ended = And(science, s[2][11] > zero), full = And(ended, s[2][10] <= zero);
    const MD good = known ? hn::Not(hn::Or(odd, full)) : no;
    const double perUnit = 1.0 / params_.unit;
    Put(kC2, row, x, count, good, (c2 + k00 * d2 + k01 * d3) * V(perUnit));
    Put(kC3, row, x, count, good, (c3 + k10 * d2 + k11 * d3) * V(perUnit * perUnit));
    Put(kC2Error, row, x, count, good, V(hn::Sqrt(Max(variance2, zero).v)) * V(perUnit));
    Put(kC3Error, row, x, count, good, V(hn::Sqrt(Max(variance3, zero).v)) * V(perUnit * perUnit));
    Put(kLimit, row, x, count, good, Choose(ended, s[2][10], Max(s[2][10], V(t[11]))));
    if (call_.ports[kDq].data == nullptr) return;
    HWY_ALIGN double part[kLanes];
    const V bits = OrZero(hn::Not(science), V(static_cast<double>(dq::kReferencePixel))) +
                   OrZero(hn::Not(good), V(static_cast<double>(dq::kNoCalibration)));
    hn::Store(bits.v, d, part);
    uint32_t* to = call_.ports[kDq].view<uint32_t>().at(0, row) + x;
    for (int i = 0; i < count; i++) to[i] = static_cast<uint32_t>(part[i]);
  }

  HWY_INLINE void Put(size_t port, int64_t row, int64_t x, int count, MD good, V value) {
    if (call_.ports[port].data == nullptr) return;
    HWY_ALIGN double part[kLanes];
    hn::Store(Choose(good, value, V(std::numeric_limits<double>::quiet_NaN())).v, DD(), part);
    float* to = call_.ports[port].view<float>().at(0, row) + x;
    for (int i = 0; i < count; i++) to[i] = static_cast<float>(part[i]);
  }

  const KernelCall& call_;
  const Params& params_;
  View<const float> first_, second_;
};

Status FitLinearity(const KernelCall& call) {
  Fitter(call).Run();
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::fit_linearity {
namespace {
HWY_EXPORT(FitLinearity);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(FitLinearity)(call); }
}  // namespace rampline::fit_linearity
#endif
