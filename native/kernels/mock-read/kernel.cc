#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/mock-read/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "generated/mock-read.h"
#include "native/core/random-inl.h"
#include "native/kernels/mock-read/readout.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;
namespace rnd = rampline::HWY_NAMESPACE::random;

struct Row {
  const float *charge, *gain, *pedestal, *reset, *c2, *c3, *well, *noise;
  uint16_t* counts;
};

// MulAdd is not used: every target rounds alike.
template <class D>
HWY_INLINE void ReadOut(D d, const Row& row, int64_t x, float decay, float level, const float* line,
                        const uint32_t* bits) {
  const hn::RebindToUnsigned<D> du;
  const hn::Rebind<uint16_t, D> d16;
  const auto one = hn::Set(d, 1.0f), two = hn::Set(d, 2.0f), three = hn::Set(d, 3.0f);
  const auto linear =
      hn::Add(hn::Div(hn::LoadU(d, row.charge + x), hn::LoadU(d, row.gain + x)), hn::LoadU(d, row.pedestal + x));
  const auto c2 = hn::LoadU(d, row.c2 + x), c3 = hn::LoadU(d, row.c3 + x);
  auto m = linear;
  for (int step = 0; step < 3; step++) {
    const auto mm = hn::Mul(m, m);
    const auto excess = hn::Sub(hn::Add(hn::Add(m, hn::Mul(c2, mm)), hn::Mul(c3, hn::Mul(mm, m))), linear);
    const auto slope = hn::Add(hn::Add(one, hn::Mul(two, hn::Mul(c2, m))), hn::Mul(three, hn::Mul(c3, mm)));
    m = hn::Sub(m, hn::Div(excess, slope));
  }
  const auto well = hn::LoadU(d, row.well + x);
  m = hn::IfThenElse(hn::Lt(m, well), m, well);
  m = hn::Add(m, hn::Mul(hn::LoadU(d, row.reset + x), hn::Set(d, decay)));
  auto v = hn::Add(hn::Add(m, hn::Set(d, level)), hn::LoadU(d, line));
  v = hn::Add(v, hn::Mul(hn::LoadU(d, row.noise + x), rnd::Normal(d, hn::LoadU(du, bits))));
  v = hn::IfThenElse(hn::Gt(v, hn::Zero(d)), v, hn::Zero(d));
  const auto top = hn::Set(d, 65535.0f);
  v = hn::IfThenElse(hn::Lt(v, top), v, top);
  hn::StoreU(hn::DemoteTo(d16, hn::NearestInt(v)), d16, row.counts + x);
}

Status RunTarget(const KernelCall& call) {
  const mock_read::Params& p = mock_read::ParamsOf(call);
  const auto port = [&](size_t i) { return call.ports[i].view<const float>(); };
  const auto charge = port(mock_read::kCharge), gain = port(mock_read::kGain), pedestal = port(mock_read::kPedestal);
  const auto reset = port(mock_read::kReset), c2 = port(mock_read::kC2), c3 = port(mock_read::kC3);
  const auto well = port(mock_read::kWell), noise = port(mock_read::kNoise), level = port(mock_read::kLevel);
  const auto knots = port(mock_read::kKnots);
  const auto counts = call.ports[mock_read::kCounts].view<uint16_t>();
  const rnd::Key key{static_cast<uint32_t>(p.seedLow), static_cast<uint32_t>(p.seedHigh)};
  const hn::ScalableTag<float> d;
  const hn::CappedTag<float, 1> d1;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  uint32_t bits[rnd::kSegment];
  float line[mock_read::kAmplifierColumns];
  for (int64_t row = 0; row < counts.rows; row++) {
    const Row at = {charge.at(0, row), gain.at(0, row), pedestal.at(0, row), reset.at(0, row), c2.at(0, row),
                    c3.at(0, row),     well.at(0, row), noise.at(0, row),    counts.at(0, row)};
    for (int64_t x = 0; x < counts.cols;) {
      const int64_t column = call.origin.x + x, segment = column / rnd::kSegment, skip = column % rnd::kSegment;
      const int64_t end = std::min(counts.cols, x + rnd::kSegment - skip);
      const int64_t output = std::min(segment, mock_read::kOutputs - 1);
      rnd::RowBits(key, mock_read::kStream, p.read, call.origin.row + row, segment, bits);
      mock_read::Line(knots.at(0, row), output, line);
      const float* noiseLine = line + skip - x;
      const uint32_t* from = bits + skip - x;
      for (; x + n <= end; x += n) ReadOut(d, at, x, p.decay, level.data[output], noiseLine + x, from + x);
      for (; x < end; x++) ReadOut(d1, at, x, p.decay, level.data[output], noiseLine + x, from + x);
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
Status mock_read::Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(RunTarget)(call); }
}  // namespace rampline
#endif
