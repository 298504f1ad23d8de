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

// The thresholds of the published code.
find_jumps::Params Published() {
  find_jumps::Params params;
  params.oneThreshold = 20.25f;
  params.twoThreshold = 23.8f;
  return params;
}

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
          CHECK(worst < (n < 200 ? 1e-4 : 1e-3));
          CHECK(worstError < (n < 200 ? 5e-6 : 1e-4));
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

TEST_CASE("fit-ramp: closed forms") {
  for (const int64_t n : {1, 2, 5, 46}) {
    CAPTURE(n);
    Ramps r(n, 1, 40, 2.0f, 50.0f);
    std::fill(r.diffs.begin(), r.diffs.end(), 30.0f);
    r.Estimate();
    r.Fit();
    const double nd = static_cast<double>(n);
    for (size_t i = 0; i < r.pixels(); i++) {  // equal differences: their value, and nothing left over
      REQUIRE(r.fitted[i] == doctest::Approx(30).epsilon(1e-6));
      REQUIRE(r.chi2[i] < 1e-4f);
      REQUIRE(r.dq[i] == (n == 1 ? dq::kNoChi2 : 0u));
      REQUIRE(r.good[i] == n);
    }
    // Read noise alone: the variance of a least-squares line through N = n + 1 equally good reads.
    std::fill(r.gain.begin(), r.gain.end(), 1e20f);
    r.Fit();
    for (size_t i = 0; i < r.pixels(); i++) {
      REQUIRE(r.error[i] == doctest::Approx(std::sqrt(12 * 50.0 / (nd * (nd + 1) * (nd + 2)))).epsilon(2e-6));
    }
    // Photon noise alone: the mean of the differences, variance R / (g n).
    std::fill(r.gain.begin(), r.gain.end(), 2.0f);
    std::fill(r.variance.begin(), r.variance.end(), 1e-6f);
    for (int64_t k = 0; k < n; k++) {
      for (size_t i = 0; i < r.pixels(); i++) r.diff(k, i) = static_cast<float>(10 + 3 * k);
    }
    r.Estimate();
    r.Fit();
    const double mean = 10 + 1.5 * (nd - 1);
    for (size_t i = 0; i < r.pixels(); i++) {
      REQUIRE(r.fitted[i] == doctest::Approx(mean).epsilon(2e-6));
      REQUIRE(r.error[i] == doctest::Approx(std::sqrt(mean / (2 * nd))).epsilon(2e-6));
    }
  }
}

TEST_CASE("fit-ramp: dense generalised least squares for random masks") {
  std::mt19937_64 rng(3);
  for (const int64_t n : {2, 3, 7, 20}) {
    Ramps r(n, 1, 150);
    Simulate(r, rng, [](size_t i) { return i % 3 == 0 ? 0.5 : 40.0 * static_cast<double>(i % 3); });
    Mask(r, rng, 0.3);
    r.Estimate();
    r.Fit();
    for (size_t i = 0; i < r.pixels(); i++) {
      CAPTURE(n);
      CAPTURE(i);
      Dense::Result fit;
      double rate = r.rate[i];
      for (int iteration = 0; iteration < 2; iteration++) {
        const Dense dense(r, i, rate);
        if (dense.at.empty()) break;
        fit = dense.Solve(r, i);
        rate = fit.rate;
      }
      if (fit.variance == 0) {
        REQUIRE(r.dq[i] == (dq::kNoData | dq::kNoChi2));
        REQUIRE(r.fitted[i] == 0);
        continue;
      }
      const double sigma = std::sqrt(fit.variance);
      REQUIRE(std::abs(r.fitted[i] - fit.rate) < 1e-4 * sigma);
      REQUIRE(r.error[i] == doctest::Approx(sigma).epsilon(1e-5));
      REQUIRE(std::abs(r.chi2[i] - (fit.weights.size() > 1 ? fit.chi2 : 0)) < 1e-4 * (1 + fit.chi2));
    }
  }
}

