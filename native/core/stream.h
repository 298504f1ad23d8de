// Runs of stream kernels that the build has compiled into one loop (see stream-inl.h).
#pragma once

#include <span>

#include "native/core/kernel.h"

namespace rampline {

struct FusedRun {
  const char* key;  // kernel names joined by '+'
  Status (*run)(std::span<const KernelCall> calls);
};

std::span<const FusedRun> FusedRuns();

}  // namespace rampline
