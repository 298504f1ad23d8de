#include <algorithm>
#include <cmath>
#include <limits>

#include "generated/dq.h"
#include "generated/solve-persistence.h"

namespace rampline::solve_persistence {

namespace {

// Not the kernel's determinants: P is made orthogonal to k first, as Gram and Schmidt would, and B is read off what is left.
struct Normal {
  long double kk = 0, kp = 0, pp = 0;
  long double Slope() const { return kp / kk; }
  long double Left() const { return pp - Slope() * kp; }  // square of what is left of P
};

Normal Add(const View<const double>& moments, uint32_t mask) {
  Normal sum;
  for (int dark = 0; dark < 32; dark++) {
    if ((mask >> dark & 1) == 0) continue;
    sum.kk += moments.at(0, 0)[dark];
    sum.kp += moments.at(0, 1)[dark];
    sum.pp += moments.at(0, 2)[dark];
  }
  return sum;
}

}  // namespace

Status Reference(const KernelCall& call) {
  const Params& p = ParamsOf(call);
  const auto in = [&](size_t port) { return call.ports[port].view<const float>(); };
  const auto sums = in(kSums), fluence = in(kFluence), variance = in(kReadVariance), gain = in(kGain);
  const auto used = call.ports[kUsed].view<const uint32_t>();
  const auto moments = call.ports[kMoments].view<const double>();
  const auto dq = call.ports[kDq].view<uint32_t>();
  const auto amplitude = call.ports[kAmplitude].view<float>(), error = call.ports[kError].view<float>();
  const uint32_t every = ~uint32_t{0} >> (32 - p.darks);
  const Normal all = Add(moments, every);
  for (int64_t row = 0; row < dq.rows; row++) {
    for (int64_t x = 0; x < dq.cols; x++) {
      uint32_t& bits = dq.at(0, row)[x];
      amplitude.at(0, row)[x] = error.at(0, row)[x] = std::numeric_limits<float>::quiet_NaN();
      if (bits != 0) continue;
      const uint32_t mask = used.at(0, row)[x] & every;
      const Normal m = mask == every ? all : Add(moments, mask);
      const double f = fluence.at(0, row)[x];
      const long double left = m.Left();
      // A part in 10^9: below it the two columns are one to rounding.
      if (!(m.kk > 0) || !(left > 1e-9L * m.pp) || !(f > 10.0 * p.fluenceError)) {
        bits = static_cast<uint32_t>(dq::kNoCalibration);
        continue;
      }
      const double bk = sums.at(0, row)[x], bp = sums.at(1, row)[x];
      const double release = static_cast<double>((bp - m.Slope() * bk) / left);
      const double dark = static_cast<double>((bk - m.kp * release) / m.kk);
      const double factor = static_cast<double>(1 / left), lost = static_cast<double>(all.Left() / left);
      const double photons = std::max(dark, 0.0) * p.photonsDark + std::max(release, 0.0) * p.photonsRelease;
      const double ofRelease = variance.at(0, row)[x] * factor + lost * photons / gain.at(0, row)[x];
      const double a = release / f, ofFluence = a * p.fluenceError / f;
      const double sigma = std::sqrt(ofRelease / (f * f) + ofFluence * ofFluence);
      // Values that no float holds come of senseless input.
      if (!std::isfinite(static_cast<float>(a)) || !std::isfinite(static_cast<float>(sigma))) {
        bits = static_cast<uint32_t>(dq::kNoCalibration);
        continue;
      }
      amplitude.at(0, row)[x] = static_cast<float>(a);
      error.at(0, row)[x] = static_cast<float>(sigma);
      if (a > p.strong && a > 5 * sigma) bits = static_cast<uint32_t>(dq::kPersistence);
    }
  }
  return Ok();
}

}  // namespace rampline::solve_persistence
