// What the kernels of extraction share and no CPU target changes: the shape of profile tables (src/core/spectra.ts), limits,
// and the views of a call.
#pragma once

#include <algorithm>
#include <cstdint>

#include "generated/dq.h"
#include "native/core/kernel.h"

namespace rampline::extract {

// Profile tables: cumulative, from -12 px to +12 px at width 1, 20 samples a pixel, at 9 columns evenly spaced.
constexpr int32_t kNodes = 9, kSamples = 481;
constexpr float kPerPixel = 20.0f, kMiddle = 240.0f;

constexpr int64_t kMostReach = 16;
// Rows that the windows of one fibre in neighbouring columns may take together; where a trace is steeper, columns are
// computed one by one.
constexpr int64_t kMostRows = 2 * kMostReach + 1 + 15;
// Fibres on each side whose overlap is solved for: 16 px of reach on both sides are 33 px, five spacings of APOGEE's 6.6 px.
constexpr int kMostBand = 4;
constexpr int kMostLanes = 16;

// A value beyond is no measurement, and its square times a weight must stay a float.
constexpr float kLargest = 1e9f, kLargestWeight = 1e12f, kSmallestWeight = 1e-12f;
constexpr float kFarthest = 1e6f;  // rows from the chip that a centre may be
// Profiles narrower than this would end within the rows that are judged.
constexpr float kLeastWidth = 0.3f, kMostWidth = 5.0f;
// A cumulative profile ends at 1; a value beyond this is none.
constexpr float kMostCumulative = 2.0f;
// Less of the light than this on good pixels is no measurement of the whole.
constexpr float kLeastLight = 0.1f;
// Part of a fibre's own information that its neighbours must leave: less, and the two cannot be told apart. Two Gaussian
// profiles of sigma 1 px leave 0.02 at a distance of 0.2 px.
constexpr float kLeastPivot = 0.02f;
// Squared normalised overlap above which a fibre shares the fate of one that cannot be told from it.
constexpr float kMostOverlap = 0.9f;
// Sum of P^2 on good pixels below which a fibre has no light at all: no pixel with 1e-5 of it, where float32 still has
// a hundredth of that. Of a neighbour 1000 times as bright, less is lost in the noise.
constexpr float kLeastSquares = 1e-10f;
// Pixels with less of a fibre's light do not hand it their bits (ApogeeReduction.jl, extract_optimal_iter).
constexpr float kCounts = 1e-3f;
// WIDE_WINDOW: sqrt(1 / sum P^2) above 10 pixels (the same).
constexpr float kWideSquares = 0.01f;
// Rows on each side of a trace whose pixels are held against the model, where the reach is not less: half the distance of APOGEE's fibres.
constexpr int64_t kJudged = 3;
// OFF_CHIP: more of the light beyond the chip.
constexpr float kOnChip = 0.99f;
// Bits of a trace that leave the fibre out.
constexpr uint32_t kLeftOut = dq::kBrokenFibre | dq::kExtractionFailed | dq::kNoGoodPixels;
// Revising a weight does not make a pixel's variance smaller than this part of it.
constexpr float kLeastRevised = 0.1f;

struct Views {
  View<const float> image, imageIvar;
  View<const uint32_t> imageDq;
  View<const float> centre, width;
  View<const uint32_t> traceDq;
  View<const float> profile;
  View<float> flux, ivar, chi2, crosstalk, next, second;
  View<uint32_t> dq;
  int64_t rows() const { return image.planes; }
  int64_t fibres() const { return centre.planes; }
};

struct Settings {
  uint32_t bad = 0;
  int64_t reach = 12;
  float reject = 0, profileError = 0, photonVariance = 0;
};

struct Span {
  int64_t first = 0, rows = 0;
};

inline Status CheckPlanes(const Views& v) {
  if (v.imageIvar.planes != v.rows() || v.imageDq.planes != v.rows())
    return Fail(Code::kUsage, "image, ivar and dq differ in rows");
  for (const int64_t planes : {v.width.planes, v.traceDq.planes, v.profile.planes, v.flux.planes, v.ivar.planes,
                               v.dq.planes, v.chi2.planes, v.crosstalk.planes}) {
    if (planes != v.fibres())
      return Fail(Code::kUsage, "arrays differ in their number of fibres", -1, v.fibres(), planes);
  }
  return Ok();
}

}  // namespace rampline::extract
