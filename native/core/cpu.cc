#include "native/core/cpu.h"

#include <hwy/highway.h>
#include <hwy/targets.h>

namespace rampline {

std::vector<std::string> AvailableTargets() {
  std::vector<std::string> names;
  hwy::DisableTargets(0);
  for (int64_t target : hwy::SupportedAndGeneratedTargets()) names.emplace_back(hwy::TargetName(target));
  return names;
}

std::string CurrentTarget() {
  // Only targets that were compiled: a machine may have a better one. Highway numbers better targets lower, so the lowest
  // bit is the one that dispatch picks.
  const int64_t usable = hwy::SupportedTargets() & HWY_TARGETS;
  return hwy::TargetName(usable == 0 ? HWY_STATIC_TARGET : usable & -usable);
}

bool LimitTarget(const std::string& best) {
  hwy::DisableTargets(0);
  if (!best.empty()) {
    int64_t found = 0;
    for (int64_t target : hwy::SupportedAndGeneratedTargets()) {
      if (best == hwy::TargetName(target)) found = target;
    }
    if (found == 0) {
      hwy::GetChosenTarget().DeInit();
      return false;
    }
    hwy::DisableTargets(found - 1);  // everything better than `found`
  }
  hwy::GetChosenTarget().DeInit();  // the next dispatched call chooses again
  return true;
}

}  // namespace rampline