TEST_CASE("fit-ramp: the bias formula against its definition and against simulated ramps") {
  // Brandt's definition: c' C dw/dR, with c the weights of the estimate that sets the photon noise, by finite difference.
  Ramps one(9, 1, 1, 1.9f, 25.0f);
  for (int64_t k = 0; k < 9; k++) one.diff(k, 0) = 5;
  one.diff(4, 0) = kNan;
  const double rate = 5, step = 1e-3;
  const std::vector<double> low = Dense(one, 0, rate - step).Solve(one, 0).weights;
  const std::vector<double> high = Dense(one, 0, rate + step).Solve(one, 0).weights;
  const Dense dense(one, 0, rate);
  const std::vector<double> w = dense.Solve(one, 0).weights;
  double byDefinition = 0, optimal = 0, squares = 0;
  for (size_t a = 0; a < w.size(); a++) {
    squares += w[a] * w[a];
    for (size_t b = 0; b < w.size(); b++) {
      const int64_t apart = std::abs(dense.at[a] - dense.at[b]);
      const double c = apart == 0 ? rate / 1.9 + 50 : apart == 1 ? -25 : 0;
      byDefinition += c / static_cast<double>(w.size()) * (high[b] - low[b]) / (2 * step);
      optimal += w[a] * c * (high[b] - low[b]) / (2 * step);
    }
  }
  const double closed = (squares - 1.0 / static_cast<double>(w.size())) / 1.9;
  CHECK(closed == doctest::Approx(byDefinition).epsilon(1e-4));
  CHECK(std::abs(optimal) < 1e-6 * closed);  // a weighted fit as the estimate leaves no bias to first order

  // What the kernel takes away, pixel by pixel, is that formula.
  Ramps r(9, 1, 33, 1.9f, 25.0f);
  std::mt19937_64 rng(8);
  Simulate(r, rng, [](size_t) { return 5.0; });
  for (size_t i = 0; i < r.pixels(); i += 2) r.diff(static_cast<int64_t>(i % 9), i) = kNan;
  std::fill(r.rate.begin(), r.rate.end(), 5.0f);
  fit_ramp::Params with, without;
  with.iterations = without.iterations = 1;
  without.debias = 0;
  r.Fit(with);
  const std::vector<float> debiased = r.fitted;
  r.Fit(without);
  for (size_t i = 0; i < r.pixels(); i++) {
    double sum = 0;
    const std::vector<double> weights = Dense(r, i, 5).Solve(r, i).weights;
    for (const double e : weights) sum += e * e;
    const double n = static_cast<double>(weights.size()), sigma = std::sqrt((50 + n * 5 / 1.9)) / n;
    const double expected = (sum - 1 / n) / 1.9 * 0.5 * (1 + std::erf(r.fitted[i] / sigma / std::sqrt(2.0)));
    REQUIRE(std::abs(r.fitted[i] - debiased[i] - expected) < 2e-6);
  }

  // And it is the bias: the mean of many ramps, less the fit with the true photon noise (which has the same random error).
  Ramps many(9, 100, 2000, 1.9f, 25.0f);
  Simulate(many, rng, [](size_t) { return 1.0; });
  const auto meanDifference = [&](int iterations, bool debias) {
    fit_ramp::Params params;
    params.iterations = 1;
    params.debias = 0;
    std::fill(many.rate.begin(), many.rate.end(), 1.0f);
    many.Fit(params);
    const std::vector<float> truth = many.fitted;
    for (size_t i = 0; i < many.pixels(); i++) {
      double sum = 0;
      for (int64_t k = 0; k < many.n; k++) sum += many.diff(k, i);
      many.rate[i] = static_cast<float>(sum / static_cast<double>(many.n));
    }
    params.iterations = iterations;
    params.debias = debias;
    many.Fit(params);
    double bias = 0;
    for (size_t i = 0; i < many.pixels(); i++) bias += static_cast<double>(many.fitted[i]) - truth[i];
    return bias / static_cast<double>(many.pixels());
  };
  const double raw = meanDifference(1, false), mended = meanDifference(1, true), twice = meanDifference(2, true);
  MESSAGE("rate 1 DN/read, 9 differences: bias " << raw << " DN/read, with debias " << mended
                                                 << ", with two iterations " << twice);
  CHECK(raw > 0.003);
  CHECK(std::abs(mended) < 0.15 * raw);
  CHECK(std::abs(twice) < 0.05 * raw);
}

