#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/paint-model/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "generated/paint-model.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;
using namespace rampline::paint_model;  // NOLINT: the generated ports and parameters

constexpr int64_t kFibres = 300, kLastSample = 480, kLastNode = 8;
constexpr float kReach = 12, kPerPixel = 20;
using D = hn::CappedTag<float, 16>;
using DI = hn::RebindToSigned<D>;
using V = hn::Vec<D>;
constexpr int64_t kMostLanes = static_cast<int64_t>(hn::MaxLanes(D()));

// Columns side by side, of one fibre. Spare lanes have no light.
struct Columns {
  V perWidth, flux, part;
  hn::Vec<DI> left, right;  // where the tables of the nodes on both sides begin
};

// Light below an edge that is `distance` rows above the centre, for each column: nodes and samples by straight lines.
HWY_INLINE V Cumulative(const float* fibre, const Columns& columns, V distance) {
  const D d;
  const DI di;
  const V z = hn::MulAdd(hn::Mul(distance, columns.perWidth), hn::Set(d, kPerPixel), hn::Set(d, kReach * kPerPixel));
  const V at = hn::Min(hn::Max(z, hn::Zero(d)), hn::Set(d, static_cast<float>(kLastSample)));
  const auto i = hn::Min(hn::ConvertTo(di, at), hn::Set(di, static_cast<int32_t>(kLastSample - 1)));
  const V part = hn::Sub(at, hn::ConvertTo(d, i));
  const auto left = hn::Add(columns.left, i), right = hn::Add(columns.right, i);
  const V a = hn::GatherIndex(d, fibre, left), b = hn::GatherIndex(d, fibre + 1, left);
  const V e = hn::GatherIndex(d, fibre, right), f = hn::GatherIndex(d, fibre + 1, right);
  const V before = hn::MulAdd(hn::Sub(b, a), part, a), after = hn::MulAdd(hn::Sub(f, e), part, e);
  return hn::MulAdd(hn::Sub(after, before), columns.part, before);
}

Status PaintModel(const KernelCall& call) {
  const D d;
  const DI di;
  const auto n = static_cast<int64_t>(hn::Lanes(d));
  const auto centre = call.ports[kCentre].view<const float>(), width = call.ports[kWidth].view<const float>();
  const auto flux = call.ports[kFlux].view<const float>(), profile = call.ports[kProfile].view<const float>();
  const auto model = call.ports[kModel].view<float>();
  const float perColumn = static_cast<float>(kLastNode) / static_cast<float>(std::max(ParamsOf(call).columns - 1, 1));
  for (int64_t y = 0; y < model.planes; y++) std::fill_n(model.at(y, 0), model.cols, 0.0f);
  for (int64_t start = 0; start < model.cols; start += n) {
    const int64_t here = std::min(n, model.cols - start);
    for (int64_t fibre = 0; fibre < kFibres; fibre++) {
      HWY_ALIGN_MAX float c[kMostLanes], per[kMostLanes], light[kMostLanes];
      float low = 1e9f, high = -1e9f;
      for (int64_t i = 0; i < n; i++) {
        const int64_t x = start + std::min(i, here - 1);
        c[i] = centre.at(0, fibre)[x];
        const float w = width.at(0, fibre)[x];
        light[i] = flux.at(0, fibre)[x];
        const bool usable = i < here && std::abs(c[i]) < 1e6f && w > 0.05f && w < 20 && std::abs(light[i]) < 1e15f;
        per[i] = usable ? 1 / w : 1;
        if (!usable) c[i] = light[i] = 0;
        if (usable) {
          low = std::min(low, c[i] - kReach * w);
          high = std::max(high, c[i] + kReach * w);
        }
      }
      const auto bottom = static_cast<int64_t>(std::max(std::ceil(low - 0.5f), 0.0f));
      const auto top = static_cast<int64_t>(std::min(std::floor(high + 0.5f), static_cast<float>(model.planes - 1)));
      if (top < bottom) continue;
      Columns columns;
      columns.perWidth = hn::Load(d, per);
      columns.flux = hn::Load(d, light);
      const V x =
          hn::ConvertTo(d, hn::Iota(di, static_cast<int32_t>(ParamsOf(call).firstColumn + call.origin.x + start)));
      const V node = hn::Min(hn::Mul(x, hn::Set(d, perColumn)), hn::Set(d, static_cast<float>(kLastNode)));
      const auto whole = hn::Min(hn::ConvertTo(di, node), hn::Set(di, static_cast<int32_t>(kLastNode - 1)));
      columns.part = hn::Sub(node, hn::ConvertTo(d, whole));
      const auto stride = hn::Set(di, static_cast<int32_t>(profile.rowStride));
      columns.left = hn::Mul(whole, stride);
      columns.right = hn::Add(columns.left, stride);
      const float* table = profile.at(fibre, 0);
      const V from = hn::Load(d, c);
      const auto edge = [&](int64_t row) HWY_ATTR { return hn::Sub(hn::Set(d, static_cast<float>(row) - 0.5f), from); };
      V below = Cumulative(table, columns, edge(bottom));
      for (int64_t row = bottom; row <= top; row++) {
        const V above = Cumulative(table, columns, edge(row + 1));
        const V share = hn::Sub(above, below);
        // A table with an infinite value paints nothing there.
        const V sane = hn::IfThenElseZero(hn::Lt(hn::Abs(share), hn::Set(d, 1e15f)), share);
        below = above;
        float* to = model.at(row, 0) + start;
        if (here == n) {
          hn::StoreU(hn::MulAdd(columns.flux, sane, hn::LoadU(d, to)), d, to);
        } else {
          // The same arithmetic, so that blocks of any width give the same bytes.
          HWY_ALIGN_MAX float part[kMostLanes] = {};
          std::copy_n(to, here, part);
          hn::Store(hn::MulAdd(columns.flux, sane, hn::Load(d, part)), d, part);
          std::copy_n(part, here, to);
        }
      }
    }
  }
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::paint_model {
namespace {
HWY_EXPORT(PaintModel);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(PaintModel)(call); }
}  // namespace rampline::paint_model
#endif
