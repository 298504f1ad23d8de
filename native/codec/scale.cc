#include "native/codec/scale.h"

#include <cstdlib>
#include <cstring>
#include <limits>
#include <type_traits>

namespace rampline {
namespace {

template <class In, class Out>
void Run(const uint8_t* in, size_t count, double scale, double zero, bool hasBlank, int64_t blank, uint8_t* out) {
  for (size_t i = 0; i < count; ++i) {
    In stored;
    std::memcpy(&stored, in + i * sizeof(In), sizeof(In));  // nothing promises that a file's bytes are aligned
    Out value = static_cast<Out>(static_cast<double>(stored) * scale + zero);
    if constexpr (std::is_integral_v<In>) {
      if (hasBlank && static_cast<int64_t>(stored) == blank) value = std::numeric_limits<Out>::quiet_NaN();
    }
    std::memcpy(out + i * sizeof(Out), &value, sizeof(Out));
  }
}

template <class In>
void RunTo(const uint8_t* in, size_t count, double scale, double zero, bool hasBlank, int64_t blank, bool wide,
           uint8_t* out) {
  if (wide) {
    Run<In, double>(in, count, scale, zero, hasBlank, blank, out);
  } else {
    Run<In, float>(in, count, scale, zero, hasBlank, blank, out);
  }
}

}  // namespace

Status ScaleElements(const uint8_t* in, size_t inBytes, size_t count, int bitpix, double scale, double zero,
                     bool hasBlank, int64_t blank, bool wide, uint8_t* out, size_t outBytes) {
  const size_t width = static_cast<size_t>(std::abs(bitpix)) / 8;
  if (bitpix != 8 && bitpix != 16 && std::abs(bitpix) != 32 && std::abs(bitpix) != 64) {
    return Fail(Code::kUsage, "BITPIX must be 8, 16, 32, 64, -32 or -64", -1, 0, bitpix);
  }
  if (count > inBytes / width) return Fail(Code::kInput, "fewer bytes than the array needs");
  if (count > outBytes / (wide ? 8 : 4)) return Fail(Code::kUsage, "the output is shorter than the array");
  switch (bitpix) {
    case 8: RunTo<uint8_t>(in, count, scale, zero, hasBlank, blank, wide, out); break;
    case 16: RunTo<int16_t>(in, count, scale, zero, hasBlank, blank, wide, out); break;
    case 32: RunTo<int32_t>(in, count, scale, zero, hasBlank, blank, wide, out); break;
    case 64: RunTo<int64_t>(in, count, scale, zero, hasBlank, blank, wide, out); break;
    case -32: RunTo<float>(in, count, scale, zero, hasBlank, blank, wide, out); break;
    default: RunTo<double>(in, count, scale, zero, hasBlank, blank, wide, out); break;
  }
  return Ok();
}

}  // namespace rampline
