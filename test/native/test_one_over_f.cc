// The correction of low-frequency noise on simulated reads: how much of the noise it takes away and how much it adds.
#include <doctest/doctest.h>

#include <time.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstdlib>
#include <cstring>
#include <numbers>
#include <string>
#include <vector>

#include "generated/measure-one-over-f.h"
#include "native/core/array_source.h"
#include "native/core/chain.h"
#include "native/core/cpu.h"
#include "native/core/fft.h"
#include "native/core/geometry.h"

namespace rampline {
namespace {

constexpr int64_t kNodes = 32;
constexpr double kRowRate = 2048 / 10.647;                     // Hz; a read takes 10.647 s
constexpr double kTickRate = kRowRate * kAmplifierColumns;     // Hz
constexpr double kWhite = 10;                                  // DN, in every pixel and output
constexpr double kKnee = 1000;                                 // Hz, where the 1/f noise equals the white noise
constexpr double kGains[kAmplifiers] = {1.0, 0.8, 1.15, 0.9};  // of the common noise in the amplifiers

struct Random {
  uint64_t state;
  double operator()() {  // standard deviation 1: four 16-bit uniform numbers
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    const uint64_t v = state * 0x2545F4914F6CDD1Dull;
    const double sum = static_cast<double>((v & 0xFFFF) + (v >> 16 & 0xFFFF) + (v >> 32 & 0xFFFF) + (v >> 48));
    return (sum - 2 * 65535.0) * (1.7320508075688772 / 65536);
  }
};

// 1/f noise as a sum of first-order processes an octave apart, each of the variance that 1/f noise has in an octave.
class Pink {
 public:
  explicit Pink(uint64_t seed) : random_{seed} {
    const double perOctave = kWhite * kWhite / (kTickRate / 2) * kKnee * std::numbers::ln2;
    for (double f = 0.02; f < 6000; f *= 2) {
      const double keep = std::exp(-2 * std::numbers::pi * f / kTickRate);
      keep_.push_back(keep);
      kick_.push_back(std::sqrt(perOctave * (1 - keep * keep)));
      state_.push_back(std::sqrt(perOctave) * random_());
    }
  }
  double operator()() {
    double sum = 0;
    for (size_t i = 0; i < state_.size(); i++) {
      state_[i] = state_[i] * keep_[i] + kick_[i] * random_();
      sum += state_[i];
    }
    return sum;
  }

