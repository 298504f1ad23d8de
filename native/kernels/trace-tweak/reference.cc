#include <algorithm>
#include <array>
#include <cmath>

#include "generated/trace-tweak.h"

namespace rampline::trace_tweak {
namespace {

// Cumulative profile of a fibre for the group of 32 columns around column x, and its slope.
class Table {
 public:
  Table(const View<const float>& profile, int64_t fibre, int64_t x, int columns) {
    const double at = (static_cast<double>(x / 32 * 32) + 15.5) * 8 / (columns - 1);
    const auto node = static_cast<int64_t>(std::min(at, 7.0));
    const double part = std::min(at - static_cast<double>(node), 1.0);
    for (int i = 0; i < 481; i++) {
      light_[i] = (1 - part) * profile.at(fibre, node)[i] + part * profile.at(fibre, node + 1)[i];
    }
    for (int i = 1; i < 480; i++) slope_[i] = (light_[i + 1] - light_[i - 1]) / 0.1;
  }
  double Light(float z) const { return Between(light_, z); }
  double Slope(float z) const { return Between(slope_, z); }

 private:
  static double Between(const std::array<double, 481>& table, float z) {
    const double at = std::clamp((z + 12) * 20, 0.0f, 480.0f);
    const int i = std::min(static_cast<int>(at), 479);
    return table[i] * (i + 1 - at) + table[i + 1] * (at - i);
  }
  std::array<double, 481> light_{}, slope_{};
};

// Place of a pixel's edge in widths from a centre. Positions are floats here too: tables that are drawn at random jump so much
// from sample to sample that the last bit of a position would be all that is compared.
float Place(int64_t y, float half, float centre, float width) {
  return (static_cast<float>(y) - centre + half) * (1.0f / width);
}

bool Sane(double centre, double width) { return std::abs(centre) < 1e6 && width > 0.01f && width < 100; }

}  // namespace

Status Reference(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto image = call.ports[kImage].view<const float>(), ivar = call.ports[kIvar].view<const float>();
  const auto dq = call.ports[kDq].view<const uint32_t>();
  const auto centre = call.ports[kCentre].view<const float>(), width = call.ports[kWidth].view<const float>();
  const auto flux = call.ports[kFlux].view<const float>(), profile = call.ports[kProfile].view<const float>();
  for (int64_t row = 0; row < image.rows; row++) {
    for (int64_t k = 0; k < centre.planes; k++) {
      double* sums = call.ports[kSums].view<double>().at(k, row);
      std::fill_n(sums, 11, 0.0);
      for (int64_t x = 0; x < image.cols; x++) {
        call.ports[kFitted].view<float>().at(k, row)[x] = 0;
        const float c = centre.at(k, row)[x], w = width.at(k, row)[x];
        if (!Sane(c, w)) continue;
        const int64_t column = (call.origin.row + row) * params.stride + x;
        const Table own(profile, k, column, params.columns);
        // The normal equations of background, flux, centre, width and data.
        double n[5][5] = {}, square = 0;
        int number = 0;
        const auto middle = static_cast<int64_t>(std::floor(c + 0.5f));
        for (int64_t y = middle - 4; y <= middle + 4; y++) {
          if (y < 0 || y >= image.planes) continue;
          double data = image.at(y, row)[x];
          const double weight = ivar.at(y, row)[x];
          const bool bad = dq.data != nullptr && (dq.at(y, row)[x] & static_cast<uint32_t>(params.skip)) != 0;
          if (bad || !(weight > 0 && weight < 1e30 && std::abs(data) < 1e30)) continue;
          for (int64_t other = k - 1; other <= k + 1 && flux.data != nullptr; other += 2) {
            if (other < 0 || other >= centre.planes) continue;
            const float oc = centre.at(other, row)[x], ow = width.at(other, row)[x], of = flux.at(other, row)[x];
            if (!Sane(oc, ow) || !(std::abs(of) < 1e30)) continue;
            const Table table(profile, other, column, params.columns);
            data -= of * (table.Light(Place(y, 0.5f, oc, ow)) - table.Light(Place(y, -0.5f, oc, ow)));
          }
          const float high = Place(y, 0.5f, c, w), low = Place(y, -0.5f, c, w);
          const double shape = own.Light(high) - own.Light(low);
          const double move = (own.Slope(low) - own.Slope(high)) / w;
          const double widen = low * own.Slope(low) - high * own.Slope(high);
          const double v[5] = {1, shape, move, widen, data};
          for (int i = 0; i < 5; i++) {
            for (int j = 0; j < 5; j++) n[i][j] += weight * v[i] * v[j];
          }
          square += weight * shape * shape;
          number++;
        }
        if (number < 5 || !(square > 0)) continue;
        // Eliminate the background, then the flux.
        for (int i = 1; i < 5; i++) {
          for (int j = 1; j < 5; j++) n[i][j] -= n[i][0] * n[0][j] / n[0][0];
        }
        const double power = n[1][1] + 1e-4 * square, f = n[1][4] / power;
        const double a[5] = {0, 0, n[1][2] / power, n[1][3] / power, f};
        double s[5][5];
        for (int i = 2; i < 5; i++) {
          for (int j = 2; j < 5; j++) s[i][j] = n[i][j] - a[i] * n[1][j] - a[j] * n[1][i] + a[i] * a[j] * n[1][1];
        }
        const double doubt = s[4][4] / (number - 2) / params.doubt, belief = 1 / (1 + doubt * doubt);
        // g = f z / (z + 9), its derivative, and the estimate of the true flux times g.
        const double z = f * f * power, g = f * z / (z + 9), slope = (z * z + 27 * z) / ((z + 9) * (z + 9));
        const double sure = belief * (f * g - slope / power), noisy = belief * belief * g * g;
        const double list[11] = {belief * g * s[2][4],   belief * g * s[3][4], sure * s[2][2],       sure * s[2][3],
                                 sure * s[3][3],         noisy * s[2][2],      noisy * s[2][3],      noisy * s[3][3],
                                 f > 0 ? belief * z : 0, belief * s[4][4],     belief * (number - 2)};
        for (int i = 0; i < 11; i++) sums[i] += list[i];
        call.ports[kFitted].view<float>().at(k, row)[x] = static_cast<float>(g);
      }
    }
  }
  return Ok();
}

}  // namespace rampline::trace_tweak
