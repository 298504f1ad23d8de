// measure-zero-point through the chain driver, against its reference, on data made to mislead it.
#include <doctest/doctest.h>

#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <vector>

#include "native/core/array_source.h"
#include "native/core/chain.h"
#include "native/core/cpu.h"
#include "native/core/geometry.h"

namespace rampline {
namespace {

using Pixel = std::function<double(int64_t plane, int64_t row, int64_t x)>;

struct Reads {
  Reads(int64_t planes, int64_t rows, const Pixel& pixel) : planes(planes), rows(rows) {
    values.reserve(static_cast<size_t>(planes * rows * kReadColumns));
    for (int64_t k = 0; k < planes; k++) {
      for (int64_t y = 0; y < rows; y++) {
        for (int64_t x = 0; x < kReadColumns; x++) {
          values.push_back(static_cast<uint16_t>(std::clamp(std::round(pixel(k, y, x)), 0.0, 65535.0)));
        }
      }
    }
  }
  Array array() { return {values.data(), DType::kU16, planes, rows, kReadColumns, rows * kReadColumns, kReadColumns}; }
  int64_t planes, rows;
  std::vector<uint16_t> values;
};

struct Tables {
  explicit Tables(int64_t planes) : offsets(static_cast<size_t>(planes * 4)), zero(static_cast<size_t>(planes * 6)) {}
  Array Offsets() { return {offsets.data(), DType::kF32, static_cast<int64_t>(offsets.size()) / 4, 1, 4, 4, 4}; }
  Array Zero() { return {zero.data(), DType::kF32, static_cast<int64_t>(zero.size()) / 6, 1, 6, 6, 6}; }
  std::vector<float> offsets, zero;
};

Tables Measure(Reads& reads, int threads, bool keepCube) {
  Tables tables(reads.planes);
  ArraySource source(reads.array().view<const uint16_t>());
  Chain chain;
  chain.source = &source;
  chain.options.threads = threads;
  chain.options.keepCube = keepCube;
  chain.options.rows = reads.rows;
  Array raw;
  raw.dtype = DType::kU16;
  raw.planes = reads.planes;
  chain.arrays = {{"reads", ChainArray::Kind::kSource, raw},
                  {"offsets", ChainArray::Kind::kBound, tables.Offsets()},
                  {"zero", ChainArray::Kind::kBound, tables.Zero()}};
  const KernelInfo* kernel = FindKernel("measure-zero-point");
  REQUIRE(kernel != nullptr);
  chain.steps = {{kernel, {0, 1, 2}, std::vector<std::byte>(kernel->paramsBytes)}};
  const ChainReport report = RunChain(chain);
  INFO(report.status.message);
  REQUIRE(report.status.ok());
  return tables;
}

double Noise(int64_t plane, int64_t row, int64_t x) {  // of standard deviation 1, the same on every machine
  uint64_t h = static_cast<uint64_t>((plane * 4096 + row) * 4096 + x) * 0x9E3779B97F4A7C15ull;
  double sum = 0;
  for (int i = 0; i < 3; i++) {
    h ^= h >> 29;
    h *= 0xBF58476D1CE4E5B9ull;
    h ^= h >> 32;
    sum += static_cast<double>(h >> 11) * 0x1p-53 - 0.5;
  }
  return 2 * sum;
}

// Rows that the driver shows to prepare in a strip of `rows`.
bool IsSampled(int64_t row, int64_t rows) {
  for (int64_t i = 0; i < 8; i++) {
    if (row == (2 * i + 1) * rows / 16) return true;
  }
  return false;
}

struct Case {
  const char* name;
  Pixel pixel;
};

const Case kCases[] = {
    {"noise",
     [](int64_t k, int64_t y, int64_t x) { return 9000 + 10.0 * static_cast<double>(k) + 12 * Noise(k, y, x); }},
    {"all 0", [](int64_t, int64_t, int64_t) { return 0.0; }},
    {"all 65535", [](int64_t, int64_t, int64_t) { return 65535.0; }},
    {"half 0, half 65535", [](int64_t, int64_t, int64_t x) { return x % 2 == 0 ? 0.0 : 65535.0; }},
    {"middle two far apart",
     [](int64_t, int64_t, int64_t x) { return x % 2 == 0 ? 17.0 : 40000.0 + static_cast<double>(x); }},
    {"uniform", [](int64_t k, int64_t y, int64_t x) { return 32768 + 20000 * Noise(k, y, x); }},
    {"sample rows a little low",
     [](int64_t k, int64_t y, int64_t x) { return (IsSampled(y, 32) ? 9000 : 9030) + 5 * Noise(k, y, x); }},
    {"sample rows a little high",
     [](int64_t k, int64_t y, int64_t x) { return (IsSampled(y, 32) ? 9000 : 8960) + 5 * Noise(k, y, x); }},
    {"sample rows at the bottom",
     [](int64_t k, int64_t y, int64_t x) { return IsSampled(y, 32) ? 0 : 65500 + 10 * Noise(k, y, x); }},
    {"sample rows at the top",
     [](int64_t k, int64_t y, int64_t x) { return IsSampled(y, 32) ? 65535 : 4 + 3 * Noise(k, y, x); }},
    {"near the top of the range",
     [](int64_t k, int64_t y, int64_t x) { return 65524.0 + static_cast<double>(k) + 9 * Noise(k, y, x); }},
    {"near the bottom of the range",
     [](int64_t k, int64_t y, int64_t x) { return 5.0 + static_cast<double>(k) + 4 * Noise(k, y, x); }},
    {"18 values left at the top",
     [](int64_t, int64_t y, int64_t x) {
       return IsSampled(y, 32) ? 30000.0 : 65518.0 + static_cast<double>((x * 7 + y) % 18);
     }},
};

TEST_CASE("zero points are the exact medians, whatever the data, the threads and the target") {
  for (const std::string& best : AvailableTargets()) {
    REQUIRE(LimitTarget(best));
    for (const Case& c : kCases) {
      Reads reads(3, 32, c.pixel);
      Tables want(reads.planes);
      const Array ports[] = {reads.array(), want.Offsets(), want.Zero()};
      const KernelCall whole{ports, nullptr, {}, {3, 32, kReadColumns}, {}, nullptr};
      REQUIRE(FindKernel("measure-zero-point")->reference(whole).ok());
      for (const int threads : {1, 2}) {
        const Tables got = Measure(reads, threads, threads == 1);
        INFO(best, " ", c.name, " threads ", threads);
        CHECK(got.offsets == want.offsets);
        CHECK(got.zero == want.zero);
      }
    }
  }
  LimitTarget("");
}

TEST_CASE("zero points of a drifting detector come back") {
  const double amplifier[4] = {0, -30, 45, 6};
  Reads reads(5, 64, [&](int64_t k, int64_t y, int64_t x) {
    if (x >= kScienceColumns) return 8000 + 7.0 * static_cast<double>(k) + 10 * Noise(k, y, x);
    const bool border = y < 4 || y >= 60 || x < 4 || x >= 2044;
    const double slope = y < 32 ? 3 : -4;  // bottom and top differ in every amplifier
    const double light = border ? 0 : 500 * static_cast<double>(k);
    return 12000 - 20.0 * static_cast<double>(k) + amplifier[AmplifierOf(x)] + slope + light + 8 * Noise(k, y, x);
  });
  const Tables got = Measure(reads, 2, true);
  for (int64_t k = 0; k < 5; k++) {
    for (int a = 0; a < 4; a++) {
      // Referred to the mean of amplifiers 0 and 3. Two medians of 2048 pixels of noise 8 give an edge level to
      // 1.2533 * 8 / sqrt(4096) = 0.157: an outer amplifier, half the difference of two, to 0.111; an inner one to 0.192.
      const double sigma = a == 0 || a == 3 ? 0.111 : 0.192;
      CHECK(std::abs(got.zero[static_cast<size_t>(k * 6 + 2 + a)] - (amplifier[a] - 3)) < 4 * sigma);
    }
    CHECK(std::abs(got.zero[static_cast<size_t>(k * 6 + 1)] - (8000 + 7 * k)) < 0.5);
    CHECK(std::abs(got.zero[static_cast<size_t>(k * 6)] - (12000 - 20 * k + 3 - 0.5)) < 4);  // between the two slopes
  }
}

TEST_CASE("a level between two counts comes back: thousands of counts know it better than to one DN") {
  for (const double level : {9000.0, 9000.2, 9000.5, 9000.85}) {
    CAPTURE(level);
    Reads reads(1, 256, [&](int64_t k, int64_t y, int64_t x) { return level + 5 * Noise(k, y, x); });
    const Tables got = Measure(reads, 1, true);
    // Medians of 1024 (sides) and 2048 (edges) values of noise 5: 0.20 and 0.14, means of two; an amplifier that is not
    // at the side has both and the other two edges: 0.14 + 0.10 + 0.07 in squares, which is 0.18.
    for (size_t a = 0; a < 4; a++) CHECK(std::abs(got.offsets[a] - level) < 4 * 0.18);
    CHECK(std::abs(got.zero[0] - level) < 3 * 0.14);
  }
  // Noise that averages out shows the rounding alone: a whole period of evenly spread values.
  for (const double level : {9000.0, 9000.2, 9000.5, 9000.85}) {
    CAPTURE(level);
    Reads reads(1, 256, [&](int64_t, int64_t y, int64_t x) {
      return level + 8 * (static_cast<double>((x % 4) * 256 + y) / 1024 + 0.5 / 1024 - 0.5);
    });
    CHECK(std::abs(Measure(reads, 1, true).zero[0] - level) < 0.01);
  }
}

TEST_CASE("one read, one thousand reads, and reads of the wrong shape") {
  Reads one(1, 8, kCases[0].pixel);
  Reads many(1000, 8, [](int64_t k, int64_t, int64_t) { return static_cast<double>(k * 65); });
  const Tables got = Measure(many, 2, false);
  for (int64_t k = 0; k < 1000; k++) REQUIRE(got.offsets[static_cast<size_t>(k * 4 + 2)] == static_cast<float>(k * 65));
  CHECK(std::abs(Measure(one, 1, true).zero[1] - 9000) < 1);

  const KernelInfo& kernel = *FindKernel("measure-zero-point");
  Array ports[] = {one.array(), Array{}, Array{}};
  std::vector<std::byte> state(1 << 20);
  CHECK(kernel.global.begin({ports, nullptr, {}, {1, 7, kReadColumns}, {}, nullptr}, state.data()).code ==
        Code::kUsage);
  ports[0].cols = 2048;
  CHECK(kernel.global.begin({ports, nullptr, {}, {1, 8, 2048}, {}, nullptr}, state.data()).code == Code::kUsage);
}

double CpuSeconds() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// Of one row of 47 reads in the cache, as the chain has it, 2048 times.
TEST_CASE("cost of zero points" * doctest::skip(std::getenv("RAMPLINE_TIMES") == nullptr)) {
  Reads reads(47, 1, kCases[0].pixel);
  Tables tables(reads.planes);
  const KernelInfo& kernel = *FindKernel("measure-zero-point");
  const Array ports[] = {reads.array(), tables.Offsets(), tables.Zero()};
  for (const std::string& best : AvailableTargets()) {
    LimitTarget(best);
    double gather = 1e9, finish = 1e9;
    for (int i = 0; i < 7; i++) {
      KernelCall call{ports, nullptr, {}, {47, 2048, kReadColumns}, {}, nullptr};
      std::vector<std::byte> memory(kernel.global.stateBytes(call) + 64);
      void* state = memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64);
      REQUIRE(kernel.global.begin(call, state).ok());
      REQUIRE(kernel.global.prepare(call, state).ok());
      const double t0 = CpuSeconds();
      for (call.origin.row = 0; call.origin.row < 2048; call.origin.row++) {
        REQUIRE(kernel.global.gather(call, state).ok());
      }
      const double t1 = CpuSeconds();
      bool again = true;
      call.origin.row = 0;
      REQUIRE(kernel.global.finish(call, state, &again).ok());
      REQUIRE_FALSE(again);
      gather = std::min(gather, t1 - t0);
      finish = std::min(finish, CpuSeconds() - t1);
    }
    MESSAGE(best, ": gather ", gather * 1e3, " ms, finish ", finish * 1e3, " ms of CPU for 47 reads of 2048 rows");
  }
  LimitTarget("");
}

}  // namespace
}  // namespace rampline
