// Which CPU targets the kernels may use. RAMPLINE_DISABLE_TARGETS=avx3,avx2 (or SetDisabledTargets in tests) takes
// targets away cumulatively, as libdeflate's tests do, so that every code path the machine has can be run on it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace rampline {

// Names of the targets this build and this machine have, best first, for example {"AVX3", "AVX2", "SSE4", "SSSE3", "SSE2"}.
std::vector<std::string> AvailableTargets();
// The best target still allowed: what the kernels run on now.
std::string CurrentTarget();
// Allows only `best` and the targets below it; an empty name allows all again. False when the machine lacks it.
bool LimitTarget(const std::string& best);

}  // namespace rampline
