#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/share-variance/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <limits>

#include "generated/share-variance.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;
using namespace rampline::share_variance;  // NOLINT: the generated ports and parameters

constexpr int64_t kGroup = 16;
constexpr float kOwn = 4;

// One group of a row; what is beyond the row has weight 0.
HWY_INLINE void Group(const float* HWY_RESTRICT ivar, float* HWY_RESTRICT shared) {
  const hn::CappedTag<float, kGroup> d;
  const auto n = static_cast<int64_t>(hn::Lanes(d));
  HWY_ALIGN_MAX float variance[kGroup];
  const auto most = hn::Set(d, std::numeric_limits<float>::max());
  const auto zero = hn::Zero(d), one = hn::Set(d, 1.0f);
  for (int64_t i = 0; i < kGroup; i += n) {
    const auto w = hn::Load(d, ivar + i);
    const auto v = hn::Div(one, w);
    const auto counts = hn::And(hn::Gt(w, zero), hn::And(hn::Le(w, most), hn::Le(v, most)));
    hn::Store(hn::IfThenElseZero(counts, v), d, variance + i);
  }
  // In order, so that every target rounds the same.
  float sum = 0, count = 0;
  for (int64_t i = 0; i < kGroup; i++) {
    sum += variance[i];
    count += variance[i] > 0 ? 1.0f : 0.0f;
  }
  const auto all = hn::Set(d, sum), others = hn::Set(d, std::max(count - 1, 1.0f));
  const auto alone = hn::Lt(hn::Set(d, count), hn::Set(d, 1.5f));
  for (int64_t i = 0; i < kGroup; i += n) {
    const auto v = hn::Load(d, variance + i);
    const auto rest = hn::Div(hn::Sub(all, v), others);
    const auto own = hn::Or(alone, hn::Gt(v, hn::Mul(hn::Set(d, kOwn), rest)));
    const auto w = hn::Div(one, hn::IfThenElse(own, v, rest));
    hn::Store(hn::IfThenElseZero(hn::Gt(v, zero), w), d, shared + i);
  }
}

Status ShareVariance(const KernelCall& call) {
  const auto ivar = call.ports[kIvar].view<const float>();
  const auto shared = call.ports[kShared].view<float>();
  HWY_ALIGN_MAX float in[kGroup], out[kGroup];
  for (int64_t row = 0; row < ivar.rows; row++) {
    for (int64_t x = 0; x < ivar.cols; x += kGroup) {
      const int64_t n = std::min(kGroup, ivar.cols - x);
      std::copy_n(ivar.at(0, row) + x, n, in);
      std::fill(in + n, in + kGroup, 0.0f);
      Group(in, out);
      std::copy_n(out, n, shared.at(0, row) + x);
    }
  }
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::share_variance {
namespace {
HWY_EXPORT(ShareVariance);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(ShareVariance)(call); }
}  // namespace rampline::share_variance
#endif
