// What native code returns instead of throwing. A status crosses to JavaScript as data and becomes an error there
// (src/core/errors.ts), so nothing here allocates and every message is a string literal.
#pragma once

#include <cstdint>

namespace rampline {

// One value for each error class of src/core/errors.ts; the numbers are part of the binding's contract.
enum class Code : uint8_t {
  kOk = 0,
  kUsage = 1,
  kInput = 2,
  kCalibration = 3,
  kAlgorithm = 4,
  kStorage = 5,
  kRetriable = 6,
  kBug = 7,
};

struct [[nodiscard]] Status {
  Code code = Code::kOk;
  const char* message = "";  // a literal: what was expected, in one clause
  int64_t offset = -1;       // byte offset in the input, or -1 where it means nothing
  int64_t expected = 0;      // the two numbers the message speaks of, both 0 when it speaks of none
  int64_t received = 0;
  int32_t hdu = -1;  // 0-based, or -1 where it means nothing

  [[nodiscard]] bool ok() const { return code == Code::kOk; }
};

inline Status Ok() { return {}; }
inline Status Fail(Code code, const char* message, int64_t offset = -1, int64_t expected = 0, int64_t received = 0) {
  return {code, message, offset, expected, received};
}

}  // namespace rampline