 private:
  Random random_;
  std::vector<double> keep_, kick_, state_;
};

struct Exposure {
  // pink: whether the common noise is there; the white noise is the same with and without it.
  Exposure(int64_t planes, int64_t rows, bool pink)
      : planes(planes), rows(rows), common(static_cast<size_t>(planes * rows * kAmplifierColumns), 0.0f) {
    Pink noise(7);
    if (pink) {
      for (float& v : common) v = static_cast<float>(noise());
    }
    Random white{99};
    reads.resize(static_cast<size_t>(planes * rows * kReadColumns));
    for (int64_t line = 0; line < planes * rows; line++) {
      const float* ticks = common.data() + line * kAmplifierColumns;
      const double pattern = 25 * std::sin(static_cast<double>(line % rows));  // fixed in time, different in each row
      for (int64_t x = 0; x < kReadColumns; x++) {
        const bool output = x >= kScienceColumns;
        const int64_t a = AmplifierOf(x), c = x % kAmplifierColumns;
        const double correlated = output ? ticks[c] : kGains[a] * ticks[IsFlipped(a) ? kAmplifierColumns - 1 - c : c];
        const double v = (output ? 8000 : 9000 + pattern) + correlated + kWhite * white();
        reads[static_cast<size_t>(line * kReadColumns + x)] = static_cast<uint16_t>(std::lround(v));
      }
    }
  }
  int64_t planes, rows;
  std::vector<float> common;  // in clock order
  std::vector<uint16_t> reads;
};

std::vector<float> Correction(Exposure& e, const std::vector<float>* weights, int windowRows, int threads = 2) {
  std::vector<float> table(static_cast<size_t>(e.planes * e.rows * 12));
  const Array reads{e.reads.data(), DType::kU16, e.planes, e.rows, kReadColumns, e.rows * kReadColumns, kReadColumns};
  ArraySource source(reads.view<const uint16_t>());
  Chain chain;
  chain.source = &source;
  chain.options.threads = threads;
  chain.options.rows = e.rows;
  Array raw;
  raw.dtype = DType::kU16;
  raw.planes = e.planes;
  // Row by row, as the chain reads it.
  const Array out{table.data(), DType::kF32, e.planes, e.rows, 12, 12, 12 * e.planes};
  chain.arrays = {{"reads", ChainArray::Kind::kSource, raw}, {"correction", ChainArray::Kind::kBound, out}};
  if (weights != nullptr) {
    chain.arrays.push_back(
        {"weights", ChainArray::Kind::kBound, {const_cast<float*>(weights->data()), DType::kF32, 1, 1, 768, 768, 768}});
  }
  const KernelInfo* kernel = FindKernel("measure-one-over-f");
  REQUIRE(kernel != nullptr);
  measure_one_over_f::Params params;
  params.windowRows = windowRows;
  ChainStep step{kernel, {0, weights != nullptr ? 2 : -1, 1}, std::vector<std::byte>(sizeof params)};
  std::memcpy(step.params.data(), &params, sizeof params);
  chain.steps = {step};
  const ChainReport report = RunChain(chain);
  INFO(report.status.message);
  REQUIRE(report.status.ok());
  return table;
}

// What subtract-one-over-f takes from amplifier a of a read, in clock order.
std::vector<float> Taken(const Exposure& e, std::vector<float>& table, int64_t plane, int64_t a) {
  std::vector<float> zero(static_cast<size_t>(e.rows * kAmplifierColumns)), out = zero;
  const Array in{zero.data(), DType::kF32, 1, e.rows, kAmplifierColumns, 0, kAmplifierColumns};
  const Array to{out.data(), DType::kF32, 1, e.rows, kAmplifierColumns, 0, kAmplifierColumns};
  const Array knots{table.data() + plane * 12, DType::kF32, 1, e.rows, 12, 12, 12 * e.planes};
  const Array ports[] = {in, knots, to};
  const KernelCall call{ports, nullptr, {0, a * kAmplifierColumns}, {1, e.rows, kReadColumns}, {}, nullptr};
  REQUIRE(FindKernel("subtract-one-over-f")->run(call).ok());
  for (float& v : out) v = -v;
  for (int64_t row = 0; IsFlipped(a) && row < e.rows; row++) {
    std::reverse(out.begin() + row * kAmplifierColumns, out.begin() + (row + 1) * kAmplifierColumns);
  }
  return out;
}

// Power between the slowest wave of a read and 100 Hz, from eighths of rows (beyond 100 Hz they attenuate little).
double PowerBelow100Hz(const std::vector<float>& ticks, int64_t rows) {
  const int64_t n = rows * 8, bin = kAmplifierColumns / 8;
  const BatchFft fft(n);
  std::vector<double> re(static_cast<size_t>(n * BatchFft::kBatch)), im = re, work(2 * re.size());
  for (int64_t j = 0; j < n; j++) {
    double sum = 0;
    for (int64_t i = 0; i < bin; i++) sum += ticks[static_cast<size_t>(j * bin + i)];
    const double window = 1 - std::cos(2 * std::numbers::pi * (static_cast<double>(j) + 0.5) / static_cast<double>(n));
    re[static_cast<size_t>(j * BatchFft::kBatch)] = window * sum / static_cast<double>(bin);
  }
  fft.Forward(re.data(), im.data(), work.data());
  double power = 0;
  for (int64_t m = 1; static_cast<double>(m) * kRowRate / static_cast<double>(rows) < 100; m++) {
    power += std::norm(std::complex<double>(re[static_cast<size_t>(m * 8)], im[static_cast<size_t>(m * 8)]));
  }
  return power;
}

struct Result {
  double removed, whiteAdded;
};

// Of differences of reads, which is what a rate is made of: the part of the correlated noise below 100 Hz that goes, the
// noise that the correction brings counted against it; and the variance that it adds to data without 1/f noise, in
// parts of the white noise.
Result Judge(Exposure& pink, Exposure& white, const std::vector<float>* weights, int windowRows) {
  std::vector<float> table = Correction(pink, weights, windowRows), idle = Correction(white, weights, windowRows);
  double before = 0, after = 0, added = 0, count = 0;
  const int64_t ticks = pink.rows * kAmplifierColumns;
  for (int64_t a = 0; a < kAmplifiers; a++) {
    for (int64_t k = 0; k + 1 < pink.planes; k++) {
      const std::vector<float> t0 = Taken(pink, table, k, a), t1 = Taken(pink, table, k + 1, a);
      const std::vector<float> i0 = Taken(white, idle, k, a), i1 = Taken(white, idle, k + 1, a);
      std::vector<float> noise(static_cast<size_t>(ticks)), rest = noise;
      for (int64_t i = 0; i < ticks; i++) {
        const auto at = static_cast<size_t>(i);
        const double n0 = pink.common[static_cast<size_t>(k * ticks + i)],
                     n1 = pink.common[static_cast<size_t>((k + 1) * ticks + i)];
        noise[at] = static_cast<float>(kGains[a] * (n1 - n0));
        rest[at] = noise[at] - (t1[at] - t0[at]);
        added += (i1[at] - i0[at]) * static_cast<double>(i1[at] - i0[at]);
        count++;
      }
      before += PowerBelow100Hz(noise, pink.rows);
      after += PowerBelow100Hz(rest, pink.rows);
    }
  }
  return {1 - after / before, added / count / (2 * kWhite * kWhite)};
}

// The Wiener weights of this noise for the reference output: gain * S / (S + N).
std::vector<float> IdealWeights() {
  std::vector<float> weights(kNodes * kAmplifiers * 3 * 2, 0.0f);
  for (int64_t i = 0; i < kNodes; i++) {
    const double part = static_cast<double>(i) / (kNodes - 1), hertz = part * part * kRowRate;
    for (int64_t a = 0; a < kAmplifiers; a++) {
      weights[static_cast<size_t>((i * kAmplifiers + a) * 3 * 2)] = static_cast<float>(kGains[a] / (1 + hertz / kKnee));
    }
  }
  return weights;
}

TEST_CASE("with weights, 90 % and more of the correlated noise below 100 Hz goes, for less than 5 % of white noise") {
  Exposure pink(3, 2048, true), white(3, 2048, false);
  const std::vector<float> weights = IdealWeights();
  const Result r = Judge(pink, white, &weights, 1);
  MESSAGE("weights: removed ", 100 * r.removed, " %, white noise added ", 100 * r.whiteAdded, " %");
  CHECK(r.removed >= 0.95);
  CHECK(r.whiteAdded <= 0.01);
  for (const int window : {1, 3, 5, 9, 17, 65}) {
    const Result w = Judge(pink, white, nullptr, window);
    MESSAGE("reference columns, ", window, " rows: removed ", 100 * w.removed, " %, white noise added ",
            100 * w.whiteAdded, " %");
    if (window == measure_one_over_f::Params().windowRows) {
      CHECK(w.removed > 0.3);
      CHECK(w.whiteAdded <= 0.05);
    }
  }
}

TEST_CASE("the correction does not depend on threads, and a glitch of the reference output does little") {
  Exposure e(3, 256, true);
  const std::vector<float> weights = IdealWeights();
  const std::vector<float> one = Correction(e, &weights, 1, 1);
  CHECK(Correction(e, &weights, 1, 2) == one);
  for (int64_t x = kScienceColumns; x < kScienceColumns + 256; x++) {
    e.reads[static_cast<size_t>((256 + 100) * kReadColumns + x)] += 5000;
  }
  const std::vector<float> glitch = Correction(e, &weights, 1, 1);
  double worst = 0;
  for (size_t i = 0; i < one.size(); i++) {
    // A constant over the reads, which differences lose, may change.
    const size_t plane = i / 12 % 3, other = plane == 0 ? i + 12 : i - 12 * plane;
    worst = std::max(worst, std::abs(static_cast<double>(glitch[i] - glitch[other]) - (one[i] - one[other])));
  }
  CHECK(worst < 8);  // of 5000
}

TEST_CASE("transforms of every good length agree with the definition and come back") {
  Random random{5};
  for (const int64_t least : {1, 2, 3, 6, 10, 30, 33, 50, 128, 130, 600}) {
    const int64_t n = BatchFft::GoodLength(least);
    REQUIRE(n >= least);
    REQUIRE(n % 2 == 0);
    const BatchFft fft(n);
    std::vector<double> re(static_cast<size_t>(n * 8)), im = re, work(2 * re.size());
    for (double& v : re) v = random();
    for (double& v : im) v = random();
    const std::vector<double> re0 = re, im0 = im;
    fft.Forward(re.data(), im.data(), work.data());
    double worst = 0;
    for (int64_t m = 0; m < n; m++) {
      std::complex<double> sum = 0;
      for (int64_t j = 0; j < n; j++) {
        const double angle = -2 * std::numbers::pi * static_cast<double>(j * m % n) / static_cast<double>(n);
        sum += std::complex<double>(re0[static_cast<size_t>(j * 8 + 3)], im0[static_cast<size_t>(j * 8 + 3)]) *
               std::polar(1.0, angle);
      }
      const auto at = static_cast<size_t>(m * 8 + 3);
      worst = std::max(worst, std::abs(sum - std::complex<double>(re[at], im[at])));
    }
    CHECK(worst < 1e-12 * static_cast<double>(n));
    fft.Inverse(re.data(), im.data(), work.data());
    double back = 0;
    for (size_t i = 0; i < re.size(); i++) back = std::max(back, std::abs(re[i] / static_cast<double>(n) - re0[i]));
    CHECK(back < 1e-13);
  }
}

// CPU time of this thread, which other programs disturb least.
double CpuSeconds() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

TEST_CASE("cost of the 1/f correction" * doctest::skip(std::getenv("RAMPLINE_TIMES") == nullptr)) {
  Exposure e(47, 2048, false);
  std::vector<float> weights = IdealWeights(), table(static_cast<size_t>(e.planes * e.rows * 12));
  const KernelInfo& kernel = *FindKernel("measure-one-over-f");
  const measure_one_over_f::Params params;
  for (const std::string& best : AvailableTargets()) {
    LimitTarget(best);
    double gather = 1e9, finish[2] = {1e9, 1e9};
    for (int i = 0; i < 5; i++) {
      for (const bool weighted : {false, true}) {
        Array ports[] = {
            {e.reads.data(), DType::kU16, e.planes, e.rows, kReadColumns, e.rows * kReadColumns, kReadColumns},
            {weighted ? weights.data() : nullptr, DType::kF32, 1, 1, 768, 768, 768},
            {table.data(), DType::kF32, e.planes, e.rows, 12, 12, 12 * e.planes}};
        const KernelCall call{ports, &params, {}, {e.planes, e.rows, kReadColumns}, {}, nullptr};
        std::vector<double> state(kernel.global.stateBytes(call) / 8 + 1);
        bool again = false;
        REQUIRE(kernel.global.begin(call, state.data()).ok());
        const double t0 = CpuSeconds();
        REQUIRE(kernel.global.gather(call, state.data()).ok());
        const double t1 = CpuSeconds();
        REQUIRE(kernel.global.finish(call, state.data(), &again).ok());
        gather = std::min(gather, t1 - t0);
        finish[weighted ? 1 : 0] = std::min(finish[weighted ? 1 : 0], CpuSeconds() - t1);
      }
    }
    MESSAGE(best, ": gather ", gather * 1e3, " ms (from main memory), finish ", finish[1] * 1e3, " ms with weights, ",
            finish[0] * 1e3, " ms without");
  }
  LimitTarget("");
}

}  // namespace
}  // namespace rampline
