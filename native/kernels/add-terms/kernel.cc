// Plain C++: three additions for each value; memory sets the pace.
#include <cmath>

#include "generated/add-terms.h"

namespace rampline::add_terms {

Status Run(const KernelCall& call) {
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
      for (int64_t k = 0; k < terms.planes; k++) sums.at(k, row)[x] += p.weight * terms.at(k, row)[x];
      if (weight.data != nullptr) weight.at(0, row)[x] += p.weight;
      if (squares.data != nullptr) squares.at(0, row)[x] += p.weight * terms.at(0, row)[x] * terms.at(0, row)[x];
      if (used.data != nullptr) used.at(0, row)[x] |= uint32_t{1} << p.index;
    }
  }
  return Ok();
}

}  // namespace rampline::add_terms
