#include "native/codec/quantize.h"

#include <array>
#include <cstring>
#include <limits>

namespace rampline {
namespace {

std::array<float, kRandomCount> MakeSequence() {
  std::array<float, kRandomCount> sequence{};
  const int64_t m = 2147483647;
  int64_t seed = 1;
  for (float& value : sequence) {
    seed = 16807 * seed % m;  // exact: below 2^46. The last seed is 1043618065, as appendix I demands (a test asks).
    value = static_cast<float>(static_cast<double>(seed) / static_cast<double>(m));
  }
  return sequence;
}

template <class Level, class Out>
void Run(const uint8_t* levels, size_t count, const Quantization& q, uint8_t* out) {
  const float* random = RandomSequence();
  int64_t row = q.row % kRandomCount;
  if (row < 0) row += kRandomCount;
  int next = static_cast<int>(random[row] * 500);  // where in the sequence a row begins (appendix I)
  // Levels are compared with the blank after it was cut to their own width.
  const Level blank = static_cast<Level>(q.blank);
  for (size_t i = 0; i < count; ++i) {
    Level level;
    std::memcpy(&level, levels + i * sizeof level, sizeof level);
    Out value;
    if (q.hasBlank && level == blank) {
      value = std::numeric_limits<Out>::quiet_NaN();
    } else if (q.dither == Dither::kNone) {
      value = static_cast<Out>(static_cast<double>(level) * q.scale + q.zero);
    } else if (q.dither == Dither::kSubtractive2 && static_cast<int32_t>(level) == kDitherZero) {
      value = 0;
    } else {
      value =
          static_cast<Out>((static_cast<double>(level) - static_cast<double>(random[next]) + 0.5) * q.scale + q.zero);
    }
    std::memcpy(out + i * sizeof value, &value, sizeof value);
    if (++next == kRandomCount) {
      if (++row == kRandomCount) row = 0;
      next = static_cast<int>(random[row] * 500);
    }
  }
}

template <class Level>
void RunTo(const uint8_t* levels, size_t count, const Quantization& q, bool wide, uint8_t* out) {
  if (wide) {
    Run<Level, double>(levels, count, q, out);
  } else {
    Run<Level, float>(levels, count, q, out);
  }
}

}  // namespace

const float* RandomSequence() {
  static const std::array<float, kRandomCount> sequence = MakeSequence();
  return sequence.data();
}

Status Unquantize(const uint8_t* levels, size_t count, int levelBytes, const Quantization& q, bool wide, uint8_t* out,
                  size_t outBytes) {
  if (count > outBytes / (wide ? 8 : 4)) return Fail(Code::kUsage, "the output is shorter than the tile");
  switch (levelBytes) {
    case 1: RunTo<uint8_t>(levels, count, q, wide, out); return Ok();
    case 2: RunTo<int16_t>(levels, count, q, wide, out); return Ok();
    case 4: RunTo<int32_t>(levels, count, q, wide, out); return Ok();
    default: return Fail(Code::kInput, "quantised levels have 1, 2 or 4 bytes", -1, 0, levelBytes);
  }
}

}  // namespace rampline