TEST_CASE("find-jumps: every difference and pair left out in turn, by brute force") {
  std::mt19937_64 rng(21);
  for (const bool two : {false, true}) {
    for (const int64_t n : {3, 4, 8, 14}) {
      Ramps r(n, 1, 120, 1.9f, 81.0f);
      Simulate(r, rng, [](size_t i) { return 0.3 * static_cast<double>(i); });
      Mask(r, rng, 0.05);
      for (size_t i = 0; i < r.pixels(); i++) {  // none to three jumps, up and down, of 0 to 12 sigma
        for (size_t j = 0; j < i % 4; j++)
          r.diff(static_cast<int64_t>(rng() % static_cast<uint64_t>(n)), i) += static_cast<float>(rng() % 180) - 30;
      }
      Ramps expected = r;
      r.Estimate();
      const std::vector<float> start = r.rate;
      find_jumps::Params params;
      params.twoOmit = two;
      r.Find(params);
      int differ = 0, dropped = 0;
      for (size_t i = 0; i < r.pixels(); i++) {
        double guess = start[i];
        Dense::Result all;
        for (;;) {
          const Dense dense(expected, i, guess);
          const size_t good = dense.at.size();
          if (good == 0) break;
          all = dense.Solve(expected, i);
          double best = params.oneThreshold;
          std::vector<int64_t> drop;
          const auto without = [&](std::vector<int64_t> planes, double penalty) {
            Ramps less(n, 1, 1, 1.9f, 81.0f);
            for (int64_t k = 0; k < n; k++) less.diff(k, 0) = expected.diff(k, i);
            for (const int64_t k : planes) less.diff(k, 0) = kNan;
            const double fall = all.chi2 - Dense(less, 0, guess).Solve(less, 0).chi2 - penalty;
            if (fall > best) {
              best = fall;
              drop = planes;
            }
          };
          if (good >= 3) {
            for (const int64_t k : dense.at) without({k}, 0);
          }
          if (two && good >= 4) {
            for (size_t a = 0; a + 1 < good; a++) {
              if (dense.at[a + 1] == dense.at[a] + 1) {
                without({dense.at[a], dense.at[a] + 1}, static_cast<double>(params.twoThreshold) - params.oneThreshold);
              }
            }
          }
          if (drop.empty()) break;
          for (const int64_t k : drop) expected.diff(k, i) = kNan;
          std::vector<double> rest;
          for (int64_t k = 0; k < n; k++) {
            if (!std::isnan(expected.diff(k, i))) rest.push_back(expected.diff(k, i));
          }
          std::sort(rest.begin(), rest.end());
          const size_t skip = rest.size() > 2 ? 1 : 0;
          guess = 0;
          for (size_t k = skip; k + skip < rest.size(); k++)
            guess += rest[k] / static_cast<double>(rest.size() - 2 * skip);
        }
        bool same = true;
        int count = 0;
        for (int64_t k = 0; k < n; k++) {
          same = same && std::isnan(expected.diff(k, i)) == std::isnan(r.diff(k, i));
          count += std::isnan(r.diff(k, i));
        }
        dropped += r.jumps[i];
        differ += !same;
        if (same && count < n) REQUIRE(std::abs(r.rate[i] - all.rate) < 1e-3 * std::sqrt(all.variance));
      }
      CAPTURE(n);
      CAPTURE(two);
      CHECK(dropped > 20);
      CHECK(differ == 0);
    }
  }
}

