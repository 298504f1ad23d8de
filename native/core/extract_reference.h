// What the references of extraction read of a column, in double precision and without any of the kernels' code or constants.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "generated/dq.h"
#include "native/core/extract.h"

namespace rampline::extract_reference {

struct Column {
  std::vector<double> value, weight;  // of each row; weight 0 where it must not be used
  std::vector<uint32_t> bits;
  std::vector<std::vector<double>> light;  // [fibre][row]
  std::vector<int> there;                  // whether a fibre has a place
  std::vector<double> row;                 // that its centre lies in
  std::vector<int> part;                   // whether its window leaves the chip
};

inline double Cumulative(const float* low, const float* high, double part, double z) {
  const double at = std::clamp(z, 0.0, 480.0);
  const int i = std::min(static_cast<int>(at), 479);
  const double from = low[i] + part * (static_cast<double>(high[i]) - low[i]);
  const double to = low[i + 1] + part * (static_cast<double>(high[i + 1]) - low[i + 1]);
  return from + (to - from) * (at - i);
}

// A table with a value that is no part of all light is no profile.
inline bool Sane(const float* table) {
  return std::all_of(table, table + 481, [](float value) { return std::abs(value) <= 2; });
}

// Column x of a call. `v` has the ports that are read; pixels with a bit of `bad` do not count, and the light of a fibre ends `reach` rows from
// its own.
inline Column Read(const KernelCall& call, const extract::Views& v, uint32_t bad, int64_t reach, int64_t x) {
  Column c;
  for (int64_t y = 0; y < v.rows(); y++) {
    const float d = v.image.at(y, 0)[x], w = v.imageIvar.at(y, 0)[x];
    const bool use = (v.imageDq.at(y, 0)[x] & bad) == 0 && std::abs(d) < 1e9f && w > 1e-12f && w < 1e12f;
    c.value.push_back(use ? d : 0);
    c.weight.push_back(use ? w : 0);
    c.bits.push_back(use ? v.imageDq.at(y, 0)[x] : 0);
  }
  const int64_t last = call.whole.cols - 1;
  const double position = last > 0 ? static_cast<double>(call.origin.x + x) * 8 / static_cast<double>(last) : 0;
  const int node = std::min(static_cast<int>(position), 7);
  constexpr uint32_t kLeftOut = dq::kBrokenFibre | dq::kExtractionFailed | dq::kNoGoodPixels;
  for (int64_t f = 0; f < v.fibres(); f++) {
    const double at = v.centre.at(f, 0)[x], wide = v.width.at(f, 0)[x];
    const bool there = (v.traceDq.at(f, 0)[x] & kLeftOut) == 0 && std::abs(at) < 1e6 && wide >= 0.3f && wide <= 5.0f;
    std::vector<double> light(c.value.size(), 0.0);
    const double row = std::floor(static_cast<float>(at) + 0.5f);
    const auto edge = [&](double y) {
      return Cumulative(v.profile.at(f, node), v.profile.at(f, node + 1), position - node, 240 + 20 * (y - at) / wide);
    };
    const bool sane = Sane(v.profile.at(f, node)) && Sane(v.profile.at(f, node + 1));
    for (size_t y = 0; y < light.size() && there && sane; y++) {
      const auto here = static_cast<double>(y);
      if (std::abs(here - row) > static_cast<double>(reach)) continue;
      light[y] = edge(here + 0.5) - edge(here - 0.5);
    }
    c.light.push_back(light);
    c.there.push_back(there);
    c.row.push_back(row);
    c.part.push_back(row < static_cast<double>(reach) ||
                     row > static_cast<double>(light.size() - 1) - static_cast<double>(reach));
  }
  return c;
}

}  // namespace rampline::extract_reference
