#include <algorithm>

#include "generated/evaluate-illumination.h"

namespace rampline::evaluate_illumination {

static void Polynomials(double at, double first, double last, int order, double* p) {
  const double u = std::clamp((2 * at - first - last) / (last - first), -1.0, 1.0);
  p[0] = 1;
  if (order > 0) p[1] = u;
  for (int k = 1; k < order; k++) p[k + 1] = ((2 * k + 1) * u * p[k] - k * p[k - 1]) / (k + 1);
}

Status Reference(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  if (!(params.lastX > params.firstX && params.lastY > params.firstY)) {
    return Fail(Code::kUsage, "the last column and row must be greater than the first");
  }
  const auto coefficients = call.ports[kCoefficients].view<const double>();
  const auto model = call.ports[kModel].view<float>();
  double px[31], py[31];
  for (int64_t row = 0; row < model.rows; row++) {
    Polynomials(static_cast<double>(call.origin.row + row), params.firstY, params.lastY, params.order, py);
    for (int64_t x = 0; x < model.cols; x++) {
      Polynomials(static_cast<double>(call.origin.x + x), params.firstX, params.lastX, params.order, px);
      double sum = 0;
      for (int a = 0; a <= params.order; a++) {
        for (int i = 0; i <= params.order; i++) sum += coefficients.at(0, a)[i] * py[a] * px[i];
      }
      model.at(0, row)[x] = static_cast<float>(sum);
    }
  }
  return Ok();
}

}  // namespace rampline::evaluate_illumination