TEST_CASE("clip-jumps: the definition, with ties, constants, few differences and a thousand") {
  std::mt19937_64 rng(2);
  for (const int64_t n : {1, 2, 3, 4, 5, 11, 45, 64, 65, 1000}) {
    Ramps r(n, 2, 77);
    Simulate(r, rng, [](size_t i) { return static_cast<double>(i); });
    for (size_t i = 0; i < r.pixels(); i++) {
      if (i % 5 == 0) r.diff(static_cast<int64_t>(rng() % static_cast<uint64_t>(n)), i) += 5000;
      if (i % 7 == 0) {
        for (int64_t k = 0; k < n; k++) r.diff(k, i) = i % 2 ? 3.0f : std::round(r.diff(k, i) / 16);
      }
    }
    Mask(r, rng, 0.1);
    Ramps b = r;
    r.Clip();
    b.Clip({}, true);
    CAPTURE(n);
    for (size_t i = 0; i < r.pixels(); i++) {
      REQUIRE(r.jumps[i] == b.jumps[i]);
      REQUIRE(r.rate[i] == doctest::Approx(b.rate[i]).epsilon(1e-5));
      for (int64_t k = 0; k < n; k++) REQUIRE(std::isnan(r.diff(k, i)) == std::isnan(b.diff(k, i)));
    }
  }
}

TEST_CASE("dcs: last less first, runs apart, saturation") {
  Ramps r(4, 1, 5, 2.0f, 30.0f);
  const float table[5][4] = {
      {10, 12, 14, 16}, {10, kNan, 14, 16}, {10, 12, kNan, kNan}, {kNan, kNan, kNan, kNan}, {-40, -1, -1, -2}};
  for (size_t i = 0; i < 5; i++) {
    for (int64_t k = 0; k < 4; k++) r.diff(k, i) = table[i][k];
  }
  r.lastGood = {5, 5, 3, 1, 5};
  r.jumps[1] = 1;
  r.Dcs();
  const double rates[5] = {13, 40 / 3.0, 11, 0, -11};
  const double errors[5] = {std::sqrt(60 + 26) / 4, std::sqrt(120 + 20) / 3, std::sqrt(60 + 11) / 2, 0,
                            std::sqrt(60) / 4};
  const uint32_t flags[5] = {0, dq::kJump, dq::kPartlySaturated, dq::kSaturated | dq::kNoData, 0};
  for (size_t i = 0; i < 5; i++) {
    CAPTURE(i);
    CHECK(r.fitted[i] == doctest::Approx(rates[i]));
    CHECK(r.error[i] == doctest::Approx(errors[i]));
    CHECK(r.dq[i] == (flags[i] | dq::kNoChi2));
    CHECK(r.chi2[i] == 0);
  }
}

// Floats that a few lines of Python print as bytes; empty when Python, astropy or the data are not there.
std::vector<float> FromPython(const std::string& lines) {
  const std::string data = std::string(RAMPLINE_SOURCE_DIR) + "/../shared/data/ramp/";
  const std::string command =
      "/usr/bin/python3 -c 'import sys, json\nimport numpy as np\nfrom astropy.io import fits\nD = \"" + data +
      "\"\nout = lambda a: sys.stdout.buffer.write(a.astype(\"f4\").tobytes())\n" + lines + "' 2>/dev/null";
  std::vector<float> out;
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return out;
  float buffer[4096];
  for (size_t n; (n = fread(buffer, sizeof(float), 4096, pipe)) > 0;) out.insert(out.end(), buffer, buffer + n);
  if (pclose(pipe) != 0) out.clear();
  return out;
}

