// A counter-based random generator whose numbers are part of the contract: the same bytes on every machine, for any
// number of threads and whatever the order in which rows are made. The integers are Philox 4x32-10 (Salmon et al. 2011,
// "Parallel random numbers: as easy as 1, 2, 3"). Normal and Poisson deviates are computed from them with IEEE single
// +, -, *, / and square root alone, in a fixed order and without contraction, so the scalar functions here and the SIMD
// ones in random-inl.h give the same bits. No function of libm is used: its last bit differs between machines.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace rampline::random {

struct Key {
  uint32_t low = 0, high = 0;
};

// What a draw is for. Each has its own counters, so switching one effect off leaves the others' numbers alone.
// The values are also used by src/simulate, and changing one changes every simulated file.
constexpr int64_t kSegment = 512;  // pixels made at a time: one amplifier's part of a row
constexpr int64_t kBlocks = kSegment / 4;

inline void Philox(const uint32_t counter[4], Key key, uint32_t out[4]) {
  uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
  for (int round = 0; round < 10; round++) {
    const uint64_t a = uint64_t{0xD2511F53} * c0;
    const uint64_t b = uint64_t{0xCD9E8D57} * c2;
    c0 = static_cast<uint32_t>(b >> 32) ^ c1 ^ key.low;
    c2 = static_cast<uint32_t>(a >> 32) ^ c3 ^ key.high;
    c1 = static_cast<uint32_t>(b);
    c3 = static_cast<uint32_t>(a);
    key.low += 0x9E3779B9;
    key.high += 0xBB67AE85;
  }
  out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

// Random words of columns [512 segment, 512 segment + 512) of a row. Word w of counter b goes to column 128 w + b.
inline void RowBits(Key key, int32_t stream, int32_t read, int64_t row, int64_t segment, uint32_t* out) {
  for (int64_t b = 0; b < kBlocks; b++) {
    const uint32_t counter[4] = {static_cast<uint32_t>(b), static_cast<uint32_t>(row),
                                 static_cast<uint32_t>(segment) | static_cast<uint32_t>(stream) << 16,
                                 static_cast<uint32_t>(read)};
    uint32_t words[4];
    Philox(counter, key, words);
    for (int w = 0; w < 4; w++) out[w * kBlocks + b] = words[w];
  }
}

// Natural logarithm of a positive normal number; the polynomial is that of Cephes' logf (Moshier).
inline float Log(float x) {
  uint32_t bits = std::bit_cast<uint32_t>(x);
  // Brings the mantissa into [sqrt(1/2), sqrt(2)): 0x3f3504f3 is the float next to sqrt(1/2).
  bits += 0x3f800000 - 0x3f3504f3;
  const float e = static_cast<float>(static_cast<int32_t>(bits >> 23) - 127);
  const float z = std::bit_cast<float>((bits & 0x007fffff) + 0x3f3504f3) - 1.0f;
  float p = 7.0376836292e-2f;
  p = p * z + -1.1514610310e-1f;
  p = p * z + 1.1676998740e-1f;
  p = p * z + -1.2420140846e-1f;
  p = p * z + 1.4249322787e-1f;
  p = p * z + -1.6668057665e-1f;
  p = p * z + 2.0000714765e-1f;
  p = p * z + -2.4999993993e-1f;
  p = p * z + 3.3333331174e-1f;
  const float zz = z * z;
  float y = p * z * zz;
  y = y + e * -2.12194440e-4f;
  y = y - 0.5f * zz;
  return (z + y) + e * 0.693359375f;
}

// exp(-x) for x in [0, 87]; Cephes' expf.
inline float ExpMinus(float x) {
  const float n = static_cast<float>(static_cast<int32_t>(x * 1.44269504f + 0.5f));
  float r = n * 0.693359375f - x;
  r = r + n * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = (p * (r * r) + r) + 1.0f;
  return p * std::bit_cast<float>((127 - static_cast<int32_t>(n)) << 23);
}

// Standard normal deviate by the inverse of the error function in single precision (Giles 2011, "Approximating the
// erfinv function", GPU Computing Gems). The top bit is the sign, the rest the distance from the centre; the tail reaches
// 6.3 sigma.
inline float Normal(uint32_t bits) {
  // 1 - |x| where x = erf(z / sqrt 2), in (0, 1]
  const float p = (static_cast<float>(static_cast<int32_t>(bits & 0x7fffffff)) + 0.5f) * 0x1p-31f;
  const float w = 0.0f - Log(p * (2.0f - p));
  const float s = w - 2.5f;
  float near = 2.81022636e-08f;
  near = near * s + 3.43273939e-07f;
  near = near * s + -3.5233877e-06f;
  near = near * s + -4.39150654e-06f;
  near = near * s + 0.00021858087f;
  near = near * s + -0.00125372503f;
  near = near * s + -0.00417768164f;
  near = near * s + 0.246640727f;
  near = near * s + 1.50140941f;
  const float t = std::sqrt(w < 5.0f ? 5.0f : w) - 3.0f;
  float far = -0.000200214257f;
  far = far * t + 0.000100950558f;
  far = far * t + 0.00134934322f;
  far = far * t + -0.00367342844f;
  far = far * t + 0.00573950773f;
  far = far * t + -0.0076224613f;
  far = far * t + 0.00943887047f;
  far = far * t + 1.00167406f;
  far = far * t + 2.83297682f;
  const float z = (w < 5.0f ? near : far) * (1.0f - p) * 1.41421356f;
  return (bits >> 31) != 0 ? 0.0f - z : z;
}

// Below this mean the Poisson deviate is found by walking up the distribution, above it by Giles' normal expansion.
// At 10 the expansion's error would already show in a chi-square of 4 million draws.
constexpr float kPoissonSearchBelow = 30.0f;
// Twelve standard deviations above the largest mean of the walk.
constexpr int kPoissonSearchSteps = 96;
constexpr float kPoissonMeanLimit = 1e7f;

// Poisson deviate of the given mean [e-]; 0 where the mean is not a positive number. Search for small means; otherwise
// floor(Q_N2), the second-order normal expansion of Giles 2016, ACM TOMS 42(1) 7, section 2.
inline float Poisson(float mean, uint32_t bits) {
  mean = mean > 0.0f ? mean : 0.0f;
  mean = mean < kPoissonMeanLimit ? mean : kPoissonMeanLimit;
  if (mean < kPoissonSearchBelow) {
    const float u = static_cast<float>(static_cast<int32_t>(bits >> 8)) * 0x1p-24f;
    float term = ExpMinus(mean), sum = term, count = 0.0f;
    for (int k = 1; k <= kPoissonSearchSteps; k++) {
      // Past the mode and below 2^-27 a term no longer moves the sum: rounding must not keep the walk going.
      const bool going = u >= sum && (term >= 0x1p-27f || static_cast<float>(k) < mean);
      if (!going) break;
      count += 1.0f;
      term = term * (mean * (1.0f / static_cast<float>(k)));
      sum = sum + term;
    }
    return count;
  }
  const float w = Normal(bits);
  const float root = std::sqrt(mean);
  const float ww = w * w;
  float q = mean + root * w;
  q = q + (ww * 0.166666667f + 0.333333333f);
  q = q - w * (ww * 0.0138888889f + 0.0277777778f) / root;
  q = q > 0.0f ? q : 0.0f;
  return static_cast<float>(static_cast<int32_t>(q));
}

}  // namespace rampline::random
