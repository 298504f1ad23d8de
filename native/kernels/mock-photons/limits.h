// What the SIMD kernel and its reference must agree on.
#pragma once

#include <cstdint>

namespace rampline::mock_photons {

constexpr int32_t kStream = 1;
// Whole electrons are exact in a float up to 2^24; no pixel holds more.
constexpr float kChargeLimit = 16777216.0f;

}  // namespace rampline::mock_photons