TEST_CASE("real WFC3/IR ramp: mask, rates and errors of the published likelihood code") {
  // Reads lie newest first, in e-/s; a read is its rate times SAMPTIME. The reference fit took the first read as 0.
  const std::vector<float> data = FromPython(R"(
h = fits.open(D + "wfc3-ir/iccz11q4q_ima.fits")
reads = [e.data.astype("f8") * e.header["SAMPTIME"] for e in h if e.name == "SCI"][::-1]
out(np.diff(np.array(reads), axis=0))
r = fits.open(D + "reference-fits/wfc3_fitramp.fits.gz")
for k in ("SLOPE", "UNCERT", "CHISQ", "USE"): out(r[k].data)
)");
  const int64_t side = 266;
  const size_t px = side * side;
  if (data.size() != 9 * px) {
    MESSAGE("skipped: python3-astropy or ../shared/data/ramp is not there");
    return;
  }
  Ramps r(3, side, side, 1.0f, 400.0f);
  std::copy(data.begin(), data.begin() + static_cast<int64_t>(3 * px), r.diffs.begin());
  r.Estimate();
  r.Find(Published());
  fit_ramp::Params params;
  params.iterations = 1;  // find-jumps leaves a fit
  params.debias = 0;
  params.unit = fit_ramp::kElectronPerSecond;
  params.readTimeSeconds = 0.277815f;
  r.Fit(params);
  const float *slope = data.data() + 3 * px, *error = slope + px, *chi2 = error + px, *use = chi2 + px;
  int masks = 0, dropped = 0;
  double worst = 0, worstError = 0, worstChi2 = 0;
  for (size_t i = 0; i < px; i++) {
    bool same = true;
    for (int64_t k = 0; k < 3; k++) {
      const bool used = use[static_cast<size_t>(k) * px + i] != 0;
      same = same && used == !std::isnan(r.diff(k, i));
      dropped += !used;
    }
    masks += !same;
    if (!same) continue;
    worst = std::max<double>(worst, std::abs(r.fitted[i] - slope[i]) / error[i]);
    worstError = std::max<double>(worstError, std::abs(r.error[i] / error[i] - 1));
    worstChi2 = std::max<double>(worstChi2, std::abs(r.chi2[i] - chi2[i]));
  }
  std::vector<float> rates = r.fitted, errors = r.error;
  std::sort(rates.begin(), rates.end());
  std::sort(errors.begin(), errors.end());
  const double median = 0.5 * (static_cast<double>(rates[px / 2 - 1]) + rates[px / 2]);
  MESSAGE("WFC3: masks that differ " << masks << " of " << px << " (" << dropped
                                     << " differences dropped there), median " << median << ", error " << errors[px / 2]
                                     << ", worst rate " << worst << " sigma, error " << worstError << ", chi2 "
                                     << worstChi2);
  CHECK(masks == 0);
  CHECK(dropped == 73);
  CHECK(median == doctest::Approx(-0.14649).epsilon(1e-4));
  CHECK(errors[px / 2] == doctest::Approx(32.195).epsilon(1e-5));
  CHECK(worst < 1e-3);
}

