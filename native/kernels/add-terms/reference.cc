#include <cmath>

#include "generated/add-terms.h"

namespace rampline::add_terms {

Status Reference(const KernelCall& call) {
  const Params& p = ParamsOf(call);
  const auto terms = call.ports[kTerms].view<const float>();
  const auto sums = call.ports[kSums].view<float>();
  const auto weight = call.ports[kWeight].view<float>();
  const auto squares = call.ports[kSquares].view<float>();
  const auto used = call.ports[kUsed].view<uint32_t>();
  for (int64_t row = 0; row < terms.rows; row++) {
    for (int64_t x = 0; x < terms.cols; x++) {
      bool good = true;
      for (int64_t k = 0; k < terms.planes; k++) good = good && !std::isnan(terms.at(k, row)[x]);
      if (!good) continue;
      const auto add = [](float& to, double more) { to = static_cast<float>(to + more); };
      const double w = p.weight, first = terms.at(0, row)[x];
      for (int64_t k = 0; k < terms.planes; k++) add(sums.at(k, row)[x], w * terms.at(k, row)[x]);
      if (weight.data != nullptr) add(weight.at(0, row)[x], w);
      if (squares.data != nullptr) add(squares.at(0, row)[x], w * first * first);
      if (used.data != nullptr) used.at(0, row)[x] |= uint32_t{1} << p.index;
    }
  }
  return Ok();
}

}  // namespace rampline::add_terms
