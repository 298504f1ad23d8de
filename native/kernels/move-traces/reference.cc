#include "generated/move-traces.h"

namespace rampline::move_traces {

// Bonnet: (n + 1) P_{n+1} = (2 n + 1) t P_n - n P_{n-1}.
static double Legendre(int n, double t) {
  double p = 1, before = 0;
  for (int k = 0; k < n; k++) {
    const double next = ((2 * k + 1) * t * p - k * before) / (k + 1);
    before = p;
    p = next;
  }
  return p;
}

Status Reference(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto centre = call.ports[kCentre].view<const float>();
  const double* terms = call.ports[kTerms].view<const double>().data;
  for (int64_t row = 0; row < centre.rows; row++) {
    for (int64_t x = 0; x < centre.cols; x++) {
      const double c = centre.at(0, row)[x];
      const double u = 2 * static_cast<double>(call.origin.x + x) / (params.columns - 1) - 1;
      const double v = 2 * c / (params.rows - 1) - 1;
      double shift = 0;
      for (int i = 0; i < 4; i++) {
        for (int j = 0; j < 4; j++) shift += terms[4 * i + j] * Legendre(i, u) * Legendre(j, v);
      }
      call.ports[kMoved].view<float>().at(0, row)[x] = static_cast<float>(c + shift);
      const double width = call.ports[kWidth].view<const float>().at(0, row)[x];
      call.ports[kStretched].view<float>().at(0, row)[x] = static_cast<float>(width * params.factor);
    }
  }
  return Ok();
}

}  // namespace rampline::move_traces