TEST_CASE("published slope cases: what generalised least squares must share with ordinary least squares") {
  // 18 ramps: 10 or 2 groups; each float block: groups, flags, then rn, gain, time, slope, err, var_poisson, var_rnoise, dq.
  const std::vector<float> data = FromPython(R"(
for c in json.load(open(D + "ramp_slope_cases.json"))["cases"]:
    i = c["inputs"]; d = np.array(i["data_dn"])[0]; f = np.array(i["group_dq"])[0]
    for p, e in enumerate(c["expected"]["pixels"]):
        v = [len(d)] + list(d[:, 0, p]) + list(f[:, 0, p]) + [i["read_noise_dn"][0][p], i["gain_e_per_dn"][0][p], i["timing"]["group_time_s"]]
        v += [float(e[k]) for k in ("slope", "err", "var_poisson", "var_rnoise", "dq")]
        out(np.array(v))
)");
  if (data.empty()) {
    MESSAGE("skipped: python3-astropy or ../shared/data/ramp is not there");
    return;
  }
  int cases = 0, exact = 0;
  for (const float* p = data.data(); p < data.data() + data.size();) {
    const int64_t groups = static_cast<int64_t>(*p++);
    const float *dn = p, *flags = p + groups;
    p += 2 * groups;
    const float rn = p[0], gain = p[1], time = p[2], slope = p[3], err = p[4], poisson = p[5], read = p[6];
    const int flagged = static_cast<int>(p[7]);
    p += 8;
    CAPTURE(cases);
    cases++;
    // A saturated or unusable group spoils both differences it is part of, a jump the one that ends in it. The read noise
    // is that of a difference of two reads.
    Ramps r(groups - 1, 1, 1, gain, rn * rn / 2);
    int64_t good = 0, last = groups;
    std::vector<float> used;
    for (int64_t k = groups; k-- > 0;) {
      if (static_cast<int>(flags[k]) & 2) last = k;
    }
    for (int64_t k = 0; k + 1 < groups; k++) {
      const int a = static_cast<int>(flags[k]), b = static_cast<int>(flags[k + 1]);
      const bool ok = (a & 3) == 0 && (b & 7) == 0;
      r.diff(k, 0) = ok ? dn[k + 1] - dn[k] : kNan;
      if (ok) used.push_back(dn[k + 1] - dn[k]);
      good += ok;
      // a jump next to an unusable group is not one of ours
      r.jumps[0] = static_cast<uint16_t>(r.jumps[0] + ((b & 4) != 0 && ((a | b) & 3) == 0));
    }
    r.lastGood[0] = static_cast<uint16_t>(last);
    r.Estimate();
    r.Fit();
    if (good == 0) {
      // With one good group the published code divides its counts by the time; here a single read has no rate.
      CHECK(r.dq[0] == (dq::kNoData | dq::kNoChi2 | dq::kSaturated));
      CHECK(r.fitted[0] == 0);
      continue;
    }
    CHECK(r.good[0] == good);
    CHECK(((r.dq[0] & (dq::kJump | dq::kJumps)) != 0) == ((flagged & 4) != 0));
    CHECK(((r.dq[0] & (dq::kPartlySaturated | dq::kSaturated)) != 0) == ((flagged & 2) != 0));
    const double fitted = r.fitted[0] / time, error = r.error[0] / time;
    // Two weightings of the same data: slopes within a tenth of the error, and errors within 3.5 % (the published ones take
    // the photon noise from the median difference, ours from the fit). Only a single difference leaves no choice.
    const double apart = (fitted - slope) / err;
    if (cases == 7) {
      // A jump of 310 DN that nobody flagged: no straight line, so the weighting decides. Chi-square says so, and the jump
      // test finds it.
      CHECK(r.chi2[0] > 3 * static_cast<float>(good - 1));
      Ramps mended = r;
      mended.Find();
      mended.Fit();
      CHECK(mended.jumps[0] == 1);
      CHECK(std::isnan(mended.diff(5, 0)));
      CHECK(mended.chi2[0] < 2 * static_cast<float>(mended.good[0] - 1));
    } else {
      CHECK(std::abs(apart) < 0.1);
      CHECK(std::abs(error / err - 1) < 0.035);
    }
    MESSAGE("case " << cases << ": " << good << " differences, slope " << slope << " +- " << err << ", here " << fitted
                    << " +- " << error << ": " << apart << " sigma");
    // Read noise alone: exactly the published read-noise variance, of all segments together.
    Ramps quiet = r;
    quiet.gain[0] = 1e20f;
    quiet.Fit();
    CHECK(quiet.error[0] * quiet.error[0] / (time * time) == doctest::Approx(read).epsilon(2e-5));
    // Photon noise alone, from the median difference: exactly the published Poisson variance.
    std::sort(used.begin(), used.end());
    const double median = 0.5 * (used[(used.size() - 1) / 2] + used[used.size() / 2]);
    Ramps photons = r;
    photons.variance[0] = 1e-5f;
    photons.rate[0] = static_cast<float>(median);
    fit_ramp::Params once;
    once.iterations = 1;
    photons.Fit(once);
    CHECK(photons.error[0] * photons.error[0] / (time * time) == doctest::Approx(poisson).epsilon(1e-4));
    if (good == 1) {
      exact++;
      CHECK(fitted == doctest::Approx(slope).epsilon(2e-5));
      CHECK(error == doctest::Approx(err).epsilon(2e-5));
    }
  }
  CHECK(cases == 18);
  CHECK(exact >= 2);
}

