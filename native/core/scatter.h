// What the references of the kernels that close running means share: see scatter-inl.h.
#pragma once

#include <algorithm>
#include <cmath>

namespace rampline::scatter {

inline bool Exceeds(double chi2, double dof, double limit, double z) {
  if (!(dof >= 1)) return false;
  const double h = 2 / (9 * dof);
  return chi2 > dof * std::max(limit, std::pow(1 - h + z * std::sqrt(h), 3));
}

struct Closed {
  bool usable;
  double error, chi2, dof;
};

inline Closed Close(double mean, double weight, double variance, double expected, double scatter, int count,
                    double inflateSigma) {
  const double raw = std::sqrt(std::max(variance, 0.0)) / weight, dof = count - 1;
  const double chi2 = expected > 1e-30f ? scatter * count / expected : 0;
  const double f = Exceeds(chi2, dof, 1, inflateSigma) ? chi2 / dof : 1;
  const bool usable = count >= 1 && std::isfinite(mean) && weight > 0 && raw > 0 && std::isfinite(raw);
  return {usable, raw * std::sqrt(f), chi2, dof};
}

}  // namespace rampline::scatter
