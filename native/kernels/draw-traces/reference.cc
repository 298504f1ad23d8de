#include <algorithm>

#include "generated/draw-traces.h"

namespace rampline::draw_traces {
namespace {

// The polynomial by its explicit sum of powers of (u - 1) / 2.
double Legendre(int k, double u) {
  double sum = 0, term = 1;
  for (int i = 0; i <= k; i++) {
    sum += term;
    term *= static_cast<double>(k - i) * (k + i + 1) / ((i + 1.0) * (i + 1.0)) * (u - 1) / 2;
  }
  return sum;
}

// Which of flux, centre and width a term is of, and its order.
int SeriesOf(int term) { return term < 12 ? 0 : term < 22 ? 1 : 2; }
int OrderOf(int term) { return term < 12 ? term : term < 22 ? term - 12 : term - 22; }

double PlaceOf(int64_t x, int64_t columns) {
  if (columns <= 1) return 0;
  return std::min(static_cast<double>(2 * x - (columns - 1)) / static_cast<double>(columns - 1), 1.0);
}

double Covariance(const double* packed, int a, int b, double u) {
  double sum = 0;
  for (int i = 0; i < 28; i++) {
    for (int j = 0; j < 28; j++) {
      if (SeriesOf(i) != a || SeriesOf(j) != b) continue;
      const int low = i < j ? i : j, high = i < j ? j : i;
      sum += packed[high * (high + 1) / 2 + low] * Legendre(OrderOf(i), u) * Legendre(OrderOf(j), u);
    }
  }
  return sum;
}

}  // namespace

Status Reference(const KernelCall& call) {
  const int64_t columns = ParamsOf(call).columns;
  const auto flux = call.ports[kFlux].view<float>();
  const auto errors = call.ports[kErrors].view<float>();
  const auto covariance = call.ports[kCovariance].view<const double>();
  for (int64_t row = 0; row < flux.rows; row++) {
    const double* terms = call.ports[kTerms].view<const double>().at(0, row);
    for (int64_t x = 0; x < flux.cols; x++) {
      const int64_t column = call.origin.x + x;
      double value[3] = {0, 0, 0};
      for (int i = 0; i < 28; i++) value[SeriesOf(i)] += terms[i] * Legendre(OrderOf(i), PlaceOf(column, columns));
      flux.at(0, row)[x] = static_cast<float>(value[0]);
      call.ports[kCentre].view<float>().at(0, row)[x] = static_cast<float>(value[1]);
      call.ports[kWidth].view<float>().at(0, row)[x] = static_cast<float>(value[2]);
    }
    if (errors.data == nullptr) continue;
    for (int64_t x = 0; x < flux.cols; x++) {
      const int64_t column = call.origin.x + x, knot = column / 16 * 16;
      const double part = static_cast<double>(column - knot) / 16;
      int plane = 0;
      for (int a = 0; a < 3; a++) {
        for (int b = a; b < 3; b++, plane++) {
          double value = 0;
          if (covariance.data != nullptr) {
            const double* packed = covariance.at(0, row);
            value = (1 - part) * Covariance(packed, a, b, PlaceOf(knot, columns)) +
                    part * Covariance(packed, a, b, PlaceOf(knot + 16, columns));
          }
          errors.at(plane, row)[x] = static_cast<float>(value);
        }
      }
    }
  }
  return Ok();
}

}  // namespace rampline::draw_traces
