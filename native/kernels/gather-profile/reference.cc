#include <algorithm>
#include <cmath>
#include <vector>

#include "generated/gather-profile.h"

namespace rampline::gather_profile {
namespace {

constexpr int64_t kFibres = 300, kSamples = 481, kComponents = 46, kSide = 48, kNodes = 8, kNeighbours = 4;
constexpr int64_t kPixels = kSide * (kSide + 1) / 2;  // behind the triangle
constexpr double kReach = 12, kPerPixel = 20;

bool Sane(double v) { return std::abs(v) < 1e15; }

}  // namespace

Status Reference(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto image = call.ports[kImage].view<const float>(), ivar = call.ports[kIvar].view<const float>();
  const auto centre = call.ports[kCentre].view<const float>(), width = call.ports[kWidth].view<const float>();
  const auto flux = call.ports[kFlux].view<const float>(), basis = call.ports[kBasis].view<const float>();
  const auto moments = call.ports[kMoments].view<double>();
  for (int64_t s = 0; s < kSamples; s++) {
    for (int64_t k = 0; k < kComponents; k++) {
      if (!Sane(basis.at(0, s)[k])) return Fail(Code::kUsage, "a function of the basis is not finite");
    }
  }
  const auto cumulative = [&](double z, int64_t k) {
    const double at = std::clamp((z + kReach) * kPerPixel, 0.0, static_cast<double>(kSamples - 1));
    const int64_t i = std::min<int64_t>(static_cast<int64_t>(at), kSamples - 2);
    const double low = basis.at(0, i)[k], high = basis.at(0, i + 1)[k];
    return low + (high - low) * (at - static_cast<double>(i));
  };
  const auto usable = [&](int64_t f, int64_t x) {
    const double w = width.at(0, f)[x];
    return std::abs(static_cast<double>(centre.at(0, f)[x])) < 1e6 && Sane(flux.at(0, f)[x]) && w > 0.05 && w < 20;
  };
  const auto counts = [&](int64_t y, int64_t x) {
    const double d = image.at(y, 0)[x], w = ivar.at(y, 0)[x];
    if (!(w > 0) || !Sane(w) || !Sane(d)) return false;
    if (call.ports[kExpected].data == nullptr) return true;
    const double e = call.ports[kExpected].view<const float>().at(y, 0)[x];
    const double allowed = params.model * e, c = params.clip;
    return (d - e) * (d - e) <= c * c * (1 / w + allowed * allowed);
  };
  // Mean of a number of the columns by weights; 0 without any.
  const auto mean = [](const std::vector<int64_t>& columns, const auto& weight, const auto& value) {
    double sum = 0, all = 0;
    for (const int64_t x : columns) {
      if (!(weight(x) > 0)) continue;
      sum += weight(x) * value(x);
      all += weight(x);
    }
    return all > 0 ? sum / all : 0;
  };
  for (int64_t row = 0; row < moments.rows; row++) {
    const int64_t first = (call.origin.row + row) * params.fibres;
    const int64_t last = std::min(first + params.fibres, kFibres) - 1;
    for (int64_t node = 0; node < kNodes; node++) {
      double* sums = moments.at(node, row);
      std::fill_n(sums, kPixels + 1, 0.0);
      std::vector<std::vector<int64_t>> groups;
      for (int64_t x = 0; x < image.cols; x++) {
        // Twice the distance from the middle of the eighth, in eighths of a column.
        const int64_t distance = std::abs(2 * kNodes * x - (2 * node + 1) * image.cols);
        if (x * kNodes / image.cols != node || distance > kNodes * params.window) continue;
        if (groups.empty() || static_cast<int64_t>(groups.back().size()) == params.columns) groups.emplace_back();
        groups.back().push_back(x);
      }
      for (const std::vector<int64_t>& columns : groups) {
        // The fibres near, with their mean places.
        std::vector<int64_t> near;
        std::vector<double> place, perWidth;
        for (int64_t f = std::max<int64_t>(0, first - kNeighbours); f <= std::min(kFibres - 1, last + kNeighbours);
             f++) {
          const auto one = [&](int64_t x) { return usable(f, x) ? 1.0 : 0.0; };
          if (std::none_of(columns.begin(), columns.end(), [&](int64_t x) { return usable(f, x); })) continue;
          near.push_back(f);
          place.push_back(mean(columns, one, [&](int64_t x) { return static_cast<double>(centre.at(0, f)[x]); }));
          perWidth.push_back(mean(columns, one, [&](int64_t x) { return 1.0 / width.at(0, f)[x]; }));
        }
        for (int64_t y = 0; y < image.planes; y++) {
          // The fibre of the block that is nearest, and whether one beyond the block is nearer still.
          double nearest = kReach, beyond = 1e30;
          for (size_t i = 0; i < near.size(); i++) {
            const double distance = std::abs(static_cast<double>(y) - place[i]);
            // Of two at the same distance the lower fibre has the pixel.
            if (near[i] < first) beyond = std::min(beyond, distance);
            if (near[i] >= first && near[i] <= last) nearest = std::min(nearest, distance);
            if (near[i] > last) beyond = std::min(beyond, std::nextafter(distance, 1e300));
          }
          if (!(nearest < kReach && nearest < beyond)) continue;
          const auto weight = [&](int64_t x) { return counts(y, x) ? static_cast<double>(ivar.at(y, 0)[x]) : 0; };
          double w = 0;
          for (const int64_t x : columns) w += weight(x);
          if (!(w > 0)) continue;
          std::vector<double> r(kSide, 0.0);
          for (size_t i = 0; i < near.size(); i++) {
            const int64_t f = near[i];
            const auto sent = [&](int64_t x) { return usable(f, x) ? static_cast<double>(flux.at(0, f)[x]) : 0; };
            const auto light = [&](int64_t x) { return weight(x) * std::abs(sent(x)); };
            const auto off = [&](int64_t x) { return centre.at(0, f)[x] - place[i]; };
            const double middle = mean(columns, light, off);
            const double spread =
                std::sqrt(mean(columns, light, [&](int64_t x) { return (off(x) - middle) * (off(x) - middle); }));
            const double all = mean(columns, weight, sent);
            for (const double side : {-1.0, 1.0}) {
              const double z = static_cast<double>(y) - (place[i] + middle + side * spread);
              for (int64_t k = 0; k < kComponents; k++) {
                r[static_cast<size_t>(k)] +=
                    0.5 * all * (cumulative((z + 0.5) * perWidth[i], k) - cumulative((z - 0.5) * perWidth[i], k));
              }
            }
          }
          r[kComponents] = 1;
          r[kComponents + 1] = mean(columns, weight, [&](int64_t x) { return static_cast<double>(image.at(y, 0)[x]); });
          sums[kPixels]++;
          for (int64_t i = 0; i < kSide; i++) {
            for (int64_t j = 0; j <= i; j++) {
              sums[i * (i + 1) / 2 + j] += w * r[static_cast<size_t>(i)] * r[static_cast<size_t>(j)];
            }
          }
        }
      }
    }
  }
  return Ok();
}

}  // namespace rampline::gather_profile
