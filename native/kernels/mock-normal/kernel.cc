#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/mock-normal/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "generated/mock-normal.h"
#include "native/core/random-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;
namespace rnd = rampline::HWY_NAMESPACE::random;

template <class D>
HWY_INLINE void Fill(D d, const mock_normal::Params& p, float level, const uint32_t* bits, float* out) {
  const hn::RebindToUnsigned<D> du;
  const auto z = rnd::Normal(d, hn::LoadU(du, bits));
  const auto mean = hn::Set(d, level);
  auto v = hn::Add(mean, hn::Mul(mean, hn::Mul(hn::Set(d, p.relative), z)));
  v = hn::Add(v, hn::Mul(hn::Set(d, p.sigma), z));
  v = hn::IfThenElse(hn::Gt(v, hn::Set(d, p.low)), v, hn::Set(d, p.low));
  v = hn::IfThenElse(hn::Lt(v, hn::Set(d, p.high)), v, hn::Set(d, p.high));
  hn::StoreU(v, d, out);
}

Status RunTarget(const KernelCall& call) {
  const mock_normal::Params& p = mock_normal::ParamsOf(call);
  const auto level = call.ports[mock_normal::kLevel].view<const float>();
  const auto map = call.ports[mock_normal::kMap].view<float>();
  const rnd::Key key{static_cast<uint32_t>(p.seedLow), static_cast<uint32_t>(p.seedHigh)};
  const hn::ScalableTag<float> d;
  const hn::CappedTag<float, 1> d1;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  uint32_t bits[rnd::kSegment];
  for (int64_t row = 0; row < map.rows; row++) {
    for (int64_t x = 0; x < map.cols;) {
      const int64_t at = call.origin.x + x, segment = at / rnd::kSegment, skip = at % rnd::kSegment;
      const int64_t end = std::min(map.cols, x + rnd::kSegment - skip);
      rnd::RowBits(key, p.stream, p.read, call.origin.row + row, segment, bits);
      const uint32_t* from = bits + skip;
      float* to = map.at(0, row) + x;
      const float mean = level.data[std::min<int64_t>(segment, 4)];
      int64_t i = 0;
      for (; x + i + n <= end; i += n) Fill(d, p, mean, from + i, to + i);
      for (; x + i < end; i++) Fill(d1, p, mean, from + i, to + i);
      x = end;
    }
  }
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline {
HWY_EXPORT(RunTarget);
Status mock_normal::Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(RunTarget)(call); }
}  // namespace rampline
#endif
