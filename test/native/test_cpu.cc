#include <doctest/doctest.h>

#include "native/core/cpu.h"

namespace rampline {

TEST_CASE("every target of this machine can be made the best one, and all come back") {
  const std::vector<std::string> targets = AvailableTargets();
  REQUIRE_FALSE(targets.empty());
  for (const std::string& target : targets) {
    CHECK(LimitTarget(target));
    CHECK(CurrentTarget() == target);
  }
  CHECK(LimitTarget(""));
  CHECK(CurrentTarget() == targets.front());
}

TEST_CASE("a target that this machine lacks is refused and changes nothing") {
  const std::string before = CurrentTarget();
  CHECK_FALSE(LimitTarget("NO_SUCH_TARGET"));
  CHECK(CurrentTarget() == before);
}

}  // namespace rampline
