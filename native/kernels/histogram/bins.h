// Where a value belongs: in float32, so that the kernel and its reference agree on every edge.
#pragma once

namespace rampline::histogram {

constexpr int kBins = 256;

// 0..255 a bin, 256 below, 257 above, 258 missing.
inline int BinOf(float v, float low, float high, float scale) {
  if (v != v) return kBins + 2;
  if (v < low) return kBins;
  if (v > high) return kBins + 1;
  const int bin = static_cast<int>((v - low) * scale);
  return bin < kBins ? bin : kBins - 1;
}

}  // namespace rampline::histogram
