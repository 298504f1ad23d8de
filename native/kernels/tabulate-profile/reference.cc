#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "generated/tabulate-profile.h"

namespace rampline::tabulate_profile {
namespace {

constexpr int kSamples = 481, kComponents = 46, kPerPixel = 20, kReach = 12, kNear = 4;

using Table = std::array<double, kSamples>;

// The table `by` samples on: Lagrange's cubic through four samples; beyond its ends it stays as it ends.
Table Moved(const Table& table, double by) {
  Table out;
  for (int s = 0; s < kSamples; s++) {
    const double at = s + by, t = at - std::floor(at);
    double sum = 0;
    for (int i = -1; i <= 2; i++) {
      double share = 1;
      for (int j = -1; j <= 2; j++) share *= j == i ? 1 : (t - j) / (i - j);
      const int place = static_cast<int>(std::floor(at)) + i;
      sum += share * table[static_cast<size_t>(std::clamp(place, 0, kSamples - 1))];
    }
    out[static_cast<size_t>(s)] = sum;
  }
  return out;
}

// Mean place of the light within 4 px of the middle [px]; NaN without light.
double Centroid(const Table& table, double all) {
  double sum = 0, light = 0;
  for (size_t s = (kReach - kNear) * kPerPixel; s < (kReach + kNear) * kPerPixel; s++) {
    const double step = table[s + 1] - table[s];
    sum += step * ((static_cast<double>(s) + 0.5) / kPerPixel - kReach);
    light += step;
  }
  return light > 1e-9 * all ? sum / light : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace

Status Reference(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto basis = call.ports[kBasis].view<const float>();
  const auto parts = call.ports[kParts].view<const double>();
  const auto cumulative = call.ports[kCumulative].view<float>();
  const auto moved = call.ports[kMoved].view<double>();
  for (int64_t row = 0; row < parts.rows; row++) {
    Table table;
    double most = 0;
    bool sane = true;
    for (int64_t s = 0; s < kSamples; s++) {
      double sum = 0;
      for (int64_t k = 0; k < kComponents; k++) {
        const double part = parts.at(0, row)[k];
        const double used = params.positive && part < 0 ? 0 : part;
        if (used != 0) sum += used * (static_cast<double>(basis.at(0, k)[s]) - basis.at(0, k)[0]);
      }
      sane = sane && std::abs(sum) < 1e15;
      most = std::max(most, sum);
      table[static_cast<size_t>(s)] = most;
    }
    double shift = 0;
    for (int round = 0; round < 5 && sane && std::isfinite(shift); round++) {
      shift =
          std::clamp(shift + Centroid(Moved(table, shift * kPerPixel), table[kSamples - 1]), 1.0 - kNear, kNear - 1.0);
    }
    const bool some = sane && std::isfinite(shift);
    moved.at(0, row)[0] = some ? shift : std::numeric_limits<double>::quiet_NaN();
    moved.at(0, row)[1] = some ? table[kSamples - 1] : std::numeric_limits<double>::quiet_NaN();
    const Table there = some ? Moved(table, shift * kPerPixel) : table;
    double highest = 0;
    for (size_t s = 0; s < kSamples; s++) {
      highest = std::max(highest, (there[s] - there[0]) / (there[kSamples - 1] - there[0]));
      cumulative.at(0, row)[s] = some ? static_cast<float>(s + 1 == kSamples ? 1 : highest) : std::nanf("");
    }
  }
  return Ok();
}

}  // namespace rampline::tabulate_profile
