// The stream kernels of the ramp chain: each against its reference, on cut-outs that begin anywhere on the detector, and
// the compiled loops against the kernels run one by one.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "generated/latch-saturation.h"
#include "native/core/cpu.h"
#include "native/core/geometry.h"
#include "native/core/guarded.h"
#include "native/core/kernel.h"
#include "native/core/stream.h"

namespace rampline {
namespace {

struct Random {
  uint64_t state;
  double operator()() {  // in [0, 1), xorshift64*
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return static_cast<double>((state * 0x2545F4914F6CDD1Dull) >> 11) * 0x1p-53;
  }
};

// An array whose last element lies right before a guard page.
struct Guarded {
  Guarded(DType dtype, int64_t planes, int64_t rows, int64_t cols)
      : buffer(static_cast<size_t>(planes * rows * cols) * SizeOf(dtype), true), array{buffer.data(), dtype,
                                                                                       planes,        rows,
                                                                                       cols,          rows * cols,
                                                                                       cols} {}
  float* f32() const { return static_cast<float*>(array.data); }
  uint16_t* u16() const { return static_cast<uint16_t*>(array.data); }
  int64_t size() const { return array.planes * array.rows * array.cols; }

  GuardedBuffer buffer;
  Array array;
};

// All that the longest run needs, for a cut-out of the detector at (0, x0).
struct Inputs {
  Inputs(int64_t planes, int64_t rows, int64_t cols, int64_t x0)
      : planes(planes),
        rows(rows),
        cols(cols),
        x0(x0),
        raw(DType::kU16, planes, rows, cols),
        level(DType::kF32, 1, rows, cols),
        amplitude(DType::kF32, 1, rows, cols),
        decay(DType::kF32, planes, 1, 1),
        offsets(DType::kF32, planes, 1, 4),
        correction(DType::kF32, planes, rows, 12),
        c2(DType::kF32, 1, rows, cols),
        c3(DType::kF32, 1, rows, cols),
        limit(DType::kF32, 1, rows, cols),
        lastGood(DType::kU16, 1, rows, cols) {
    Random random{0x9E3779B97F4A7C15ull + static_cast<uint64_t>(planes * 131 + rows * 17 + cols * 7 + x0)};
    for (int64_t i = 0; i < raw.size(); i++) raw.u16()[i] = static_cast<uint16_t>(random() * 65536);
    const auto fill = [&](Guarded& g, double lo, double hi) {
      for (int64_t i = 0; i < g.size(); i++) g.f32()[i] = static_cast<float>(lo + (hi - lo) * random());
    };
    fill(level, 50000, 90000);  // some pixels never saturate
    for (int64_t i = 0; i < level.size(); i += 5) level.f32()[i] = std::numeric_limits<float>::quiet_NaN();
    fill(amplitude, -200, 200);
    fill(decay, 0, 1);
    fill(offsets, 8000, 12000);
    fill(correction, -20, 20);
    fill(c2, -1e-6, 1e-6);
    fill(c3, -1e-11, 1e-11);
    fill(limit, 30000, 60000);
  }

  int64_t planes, rows, cols, x0;
  Guarded raw, level, amplitude, decay, offsets, correction, c2, c3, limit, lastGood;