// What the upstream project tests its own fit with (section 2.12 of the notes on it), with fewer pixels: gain 1, read noise 5 DN,
// 11 reads, rates 10 to 4000 DN/read, jumps of 10 000 DN.
TEST_CASE("simulated truth: unbiased, honest errors, jumps found") {
  const int64_t rows = 64, cols = 2560, n = 10;
  std::mt19937_64 rng(77);
  std::normal_distribution<double> normal;
  Ramps made(n, rows, cols, 1.0f, 25.0f);
  std::vector<double> truth(made.pixels());
  std::vector<int> hitAt(made.pixels(), -1);
  for (size_t i = 0; i < made.pixels(); i++) {
    truth[i] = 10 * std::pow(400.0, static_cast<double>(i % static_cast<size_t>(cols)) / (cols - 1));
    double last = 5 * normal(rng), sum = 1000;
    if (i % 100 == 7) hitAt[i] = static_cast<int>(rng() % static_cast<uint64_t>(n));
    made.lastGood[i] = static_cast<uint16_t>(n + 1);
    for (int64_t k = 0; k < n; k++) {
      double step = truth[i] + std::sqrt(truth[i]) * normal(rng);
      if (hitAt[i] == k) step += 10000;
      const double noise = 5 * normal(rng);
      sum += step;
      made.diff(k, i) = static_cast<float>(step + noise - last);
      last = noise;
      if (sum > 0.9 * 65536 * (i % 131 == 5 ? 0.1 : 1.0)) {  // saturated from this read on
        for (int64_t j = k; j < n; j++) made.diff(j, i) = kNan;
        made.lastGood[i] = static_cast<uint16_t>(k + 1);
        break;
      }
    }
  }
  for (const bool likelihood : {true, false}) {
    Ramps r = made;
    r.Estimate();
    if (likelihood)
      r.Find();
    else
      r.Clip();
    r.Fit();
    double z = 0, z2 = 0, ratio = 0, ratioBright = 0, zBright = 0, hz = 0, hz2 = 0, hratio = 0, sz = 0, chi2 = 0;
    size_t m = 0, bright = 0, hits = 0, found = 0, right = 0, dropped = 0, cut = 0;
    for (size_t i = 0; i < r.pixels(); i++) {
      const bool visible = hitAt[i] >= 0 && !std::isnan(made.diff(hitAt[i], i)) && made.lastGood[i] > 3;
      if (visible) {
        hits++;
        found += std::isnan(r.diff(hitAt[i], i));
        right += std::isnan(r.diff(hitAt[i], i));
      }
      dropped += r.jumps[i];
      if (r.good[i] < 2) continue;
      const double e = (r.fitted[i] - truth[i]) / r.error[i];
      if (visible) {
        hz += e;
        hz2 += e * e;
        hratio += r.fitted[i] / truth[i] - 1;
        continue;
      }
      if (made.lastGood[i] < n + 1) {
        sz += e;
        cut++;
      }
      z += e;
      z2 += e * e;
      m++;
      chi2 += r.chi2[i] / (r.good[i] - 1);
      ratio += r.fitted[i] / truth[i] - 1;
      if (truth[i] > 1000) {
        bright++;
        zBright += e;
        ratioBright += r.fitted[i] / truth[i] - 1;
      }
    }
    const auto over = [](double a, size_t b) { return a / static_cast<double>(b); };
    const double meanZ = over(z, m), stdZ = std::sqrt(over(z2, m) - meanZ * meanZ);
    const double meanHit = over(hz, hits), stdHit = std::sqrt(over(hz2, hits) - meanHit * meanHit);
    MESSAGE(std::string(likelihood ? "likelihood" : "clip")
            << ": mean z " << meanZ << " (bright " << over(zBright, bright) << ", saturated " << over(sz, cut)
            << "), std z " << stdZ << ", flux ratio - 1 " << over(ratio, m) << " (bright " << over(ratioBright, bright)
            << "), chi2/dof " << over(chi2, m) << "; pixels with a jump: mean z " << meanHit << ", std " << stdHit
            << ", ratio " << over(hratio, hits) << "; purity " << over(static_cast<double>(right), dropped)
            << ", completeness " << over(static_cast<double>(found), hits));
    CHECK(std::abs(meanZ) < 0.05);
    CHECK(std::abs(over(sz, cut)) < 0.05);
    CHECK(std::abs(stdZ - 1) < 0.007);
    CHECK(std::abs(over(ratio, m)) < 3e-3);
    CHECK(std::abs(over(ratioBright, bright)) < 3e-4);
    CHECK(std::abs(meanHit) < 0.06);
    CHECK(std::abs(stdHit - 1) < 0.05);
    CHECK(over(static_cast<double>(right), dropped) > 0.97);
    CHECK(over(static_cast<double>(found), hits) > 0.99);
  }
}

