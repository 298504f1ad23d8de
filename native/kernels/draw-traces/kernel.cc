#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/draw-traces/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>

#include "generated/draw-traces.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;
using namespace rampline::draw_traces;  // NOLINT: the generated ports and parameters

constexpr int kOrders[3] = {12, 10, 6};
constexpr int kStarts[4] = {0, 12, 22, 28};
constexpr int kAll = 28;
constexpr int64_t kKnot = 16;

using D = hn::CappedTag<double, 8>;
using V = hn::Vec<D>;

// Legendre polynomials at u; no series has more than 12 terms.
void Legendre(double u, double* p) {
  p[0] = 1;
  p[1] = u;
  for (int k = 1; k < 11; k++) p[k + 1] = ((2 * k + 1) * u * p[k] - k * p[k - 1]) / (k + 1);
}

double PlaceOf(int64_t x, int64_t columns) {
  return columns > 1 ? std::min(2.0 * static_cast<double>(x) / static_cast<double>(columns - 1) - 1, 1.0) : 0;
}

// Eight columns of the three series.
HWY_INLINE void Series(const double* terms, V u, V* out) {
  const D d;
  V p = hn::Set(d, 1.0), before = hn::Zero(d);
  for (int s = 0; s < 3; s++) out[s] = hn::Zero(d);
  for (int k = 0; k < kOrders[0]; k++) {
    for (int s = 0; s < 3; s++) {
      if (k < kOrders[s]) out[s] = hn::MulAdd(hn::Set(d, terms[kStarts[s] + k]), p, out[s]);
    }
    const V next = hn::Mul(hn::Mul(hn::Set(d, (2.0 * k + 1) / (k + 1)), u), p);
    const V following = hn::Sub(next, hn::Mul(hn::Set(d, static_cast<double>(k) / (k + 1)), before));
    before = p;
    p = following;
  }
}

// Covariance of the three values at u.
void Errors(const double* covariance, double u, double* out) {
  double p[12];
  Legendre(u, p);
  double basis[kAll];
  for (int s = 0; s < 3; s++) {
    for (int k = 0; k < kOrders[s]; k++) basis[kStarts[s] + k] = p[k];
  }
  int to = 0;
  for (int a = 0; a < 3; a++) {
    for (int b = a; b < 3; b++) {
      double sum = 0;
      for (int i = kStarts[b]; i < kStarts[b + 1]; i++) {
        const double* row = covariance + i * (i + 1) / 2;
        double inner = 0;
        // Of a block on the diagonal the lower triangle counts twice.
        const int end = a == b ? i : kStarts[a + 1];
        for (int j = kStarts[a]; j < end; j++) inner += row[j] * basis[j];
        sum += basis[i] * (a == b ? 2 * inner + row[i] * basis[i] : inner);
      }
      out[to++] = sum;
    }
  }
}

Status DrawTraces(const KernelCall& call) {
  const int64_t columns = ParamsOf(call).columns;
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto terms = call.ports[kTerms].view<const double>(), covariance = call.ports[kCovariance].view<const double>();
  const View<float> out[3] = {call.ports[kFlux].view<float>(), call.ports[kCentre].view<float>(),
                              call.ports[kWidth].view<float>()};
  const auto errors = call.ports[kErrors].view<float>();
  const int64_t cols = out[0].cols;
  HWY_ALIGN double lane[8];
  for (int64_t row = 0; row < out[0].rows; row++) {
    for (int64_t x = 0; x < cols; x += lanes) {
      for (int64_t i = 0; i < lanes; i++) lane[i] = PlaceOf(call.origin.x + x + i, columns);
      V values[3];
      Series(terms.at(0, row), hn::Load(d, lane), values);
      for (int s = 0; s < 3; s++) {
        hn::Store(values[s], d, lane);
        for (int64_t i = 0; i < std::min(lanes, cols - x); i++) out[s].at(0, row)[x + i] = static_cast<float>(lane[i]);
      }
    }
    if (errors.data == nullptr) continue;
    if (covariance.data == nullptr) {
      for (int v = 0; v < 6; v++) std::fill_n(errors.at(v, row), cols, 0.0f);
      continue;
    }
    double left[6], right[6];
    int64_t knot = -1;
    for (int64_t x = 0; x < cols; x++) {
      const int64_t here = (call.origin.x + x) / kKnot;
      if (here != knot) {
        Errors(covariance.at(0, row), PlaceOf(here * kKnot, columns), left);
        Errors(covariance.at(0, row), PlaceOf((here + 1) * kKnot, columns), right);
        knot = here;
      }
      const double part = static_cast<double>(call.origin.x + x - here * kKnot) / kKnot;
      for (int v = 0; v < 6; v++) errors.at(v, row)[x] = static_cast<float>(left[v] + (right[v] - left[v]) * part);
    }
  }
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::draw_traces {
namespace {
HWY_EXPORT(DrawTraces);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(DrawTraces)(call); }
}  // namespace rampline::draw_traces
#endif