  // The ports of a kernel of which `in` and `out` are the stream.
  std::vector<Array> Ports(const std::string& kernel, const Array& in, const Array& out) const {
    if (kernel == "latch-saturation") return {in, level.array, out, lastGood.array};
    if (kernel == "correct-reset-anomaly") return {in, amplitude.array, decay.array, out};
    if (kernel == "subtract-zero-point") return {in, offsets.array, out};
    if (kernel == "subtract-one-over-f") return {in, correction.array, out};
    if (kernel == "linearise") return {in, c2.array, c3.array, limit.array, out};
    REQUIRE((kernel == "to-float" || kernel == "difference"));
    return {in, out};
  }
};

// Default parameters; every parameter is 4 bytes wide.
std::vector<std::byte> DefaultParams(const KernelInfo& kernel) {
  std::vector<std::byte> bytes(kernel.paramsBytes);
  for (const ParamInfo& p : kernel.params) {
    const auto asFloat = static_cast<float>(p.fallback);
    const auto asInt = static_cast<int32_t>(p.fallback);
    std::memcpy(bytes.data() + p.offset,
                p.type == ParamInfo::Type::kFloat ? static_cast<const void*>(&asFloat) : &asInt, 4);
  }
  return bytes;
}

std::vector<std::string> Split(const std::string& key) {
  std::vector<std::string> names(1);
  for (const char c : key) {
    if (c == '+')
      names.emplace_back();
    else
      names.back() += c;
  }
  return names;
}

bool Same(const Guarded& a, const Guarded& b) {
  return std::memcmp(a.array.data, b.array.data, static_cast<size_t>(a.size()) * SizeOf(a.array.dtype)) == 0;
}

// Runs kernels one by one, with arrays in between; `reference` takes the scalar twins. Returns what the last one wrote.
std::unique_ptr<Guarded> RunOneByOne(const Inputs& inputs, const std::vector<std::string>& names, bool reference) {
  std::unique_ptr<Guarded> from, to;
  Array in = inputs.raw.array;
  for (const std::string& name : names) {
    const KernelInfo* kernel = FindKernel(name.c_str());
    REQUIRE(kernel != nullptr);
    to = std::make_unique<Guarded>(DType::kF32, in.planes - kernel->planesDropped, inputs.rows, inputs.cols);
    const std::vector<Array> ports = inputs.Ports(name, in, to->array);
    const std::vector<std::byte> params = DefaultParams(*kernel);
    KernelCall call{ports, params.data(), {0, inputs.x0}, {inputs.planes, inputs.rows, kScienceColumns}, {}, nullptr};
    REQUIRE((reference ? kernel->reference : kernel->run)(call).ok());
    from = std::move(to);
    in = from->array;
  }
  return from;
}

constexpr int64_t kStarts[] = {0, 7, 250, 505, 511, 512, 768, 1020, 2040, 2047};
constexpr int64_t kWidths[] = {1, 2, 15, 16, 17, 33, 70, 300};

TEST_CASE("every stream kernel agrees with its reference wherever the cut-out begins") {
  const std::string kernels[] = {"latch-saturation", "correct-reset-anomaly", "subtract-zero-point",
                                 "subtract-one-over-f", "difference"};
  for (const std::string& best : AvailableTargets()) {
    REQUIRE(LimitTarget(best));
    for (const std::string& name : kernels) {
      const KernelInfo& kernel = *FindKernel(name.c_str());
      for (const int64_t x0 : kStarts) {
        for (const int64_t cols : kWidths) {
          const Inputs inputs(4, 2, cols, x0);
          const auto got = RunOneByOne(inputs, {"to-float", name}, false);
          const auto want = RunOneByOne(inputs, {"to-float", name}, true);
          int64_t bad = 0;
          for (int64_t i = 0; i < got->size(); i++) {
            const double a = got->f32()[i], b = want->f32()[i];
            if (std::isnan(a) != std::isnan(b)) bad++;
            // Two roundings of a number of this size at most.
            const double size = std::max(std::abs(b), 65536.0);
            if (std::abs(a - b) > kernel.toleranceAbsolute + kernel.toleranceRelative * size) bad++;
          }
          INFO(best, " ", name, " x0 ", x0, " cols ", cols);
          REQUIRE(bad == 0);
        }
      }
    }
  }
  LimitTarget("");
}

TEST_CASE("compiled loops give the bytes of the kernels run one by one") {
  REQUIRE(FusedRuns().size() >= 5);
  for (const std::string& best : AvailableTargets()) {
    REQUIRE(LimitTarget(best));
    for (const FusedRun& run : FusedRuns()) {
      const std::vector<std::string> names = Split(run.key);
      if (names.front() != "to-float") continue;
      for (const int64_t x0 : {int64_t{0}, int64_t{500}, int64_t{2040}}) {
        for (const int64_t planes : {int64_t{2}, int64_t{5}}) {
          const int64_t cols = 83;
          const Inputs apart(planes, 2, cols, x0), together(planes, 2, cols, x0);
          const auto want = RunOneByOne(apart, names, false);
          int dropped = 0;
          std::vector<std::vector<Array>> ports;
          std::vector<std::vector<std::byte>> params;
          std::vector<KernelCall> calls;
          for (const std::string& name : names) dropped += FindKernel(name.c_str())->planesDropped;
          Guarded out(DType::kF32, planes - dropped, 2, cols);
          for (const std::string& name : names) {
            // Only the first input and the last output are ever looked at.
            ports.push_back(together.Ports(name, together.raw.array, out.array));
            params.push_back(DefaultParams(*FindKernel(name.c_str())));
          }
          for (size_t i = 0; i < names.size(); i++) {
            calls.push_back({ports[i], params[i].data(), {0, x0}, {planes, 2, kScienceColumns}, {}, nullptr});
          }
          REQUIRE(run.run(calls).ok());
          INFO(best, " ", run.key, " x0 ", x0, " planes ", planes);
          REQUIRE(Same(out, *want));
          REQUIRE(Same(together.lastGood, apart.lastGood));
        }
      }
    }
  }
  LimitTarget("");
}

TEST_CASE("saturation is latched and counted") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Guarded counts(DType::kF32, 5, 1, 4), level(DType::kF32, 1, 1, 4), out(DType::kF32, 5, 1, 4),
      last(DType::kU16, 1, 1, 4);
  const float reads[4][5] = {{10, 20, 30, 40, 50}, {10, 45, 30, 20, 10}, {90, 1, 1, 1, 1}, {10, nan, 30, 45, nan}};
  for (int x = 0; x < 4; x++) {
    level.f32()[x] = 50;
    for (int k = 0; k < 5; k++) counts.f32()[k * 4 + x] = reads[x][k];
  }
  level.f32()[0] = nan;
  const std::vector<Array> ports = {counts.array, level.array, out.array, last.array};
  const latch_saturation::Params params{0.9f};
  const KernelCall call{ports, &params, {}, {5, 1, 4}, {}, nullptr};
  REQUIRE(latch_saturation::Run(call).ok());
  const int good[4] = {5, 1, 0, 3};
  for (int x = 0; x < 4; x++) {
    CHECK(last.u16()[x] == good[x]);
    for (int k = 0; k < 5; k++) {
      const float v = out.f32()[k * 4 + x];
      if (k < good[x] && !std::isnan(reads[x][k]))
        CHECK(v == reads[x][k]);
      else
        CHECK(std::isnan(v));
    }
  }
}

}  // namespace
}  // namespace rampline