TEST_CASE("jumps of 4 sigma and up: completeness above the clip's everywhere, false alarms rare") {
  const int64_t n = 44, rows = 4, cols = 2048;
  std::mt19937_64 rng(5);
  double lastFound[2] = {};
  for (const double size : {0.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 40.0}) {
    Ramps made(n, rows, cols, 1.9f, 81.0f);
    Simulate(made, rng, [](size_t i) { return 2.0 + 0.02 * static_cast<double>(i % 2048); });
    std::vector<int64_t> at(made.pixels());
    for (size_t i = 0; i < made.pixels(); i++) {
      at[i] = static_cast<int64_t>(rng() % static_cast<uint64_t>(n));
      const double sigma = std::sqrt(162 + (2.0 + 0.02 * static_cast<double>(i % 2048)) / 1.9);
      made.diff(at[i], i) += static_cast<float>(size * sigma);
    }
    double found[3] = {}, wrong[3] = {};  // the defaults, the clip, the published thresholds
    for (const int clip : {0, 1, 2}) {
      Ramps r = made;
      r.Estimate();
      if (clip == 1)
        r.Clip();
      else
        r.Find(clip == 2 ? Published() : find_jumps::Params());
      for (size_t i = 0; i < r.pixels(); i++) {
        const bool hit = size > 0 && std::isnan(r.diff(at[i], i));
        found[clip] += hit;
        wrong[clip] += r.jumps[i] - hit;
      }
    }
    const double px = static_cast<double>(made.pixels());
    MESSAGE(size << " sigma: found " << found[0] / px << " (clip " << found[1] / px << ", published " << found[2] / px
                 << "), false alarms a pixel " << wrong[0] / px << " (clip " << wrong[1] / px << ", published "
                 << wrong[2] / px << ")");
    for (const int i : {0, 2}) {
      CHECK(found[i] >= found[1]);
      CHECK(found[i] >= lastFound[i / 2]);
      lastFound[i / 2] = found[i];
    }
    // At the threshold a neighbour now and then falls in its place.
    CHECK(wrong[2] / px < (size == 4 ? 0.01 : 0.003));
    CHECK(wrong[0] <= wrong[2]);
    if (size == 0) CHECK(wrong[0] / px < 2e-4);
    if (size >= 20) {
      CHECK(found[0] / px > 0.99);
      CHECK(found[0] / (found[0] + wrong[0]) > 0.99);
    }
  }
}

}  // namespace
}  // namespace rampline
