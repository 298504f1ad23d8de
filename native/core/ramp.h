// What the references of the ramp kernels share.
#pragma once

namespace rampline::ramp {

// Whether a pixel's gain [e-/DN] and read variance [DN^2] can be used: positive, with a product that single precision can
// divide by. NaN is not.
inline bool Calibrated(double gain, double variance) {
  const float product = static_cast<float>(gain) * static_cast<float>(variance);
  return gain > 0 && gain < 1e30 && variance > 1e-30 && variance < 1e30 && product > 1e-30f && product < 1e30f;
}

}  // namespace rampline::ramp
