// The generator of the mock detector: published words, the same bits from SIMD and scalar code, moments of the deviates.
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "generated/mock-normal.h"
#include "generated/mock-photons.h"
#include "native/core/cpu.h"
#include "native/core/random.h"

namespace rampline {
namespace {

// Ports of mock-normal or mock-photons over rows x cols.
Array Map(std::vector<float>& data, int64_t rows, int64_t cols) {
  return {data.data(), DType::kF32, 1, rows, cols, rows * cols, cols};
}

struct Moments {
  double mean = 0, variance = 0, skewness = 0, kurtosis = 0;
};

Moments MomentsOf(const std::vector<float>& values) {
  Moments m;
  const double n = static_cast<double>(values.size());
  for (float v : values) m.mean += v / n;
  double third = 0, fourth = 0;
  for (float v : values) {
    const double d = v - m.mean;
    m.variance += d * d / n;
    third += d * d * d / n;
    fourth += d * d * d * d / n;
  }
  m.skewness = third / std::pow(m.variance, 1.5);
  m.kurtosis = fourth / (m.variance * m.variance);
  return m;
}

constexpr int64_t kRows = 400, kCols = 2560;
constexpr double kCount = static_cast<double>(kRows * kCols);

std::vector<float> Photons(float rate, int32_t read) {
  std::vector<float> rates(kRows * kCols, rate), charge(kRows * kCols, 0.0f);
  mock_photons::Params params;
  params.read = read;
  const Array ports[] = {Map(rates, kRows, kCols), Map(charge, kRows, kCols)};
  KernelCall call;
  call.ports = ports;
  call.params = &params;
  REQUIRE(mock_photons::Run(call).ok());
  return charge;
}

}  // namespace

TEST_CASE("random: Philox gives the words published with it") {
  // kat_vectors of Random123 (Salmon et al. 2011), philox4x32 10 rounds
  struct Vector {
    uint32_t counter[4];
    random::Key key;
    uint32_t words[4];
  };
  const Vector vectors[] = {
      {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
       {0xa4093822, 0x299f31d0},
       {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
  };
  for (const Vector& v : vectors) {
    uint32_t out[4];
    random::Philox(v.counter, v.key, out);
    for (int i = 0; i < 4; i++) CHECK(out[i] == v.words[i]);
  }
}

TEST_CASE("random: logarithm and exponential agree with libm to single precision") {
  double worstLog = 0, worstExp = 0;
  for (int i = 1; i < 200000; i++) {
    const float x = static_cast<float>(i) * 5e-6f;
    worstLog = std::max(worstLog, std::abs(random::Log(x) - std::log(static_cast<double>(x))) /
                                      std::max(1.0, std::abs(std::log(static_cast<double>(x)))));
    const float y = static_cast<float>(i) * 4e-4f;
    const double expected = std::exp(-static_cast<double>(y));
    worstExp = std::max(worstExp, std::abs(random::ExpMinus(y) - expected) / expected);
  }
  CHECK(worstLog < 2e-7);
  CHECK(worstExp < 2e-7);
}

TEST_CASE("random: normal deviates have the moments of a normal distribution") {
  std::vector<float> level(5, 0.0f), map(kRows * kCols);
  mock_normal::Params params;
  const Array ports[] = {{level.data(), DType::kF32, 1, 1, 5, 5, 5}, Map(map, kRows, kCols)};
  KernelCall call;
  call.ports = ports;
  call.params = &params;
  REQUIRE(mock_normal::Run(call).ok());
  const Moments m = MomentsOf(map);
  // Five standard errors of each moment
  CHECK(std::abs(m.mean) < 5 / std::sqrt(kCount));
  CHECK(std::abs(m.variance - 1) < 5 * std::sqrt(2 / kCount));
  CHECK(std::abs(m.skewness) < 5 * std::sqrt(6 / kCount));
  CHECK(std::abs(m.kurtosis - 3) < 5 * std::sqrt(24 / kCount));
  int64_t beyond4 = 0;
  for (float v : map) beyond4 += std::abs(v) > 4;
  // 6.334e-5 of a normal distribution lies beyond 4 sigma: 64.9 expected, five standard deviations either way
  CHECK(beyond4 > 24);
  CHECK(beyond4 < 106);
}

TEST_CASE("random: Poisson deviates have the mean, variance and skewness of their rate") {
  for (const float rate : {0.01f, 0.1f, 1.0f, 3.0f, 10.0f, 29.9f, 30.1f, 300.0f, 3000.0f}) {
    CAPTURE(rate);
    const Moments m = MomentsOf(Photons(rate, 0));
    CHECK(std::abs(m.mean - rate) < 5 * std::sqrt(rate / kCount));
    // Variance of a sample variance: (mu4 - sigma^4) / n with mu4 = rate + 3 rate^2
    CHECK(std::abs(m.variance - rate) < 5 * std::sqrt((rate + 2.0 * rate * rate) / kCount));
    if (rate > 0.5f) CHECK(std::abs(m.skewness - 1 / std::sqrt(rate)) < 0.02);
  }
}

TEST_CASE("random: Poisson probabilities on both sides of the change of method") {
  for (const float rate : {0.5f, 10.0f, 29.9f, 30.1f, 100.0f}) {
    std::vector<double> count(256);
    for (int32_t read = 0; read < 4; read++) {
      for (float v : Photons(rate, read)) count[static_cast<size_t>(std::min(v, 255.0f))]++;
    }
    double chi2 = 0, probability = std::exp(-static_cast<double>(rate));
    int cells = 0;
    for (int k = 0; k < 255; k++) {
      const double expected = 4 * kCount * probability;
      if (expected > 25) {
        chi2 += (count[static_cast<size_t>(k)] - expected) * (count[static_cast<size_t>(k)] - expected) / expected;
        cells++;
      }
      probability *= rate / (k + 1);
    }
    CAPTURE(rate);
    CAPTURE(cells);
    // Mean cells - 1, standard deviation sqrt(2 cells): five of them
    CHECK(chi2 < cells + 5 * std::sqrt(2.0 * cells));
  }
}

TEST_CASE("random: rates that are no rates give no electrons") {
  for (const float rate : {0.0f, -5.0f, std::nanf("")}) {
    for (float v : Photons(rate, 0)) REQUIRE(v == 0.0f);
  }
}

TEST_CASE("random: every CPU target gives the same bytes") {
  std::vector<float> first;
  for (const std::string& target : AvailableTargets()) {
    REQUIRE(LimitTarget(target));
    const std::vector<float> now = Photons(29.97f, 3);
    if (first.empty()) first = now;
    CHECK(now == first);
  }
  CHECK(LimitTarget(""));
}

}  // namespace rampline
