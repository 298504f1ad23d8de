#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/tabulate-profile/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "generated/tabulate-profile.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;
using namespace rampline::tabulate_profile;  // NOLINT: the generated ports and parameters

constexpr int64_t kSamples = 481, kComponents = 46, kRounds = 5;
constexpr double kPerPixel = 20, kNear = 4;
constexpr int64_t kLow = 160, kHigh = 320;  // samples 4 px from the middle
constexpr int64_t kPad = 80;                // more than the samples that a table is moved by, and a register
constexpr double kMost = 1e15, kLeast = 1e-9;

using D = hn::CappedTag<double, 8>;
using DF = hn::Rebind<float, D>;

// What a profile is worked on in; kPad values on either side continue the table as it ends.
struct Room {
  HWY_ALIGN_MAX double sum[kSamples + kPad];
  HWY_ALIGN_MAX double table[kPad + kSamples + kPad];
  HWY_ALIGN_MAX double running[kSamples + 1];
};

// Shares of four neighbouring samples in a value `t` behind the second (Lagrange).
struct Cubic {
  double a, b, c, d;
};
Cubic CubicOf(double t) {
  return {-t * (t - 1) * (t - 2) / 6, (t + 1) * (t - 1) * (t - 2) / 2, -(t + 1) * t * (t - 2) / 2,
          (t + 1) * t * (t - 1) / 6};
}

// What the functions add from the first sample on; of all samples but the last four registers at a time.
void Sum(const View<const float>& basis, const double* parts, const int64_t* used, int64_t count, double* sum) {
  const D d;
  const DF df;
  const auto n = static_cast<int64_t>(hn::Lanes(d));
  constexpr int64_t kWhole = kSamples - 1;
  static_assert(kWhole % (4 * 8) == 0);
  for (int64_t s = 0; s < kWhole; s += 4 * n) {
    auto v0 = hn::Zero(d), v1 = v0, v2 = v0, v3 = v0;
    for (int64_t i = 0; i < count; i++) {
      const float* from = basis.at(0, used[i]);
      const auto part = hn::Set(d, parts[used[i]]), first = hn::Set(d, static_cast<double>(from[0]));
      const auto at = [&](int64_t k) { return hn::Sub(hn::PromoteTo(d, hn::LoadU(df, from + s + k * n)), first); };
      v0 = hn::MulAdd(part, at(0), v0);
      v1 = hn::MulAdd(part, at(1), v1);
      v2 = hn::MulAdd(part, at(2), v2);
      v3 = hn::MulAdd(part, at(3), v3);
    }
    hn::Store(v0, d, sum + s);
    hn::Store(v1, d, sum + s + n);
    hn::Store(v2, d, sum + s + 2 * n);
    hn::Store(v3, d, sum + s + 3 * n);
  }
  sum[kWhole] = 0;
  for (int64_t i = 0; i < count; i++) {
    const float* from = basis.at(0, used[i]);
    sum[kWhole] += parts[used[i]] * (static_cast<double>(from[kWhole]) - static_cast<double>(from[0]));
  }
}

// Where the centroid is [px]: README.md. NaN where there is no light.
double Shift(const double* table, const double* running) {
  const double least = kLeast * table[kSamples - 1];
  double shift = 0;
  for (int64_t round = 0; round < kRounds; round++) {
    const double by = shift * kPerPixel, whole = std::floor(by);
    const auto [a, b, c, d] = CubicOf(by - whole);
    const auto i = static_cast<int64_t>(whole);
    const auto at = [&](const double* v, int64_t k) {
      return a * v[k - 1 + i] + b * v[k + i] + c * v[k + 1 + i] + d * v[k + 2 + i];
    };
    const double low = at(table, kLow), high = at(table, kHigh);
    if (!(high - low > least)) return std::numeric_limits<double>::quiet_NaN();
    const double area = at(running, kHigh) - at(running, kLow + 1);
    shift += ((kNear - 0.5 / kPerPixel) * (high + low) - area / kPerPixel) / (high - low);
    shift = std::clamp(shift, 1 - kNear, kNear - 1);
  }
  return shift;
}

// Writes the table moved to its centroid; false where there is no light.
bool Tabulate(Room& room, double* moved, float* out) {
  double* table = room.table + kPad;
  double most = 0;
  bool sane = true;
  for (int64_t s = 0; s < kSamples; s++) {
    sane = sane && std::abs(room.sum[s]) < kMost;
    most = std::max(most, room.sum[s]);
    table[s] = most;
  }
  if (!sane) return false;
  double all = 0;
  for (int64_t s = 0; s < kSamples; s++) {
    room.running[s] = all;
    all += table[s];
  }
  const double shift = Shift(table, room.running);
  if (std::isnan(shift)) return false;
  std::fill_n(room.table, kPad, table[0]);
  std::fill_n(table + kSamples, kPad, table[kSamples - 1]);
  moved[0] = shift;
  moved[1] = table[kSamples - 1];
  const D d;
  const double by = shift * kPerPixel, whole = std::floor(by);
  const auto shares = CubicOf(by - whole);
  const auto sa = hn::Set(d, shares.a), sb = hn::Set(d, shares.b), sc = hn::Set(d, shares.c), sd = hn::Set(d, shares.d);
  for (int64_t s = 0; s < kSamples; s += static_cast<int64_t>(hn::Lanes(d))) {
    const double* at = table + s + static_cast<int64_t>(whole);
    auto value = hn::Mul(sa, hn::LoadU(d, at - 1));
    value = hn::MulAdd(sb, hn::LoadU(d, at), value);
    value = hn::MulAdd(sc, hn::LoadU(d, at + 1), value);
    value = hn::MulAdd(sd, hn::LoadU(d, at + 2), value);
    hn::Store(value, d, room.sum + s);
  }
  const double low = room.sum[0], per = 1 / (room.sum[kSamples - 1] - low);
  double highest = 0;
  for (int64_t s = 0; s < kSamples; s++) {
    highest = std::max(highest, (room.sum[s] - low) * per);
    out[s] = static_cast<float>(highest);
  }
  out[kSamples - 1] = 1;
  return true;
}

Status TabulateProfile(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto basis = call.ports[kBasis].view<const float>();
  const auto parts = call.ports[kParts].view<const double>();
  const auto cumulative = call.ports[kCumulative].view<float>();
  const auto moved = call.ports[kMoved].view<double>();
  Room room;
  for (int64_t row = 0; row < parts.rows; row++) {
    const double* own = parts.at(0, row);
    int64_t used[kComponents];
    int64_t count = 0;
    for (int64_t k = 0; k < kComponents; k++) {
      if (own[k] != 0 && !(params.positive && own[k] < 0)) used[count++] = k;
    }
    Sum(basis, own, used, count, room.sum);
    if (Tabulate(room, moved.at(0, row), cumulative.at(0, row))) continue;
    std::fill_n(moved.at(0, row), 2, std::numeric_limits<double>::quiet_NaN());
    std::fill_n(cumulative.at(0, row), kSamples, std::numeric_limits<float>::quiet_NaN());
  }
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::tabulate_profile {
namespace {
HWY_EXPORT(TabulateProfile);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(TabulateProfile)(call); }
}  // namespace rampline::tabulate_profile
#endif
