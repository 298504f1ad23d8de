// The kernels of the up-the-ramp fit against closed forms, against other ways to compute the same numbers, against other
// people's results, and against simulated truth.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "generated/clip-jumps.h"
#include "generated/dcs.h"
#include "generated/dq.h"
#include "generated/estimate-rate.h"
#include "generated/find-jumps.h"
#include "generated/fit-ramp.h"
#include "native/core/cpu.h"
#include "native/core/kernel.h"

namespace rampline {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Ramps of some pixels with everything the kernels read and write, and the chain jumps -> fit.
struct Ramps {
  int64_t n, rows, cols;  // n differences
  std::vector<float> diffs, gain, variance, rate, fitted, error, chi2;
  std::vector<uint16_t> jumps, lastGood, good;
  std::vector<uint32_t> dq;

  Ramps(int64_t n_, int64_t rows_, int64_t cols_, float g = 1.9f, float v = 81.0f)
      : n(n_),
        rows(rows_),
        cols(cols_),
        diffs(Size(n_)),
        gain(Size(1), g),
        variance(Size(1), v),
        rate(Size(1)),
        fitted(Size(1)),
        error(Size(1)),
        chi2(Size(1)),
        jumps(Size(1)),
        lastGood(Size(1), static_cast<uint16_t>(n_ + 1)),
        good(Size(1)),
        dq(Size(1)) {}
  size_t Size(int64_t planes) const { return static_cast<size_t>(planes * rows * cols); }
  size_t pixels() const { return Size(1); }
  float& diff(int64_t k, size_t i) { return diffs[static_cast<size_t>(k) * pixels() + i]; }

  Array Of(std::vector<float>& v, int64_t planes) const {
    return {v.data(), DType::kF32, planes, rows, cols, rows * cols, cols};
  }
  template <class T>
  Array Map(std::vector<T>& v, DType type) const {
    return {v.data(), type, 1, rows, cols, rows * cols, cols};
  }
  Array F(std::vector<float>& v) const { return Map(v, DType::kF32); }
  Array U(std::vector<uint16_t>& v) const { return Map(v, DType::kU16); }

  void Call(const char* name, std::vector<Array> ports, const void* params, bool reference) {
    const KernelInfo* kernel = FindKernel(name);
    REQUIRE(kernel != nullptr);
    REQUIRE(kernel->ports.size() == ports.size());
    for (size_t p = 0; p < ports.size(); p++) REQUIRE(kernel->ports[p].dtype == ports[p].dtype);
    const ScratchNeed& need = kernel->scratch;
    const size_t planes = static_cast<size_t>(n), px = static_cast<size_t>(cols * rows);
    const size_t floats = need.base + planes * need.perPlane + px * need.perPixel + planes * px * need.perPlanePixel;
    std::vector<float> memory(floats + 16);
    float* aligned = memory.data();
    while (reinterpret_cast<uintptr_t>(aligned) % 64 != 0) aligned++;
    KernelCall call;
    call.ports = ports;
    call.params = params;
    call.whole = {n, rows, cols};
    call.scratch = {aligned, floats};
    REQUIRE((reference ? kernel->reference : kernel->run)(call).ok());
  }
  void Estimate(bool reference = false) { Call("estimate-rate", {Of(diffs, n), F(rate)}, nullptr, reference); }
  void Find(const find_jumps::Params& params = {}, bool reference = false) {
    Call("find-jumps", {Of(diffs, n), F(gain), F(variance), F(rate), U(jumps)}, &params, reference);
  }
  void Clip(const clip_jumps::Params& params = {}, bool reference = false) {
    Call("clip-jumps", {Of(diffs, n), F(rate), U(jumps)}, &params, reference);
  }
  void Fit(const fit_ramp::Params& params = {}, bool reference = false) {
    std::fill(dq.begin(), dq.end(), 0u);
    Call("fit-ramp",
         {Of(diffs, n), F(gain), F(variance), F(rate), U(jumps), U(lastGood), F(fitted), F(error), F(chi2), U(good),
          Map(dq, DType::kU32)},
         &params, reference);
  }
  void Dcs(const dcs::Params& params = {}, bool reference = false) {
    std::fill(dq.begin(), dq.end(), 0u);
    Call("dcs",
         {Of(diffs, n), F(gain), F(variance), U(jumps), U(lastGood), F(fitted), F(error), F(chi2), U(good),
          Map(dq, DType::kU32)},
         &params, reference);
  }
};

// Poisson electrons and a normal read noise, in DN.
void Simulate(Ramps& r, std::mt19937_64& rng, const std::function<double(size_t)>& rateOf) {
  std::normal_distribution<double> normal;
  for (size_t i = 0; i < r.pixels(); i++) {
    const double g = r.gain[i], sigma = std::sqrt(r.variance[i]);
    double last = sigma * normal(rng);
    for (int64_t k = 0; k < r.n; k++) {
      const double electrons = rateOf(i) * g;
      double dn = 0;
      if (electrons > 0) dn = static_cast<double>(std::poisson_distribution<int64_t>(electrons)(rng)) / g;
      const double read = sigma * normal(rng);
      r.diff(k, i) = static_cast<float>(dn + read - last);
      last = read;
    }
  }
}

// The same by brute force: a dense covariance matrix of the good differences, inverted by Gauss and Jordan in long double.
struct Dense {
  std::vector<std::vector<long double>> inverse;
  std::vector<int64_t> at;  // plane of each row

