#include <algorithm>
#include <cmath>
#include <limits>

#include "generated/dq.h"
#include "generated/fit-linearity.h"

namespace rampline::fit_linearity {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

struct Symmetric {
  double a = 0, b = 0, c = 0;  // 22, 23, 33
};
Symmetric operator+(Symmetric p, Symmetric q) { return {p.a + q.a, p.b + q.b, p.c + q.c}; }
double Quadratic(Symmetric m, double u, double v) {  // (u, v) m^-1 (u, v)'
  return (m.c * u * u - 2 * m.b * u * v + m.a * v * v) / (m.a * m.c - m.b * m.b);
}

// Solution of a pixel's equations and its covariance over the inverse gain.
struct Solution {
  double c2 = 0, c3 = 0;
  Symmetric u;
  bool valid = false;
};
Solution Solve(const double* s) {
  Solution out;
  const double det = s[0] * s[3] - s[1] * s[2];
  if (!(s[9] >= 8) || !(std::abs(det) > 1e-6 * (std::abs(s[0] * s[3]) + std::abs(s[1] * s[2])))) return out;
  const double i00 = s[3] / det, i01 = -s[1] / det, i10 = -s[2] / det, i11 = s[0] / det;
  out.c2 = -(i00 * s[4] + i01 * s[5]);
  out.c3 = -(i10 * s[4] + i11 * s[5]);
  out.u.a = i00 * i00 * s[6] + 2 * i00 * i01 * s[7] + i01 * i01 * s[8];
  out.u.b = i00 * i10 * s[6] + (i00 * i11 + i01 * i10) * s[7] + i01 * i11 * s[8];
  out.u.c = i10 * i10 * s[6] + 2 * i10 * i11 * s[7] + i11 * i11 * s[8];
  out.valid = out.u.a > 0 && out.u.c > 0 && out.u.a * out.u.c - out.u.b * out.u.b > 1e-9 * out.u.a * out.u.c;
  return out;
}

}  // namespace

Status Reference(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto first = call.ports[kFirst].view<const float>(), second = call.ports[kSecond].view<const float>();
  const double* table = call.ports[kTable].view<const double>().at(0, 0);
  const auto sums = call.ports[kSums].view<double>();
  const auto put = [&](size_t port, int64_t row, int64_t x, double value) {
    if (call.ports[port].data != nullptr) call.ports[port].view<float>().at(0, row)[x] = static_cast<float>(value);
  };
  const double unit = params.unit;
  for (int64_t row = 0; row < first.rows; row++) {
    std::fill(sums.at(0, row), sums.at(0, row) + 144, 0.0);
    const int64_t y = call.origin.row + row;
    const bool edge = y < params.border || y >= call.whole.rows - params.border;
    for (int64_t amplifier = 0; amplifier < 4; amplifier++) {
      const double* t = table + 12 * amplifier;
      double* out = sums.at(0, row) + 36 * amplifier;
      const Symmetric scatter{t[2], t[3], t[4]};
      for (int64_t x = first.cols * amplifier / 4; x < first.cols * (amplifier + 1) / 4; x++) {
        const bool isReference = edge || x < params.border || x >= first.cols - params.border;
        double s[3][12];
        for (int i = 0; i < 12; i++) {
          s[0][i] = first.at(i, row)[x];
          s[1][i] = second.at(i, row)[x];
          s[2][i] = i == 10 ? std::max(s[0][i], s[1][i]) : s[0][i] + s[1][i];
        }
        const Solution one = Solve(s[0]), other = Solve(s[1]), both = Solve(s[2]);
        const bool known = t[5] > 0, measured = both.valid && !isReference;
        const Symmetric v{t[5] * both.u.a, t[5] * both.u.b, t[5] * both.u.c}, total = v + scatter;
        const double d2 = both.c2 - t[0], d3 = both.c3 - t[1];
        const double determinant = total.a * total.c - total.b * total.b;
        const bool usable = measured && (!known || determinant > 0);
        const double chi = usable && known ? Quadratic(total, d2, d3) : 0;
        const bool odd = usable && chi > static_cast<double>(params.outlier) * params.outlier;
        out[31] += usable ? 1 : 0;
        out[32] += odd ? 1 : 0;
        if (usable && one.valid && other.valid &&
            (!known || (chi <= static_cast<double>(params.clip) * params.clip && v.a <= t[9] && v.c <= t[10]))) {
          out[0]++;
          for (int h = 0; h < 2; h++) {
            for (int i = 0; i < 9; i++) out[1 + 9 * h + i] += s[h][i];
          }
          const double a2 = one.c2 - t[0], a3 = one.c3 - t[1], b2 = other.c2 - t[0], b3 = other.c3 - t[1];
          out[19] += Quadratic(one.u + other.u, a2 - b2, a3 - b3);
          out[20] += a2;
          out[21] += a3;
          out[22] += b2;
          out[23] += b3;
          const double products[3] = {a2 * b2, 0.5 * (a2 * b3 + a3 * b2), a3 * b3};
          for (int i = 0; i < 3; i++) {
            out[24 + i] += products[i];
            out[27 + i] += products[i] * products[i];
          }
          out[30] += s[2][10];
        }
        // K = T (T + V)^-1
        double k00 = 0, k01 = 0, k10 = 0, k11 = 0;
        if (usable && known) {
          k00 = (scatter.a * total.c - scatter.b * total.b) / determinant;
          k01 = (scatter.b * total.a - scatter.a * total.b) / determinant;
          k10 = (scatter.b * total.c - scatter.c * total.b) / determinant;
          k11 = (scatter.c * total.a - scatter.b * total.b) / determinant;
        }
        const double r00 = 1 - k00, r11 = 1 - k11;
        const double variance2 = r00 * t[2] - k01 * t[3] + r00 * r00 * t[6] - 2 * r00 * k01 * t[7] + k01 * k01 * t[8];
        const double variance3 = r11 * t[4] - k10 * t[3] + k10 * k10 * t[6] - 2 * r11 * k10 * t[7] + r11 * r11 * t[8];
        const bool ended = !isReference && s[2][11] > 0;
        const bool good = known && !odd && !(ended && s[2][10] <= 0);
        put(kC2, row, x, good ? (t[0] + k00 * d2 + k01 * d3) / unit : kNone);
        put(kC3, row, x, good ? (t[1] + k10 * d2 + k11 * d3) / (unit * unit) : kNone);
        put(kC2Error, row, x, good ? std::sqrt(std::max(variance2, 0.0)) / unit : kNone);
        put(kC3Error, row, x, good ? std::sqrt(std::max(variance3, 0.0)) / (unit * unit) : kNone);
        put(kLimit, row, x, !good ? kNone : ended ? s[2][10] : std::max(s[2][10], t[11]));
        if (call.ports[kDq].data != nullptr) {
          call.ports[kDq].view<uint32_t>().at(0, row)[x] =
              (isReference ? dq::kReferencePixel : 0) | (good ? 0 : dq::kNoCalibration);
        }
      }
    }
  }
  return Ok();
}

}  // namespace rampline::fit_linearity
