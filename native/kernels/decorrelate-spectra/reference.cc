// One column after the other, as it is defined: the dense inverse covariance, its eigenvectors by Jacobi's rotations, the
// symmetric root, and its rows over their sums.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "generated/decorrelate-spectra.h"

namespace rampline::decorrelate_spectra {
namespace {

using Matrix = std::vector<std::vector<double>>;
constexpr int kBand = 4;

double Cumulative(const float* low, const float* high, double part, double z) {
  const double at = std::clamp(z, 0.0, 480.0);
  const int i = std::min(static_cast<int>(at), 479);
  const double from = low[i] + part * (static_cast<double>(high[i]) - low[i]);
  const double to = low[i + 1] + part * (static_cast<double>(high[i + 1]) - low[i + 1]);
  return from + (to - from) * (at - i);
}

// [fibre][row]; 0 for a fibre that is left out, whose flux becomes 0.
Matrix Light(const KernelCall& call, int64_t x, std::vector<double>& flux) {
  const auto centre = call.ports[kCentre].view<const float>(), width = call.ports[kWidth].view<const float>();
  const auto profile = call.ports[kProfile].view<const float>(), ivar = call.ports[kIvar].view<const float>();
  const auto given = call.ports[kFlux].view<const float>();
  const int64_t rows = call.ports[kImage].planes, last = call.whole.cols - 1;
  const double position = last > 0 ? static_cast<double>(call.origin.x + x) * 8 / static_cast<double>(last) : 0;
  const int node = std::min(static_cast<int>(position), 7);
  Matrix light(static_cast<size_t>(centre.planes), std::vector<double>(static_cast<size_t>(rows), 0.0));
  flux.assign(light.size(), 0.0);
  for (int64_t f = 0; f < centre.planes; f++) {
    const double at = centre.at(f, 0)[x], wide = width.at(f, 0)[x], value = given.at(f, 0)[x];
    const bool placed = std::abs(at) < 1e6 && wide >= 0.3f && wide <= 5.0f;
    if (!placed || !(ivar.at(f, 0)[x] > 0) || !(std::abs(value) < 1e15f)) continue;
    flux[static_cast<size_t>(f)] = value;
    const double row = std::floor(static_cast<float>(at) + 0.5f);
    const auto edge = [&](double y) {
      return Cumulative(profile.at(f, node), profile.at(f, node + 1), position - node, 240 + 20 * (y - at) / wide);
    };
    for (int64_t y = 0; y < rows; y++) {
      const auto here = static_cast<double>(y);
      if (std::abs(here - row) > ParamsOf(call).reach) continue;
      const double p = edge(here + 0.5) - edge(here - 0.5);
      light[static_cast<size_t>(f)][static_cast<size_t>(y)] = std::abs(p) <= 2 ? p : 0;
    }
  }
  return light;
}

std::vector<double> Weights(const KernelCall& call, int64_t x, const Matrix& light, const std::vector<double>& flux) {
  const Params& params = ParamsOf(call);
  const auto image = call.ports[kImage].view<const float>(), ivar = call.ports[kImageIvar].view<const float>();
  const auto dq = call.ports[kImageDq].view<const uint32_t>();
  std::vector<double> weights(static_cast<size_t>(image.planes), 0.0);
  for (size_t y = 0; y < weights.size(); y++) {
    const auto row = static_cast<int64_t>(y);
    const float d = image.at(row, 0)[x], given = ivar.at(row, 0)[x];
    const bool use = (dq.at(row, 0)[x] & static_cast<uint32_t>(params.bad)) == 0 && std::abs(d) < 1e9f &&
                     given > 1e-12f && given < 1e12f;
    if (!use) continue;
    double model = 0, w = given;
    for (size_t f = 0; f < light.size(); f++) model += flux[f] * light[f][y];
    if (params.photonVariance > 0)
      w /= std::max(1 + w * params.photonVariance * (std::max(model, 0.0) - std::max(d, 0.0f)), 0.1);
    const double residual = d - model, part = params.profileError * model;
    const double limit = static_cast<double>(params.reject) * params.reject * (1 + w * part * part);
    const bool out = params.reject > 0 && residual > 0 && residual * residual * w > limit;
    weights[y] = out ? 0 : w;
  }
  return weights;
}

// Inverse covariance; 0 in the rows and columns of fibres that drop out.
Matrix Information(const Matrix& light, const std::vector<double>& weights) {
  const size_t n = light.size();
  Matrix normal(n, std::vector<double>(n, 0.0));
  std::vector<double> squares(n, 0.0);
  for (size_t f = 0; f < n; f++) {
    for (size_t y = 0; y < weights.size(); y++) {
      if (weights[y] > 0) squares[f] += light[f][y] * light[f][y];
      for (size_t g = 0; g < n; g++) normal[f][g] += weights[y] * light[f][y] * light[g][y];
    }
  }
  Matrix left = normal;  // by the fibres before
  std::vector<bool> kept(n);
  for (size_t f = 0; f < n; f++) {
    kept[f] = normal[f][f] > 0 && squares[f] >= 1e-10f && left[f][f] >= 0.02f * normal[f][f];
    if (!kept[f]) continue;
    for (size_t g = f + 1; g < n; g++) {
      const double times = left[g][f] / left[f][f];
      for (size_t k = f; k < n; k++) left[g][k] -= times * left[f][k];
    }
  }
  for (size_t f = 0; f < n; f++) {
    for (size_t g = 0; g < n; g++) {
      if (!kept[f] || !kept[g]) normal[f][g] = 0;
    }
  }
  return normal;
}

// V sqrt(lambda) V^T.
Matrix Root(Matrix a) {
  const size_t n = a.size();
  Matrix v(n, std::vector<double>(n, 0.0));
  for (size_t i = 0; i < n; i++) v[i][i] = 1;
  for (int sweep = 0; sweep < 30; sweep++) {
    for (size_t p = 0; p < n; p++) {
      for (size_t q = p + 1; q < n; q++) {
        if (a[p][q] == 0) continue;
        const double angle = 0.5 * std::atan2(2 * a[p][q], a[q][q] - a[p][p]);
        const double c = std::cos(angle), s = std::sin(angle);
        for (size_t k = 0; k < n; k++) {
          const double kp = a[k][p], kq = a[k][q], vp = v[k][p], vq = v[k][q];
          a[k][p] = c * kp - s * kq;
          a[k][q] = s * kp + c * kq;
          v[k][p] = c * vp - s * vq;
          v[k][q] = s * vp + c * vq;
        }
        for (size_t k = 0; k < n; k++) {
          const double pk = a[p][k], qk = a[q][k];
          a[p][k] = c * pk - s * qk;
          a[q][k] = s * pk + c * qk;
        }
      }
    }
  }
  Matrix root(n, std::vector<double>(n, 0.0));
  for (size_t i = 0; i < n; i++) {
    for (size_t j = 0; j < n; j++) {
      for (size_t k = 0; k < n; k++) root[i][j] += v[i][k] * std::sqrt(std::max(a[k][k], 0.0)) * v[j][k];
    }
  }
  return root;
}

}  // namespace

Status Reference(const KernelCall& call) {
  const auto decorrelated = call.ports[kDecorrelated].view<float>(), error = call.ports[kError].view<float>();
  const auto resolution = call.ports[kResolution].view<float>();
  const auto n = static_cast<int>(decorrelated.planes);
  for (int64_t x = 0; x < decorrelated.cols; x++) {
    std::vector<double> flux;
    const Matrix light = Light(call, x, flux);
    const Matrix normal = Information(light, Weights(call, x, light, flux));
    const Matrix root = Root(normal);
    for (int f = 0; f < n; f++) {
      double sum = 0, seen = 0;
      for (int g = std::max(0, f - kBand); g <= std::min(n - 1, f + kBand); g++) {
        sum += root[static_cast<size_t>(f)][static_cast<size_t>(g)];
        seen += root[static_cast<size_t>(f)][static_cast<size_t>(g)] * flux[static_cast<size_t>(g)];
      }
      const double own = std::sqrt(normal[static_cast<size_t>(f)][static_cast<size_t>(f)]);
      const bool known = own > 0 && sum >= 0.5 * own;
      decorrelated.at(f, 0)[x] = known ? static_cast<float>(seen / sum) : std::numeric_limits<float>::quiet_NaN();
      error.at(f, 0)[x] = known ? static_cast<float>(1 / sum) : std::numeric_limits<float>::quiet_NaN();
      for (int k = 0; k <= 2 * kBand; k++) {
        const int g = f + k - kBand;
        const bool there = known && g >= 0 && g < n;
        resolution.at(f, k)[x] =
            there ? static_cast<float>(root[static_cast<size_t>(f)][static_cast<size_t>(g)] / sum) : 0;
      }
    }
  }
  return Ok();
}

}  // namespace rampline::decorrelate_spectra