  Dense(Ramps& r, size_t i, double rate) {
    for (int64_t k = 0; k < r.n; k++) {
      if (!std::isnan(r.diff(k, i))) at.push_back(k);
    }
    const size_t m = at.size();
    const long double g = r.gain[i], v = r.variance[i];
    std::vector<std::vector<long double>> c(m, std::vector<long double>(2 * m));
    for (size_t a = 0; a < m; a++) {
      for (size_t b = 0; b < m; b++) {
        const int64_t apart = std::abs(at[a] - at[b]);
        c[a][b] = apart == 0 ? std::max(rate, 0.0) / g + 2 * v : apart == 1 ? -v : 0;
      }
      c[a][m + a] = 1;
    }
    for (size_t a = 0; a < m; a++) {
      const long double pivot = c[a][a];  // positive definite: no exchange needed
      for (auto& e : c[a]) e /= pivot;
      for (size_t b = 0; b < m; b++) {
        if (b == a) continue;
        const long double f = c[b][a];
        for (size_t k = 0; k < 2 * m; k++) c[b][k] -= f * c[a][k];
      }
    }
    inverse.assign(m, std::vector<long double>(m));
    for (size_t a = 0; a < m; a++) std::copy(c[a].begin() + static_cast<int64_t>(m), c[a].end(), inverse[a].begin());
  }
  // sum over a, b of u_a inverse_ab w_b, without the rows in `omit`
  struct Result {
    double rate = 0, variance = 0, chi2 = 0;
    std::vector<double> weights;
  };
  Result Solve(Ramps& r, size_t i) const {
    const size_t m = at.size();
    long double ones = 0, cross = 0, square = 0;
    Result out;
    std::vector<long double> h(m);
    for (size_t a = 0; a < m; a++) {
      for (size_t b = 0; b < m; b++) {
        const long double c = inverse[a][b], da = r.diff(at[a], i), db = r.diff(at[b], i);
        h[a] += c;
        ones += c;
        cross += c * da;
        square += c * da * db;
      }
    }
    for (const long double e : h) out.weights.push_back(static_cast<double>(e / ones));
    out.rate = static_cast<double>(cross / ones);
    out.variance = static_cast<double>(1 / ones);
    out.chi2 = static_cast<double>(square - cross * cross / ones);
    return out;
  }
};

void Mask(Ramps& r, std::mt19937_64& rng, double fraction) {
  std::uniform_real_distribution<double> uniform;
  for (float& v : r.diffs) {
    if (uniform(rng) < fraction) v = kNan;
  }
}

TEST_CASE("ramp kernels: SIMD equals the double-precision reference for any length, mask and CPU target") {
  std::mt19937_64 rng(11);
  for (const int64_t n : {0, 1, 2, 3, 4, 9, 46, 101, 449}) {
    for (const double missing : {0.0, 0.1, 0.9}) {
      const int64_t cols = 131;
      Ramps made(n, 3, cols, 1.9f, 81.0f);
      // up to 60 000 DN in all, as a 16-bit read can hold
      const double most = 60000.0 / static_cast<double>(std::max<int64_t>(n, 46));
      Simulate(made, rng, [&](size_t i) {
        return i % 7 == 0 ? 0.0 : most * std::pow(1e-4, (static_cast<double>(i % 50)) / 50.0);
      });
      Mask(made, rng, missing);
      for (size_t i = 0; i < made.diffs.size(); i += 997) made.diffs[i] += 4000;  // jumps
      made.gain[5] = kNan;
      made.variance[6] = 0;
      made.gain[140] = -1;
      for (size_t i = 0; i < made.pixels(); i++)
        made.lastGood[i] = static_cast<uint16_t>(rng() % static_cast<uint64_t>(n + 2));
      CAPTURE(n);
      CAPTURE(missing);
      for (const std::string& target : AvailableTargets()) {
        CAPTURE(target);
        REQUIRE(LimitTarget(target));
        for (const int variant : {0, 1, 2, 3}) {  // find-jumps with one-omit, with two-omit; clip-jumps; one iteration
          CAPTURE(variant);
          Ramps a = made, b = made;
          for (Ramps* r : {&a, &b}) {
            const bool reference = r == &b;
            find_jumps::Params find;
            find.twoOmit = variant == 1;
            fit_ramp::Params fit;
            fit.iterations = variant == 3 ? 1 : 2;
            r->Estimate(reference);
            if (variant == 2)
              r->Clip({}, reference);
            else
              r->Find(find, reference);
            r->Fit(fit, reference);
          }
          int decisions = 0;
          double worst = 0, worstError = 0, worstChi2 = 0;
          for (size_t i = 0; i < a.pixels(); i++) {
            if (a.jumps[i] != b.jumps[i]) {
              decisions++;
              continue;
            }
            REQUIRE(a.good[i] == b.good[i]);
            REQUIRE(a.dq[i] == b.dq[i]);
            if (b.error[i] == 0) {
              REQUIRE(a.error[i] == 0);
              REQUIRE(a.fitted[i] == 0);
              continue;
            }
            worst = std::max<double>(worst, std::abs(a.fitted[i] - b.fitted[i]) / b.error[i]);
            worstError = std::max<double>(worstError, std::abs(a.error[i] / b.error[i] - 1));
            worstChi2 = std::max<double>(worstChi2, std::abs(a.chi2[i] - b.chi2[i]) / (b.good[i] + b.chi2[i]));
          }
          CHECK(decisions <= (variant == 1 ? 4 : 1));
          CHECK(worst < 1e-3);
          CHECK(worstError < (n < 100 ? 5e-5 : 2e-3));
          CHECK(worstChi2 < 1e-5);
          if (std::getenv("RAMPLINE_SHOW")) {
            std::printf("n %3d missing %.1f %s variant %d: decisions %d pull %.1e error %.1e chi2 %.1e\n",
                        static_cast<int>(n), missing, target.c_str(), variant, decisions, worst, worstError, worstChi2);
          }
        }
      }
      LimitTarget("");
    }
  }
}

}  // namespace
}  // namespace rampline
