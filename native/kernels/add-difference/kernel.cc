#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/add-difference/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "generated/add-difference.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

template <class D>
HWY_INLINE void Add(D d, const uint16_t* before, const int32_t* average, const int32_t* residual, uint16_t* read) {
  const hn::RebindToUnsigned<D> d32;
  const hn::Rebind<uint16_t, D> d16;
  const auto sum = hn::Add(hn::LoadU(d, average), hn::LoadU(d, residual));
  const auto value = hn::Add(hn::PromoteTo(d32, hn::LoadU(d16, before)), hn::BitCast(d32, sum));
  hn::StoreU(hn::TruncateTo(d16, value), d16, read);
}

}  // namespace

Status AddDifference(const KernelCall& call) {
  using namespace rampline::add_difference;  // NOLINT: the generated ports
  const auto before = call.ports[kBefore].view<const uint16_t>();
  const auto average = call.ports[kAverage].view<const int32_t>();
  const auto residual = call.ports[kResidual].view<const int32_t>();
  const auto read = call.ports[kRead].view<uint16_t>();
  const hn::ScalableTag<int32_t> d;
  const hn::CappedTag<int32_t, 1> d1;
  const auto n = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t row = 0; row < read.rows; row++) {
    const uint16_t* b = before.at(0, row);
    const int32_t* a = average.at(0, row);
    const int32_t* r = residual.at(0, row);
    uint16_t* out = read.at(0, row);
    int64_t x = 0;
    for (; x + n <= read.cols; x += n) Add(d, b + x, a + x, r + x, out + x);
    for (; x < read.cols; x++) Add(d1, b + x, a + x, r + x, out + x);
  }
  return Ok();
}

}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline {
HWY_EXPORT(AddDifference);
Status add_difference::Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(AddDifference)(call); }
}  // namespace rampline
#endif
