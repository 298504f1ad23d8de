// Jump test and ramp fit against reading the same cube once from memory, on one core, CPU time, in one run.
//
//   bench_ramp_kernels [rows] [repeats] [target]        defaults: 512 rows of 2048 pixels x 47 reads, 7, the best target
//
// The cube is u16 [row][read][x], as the ramp stage keeps it. Reading it: the sum of all values, a register at a time. The
// kernels work on blocks of one row of all reads in strips, with the row's differences made from the cube before its clock
// starts (asking the clock costs as much as ten pixels' fit, so it is asked once a row and its own cost taken off), and ask for the next row of the cube while they compute, as the driver lets them. Best of all repeats, the
// variants taking turns.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "bench/native/ramp_kernels.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
// Sums pairs of pixels as they lie: the adds are cheap enough for memory to be all that counts.
uint32_t SumCube(const uint32_t* p, size_t n) {
  const hn::ScalableTag<uint32_t> d;
  const size_t lanes = hn::Lanes(d);
  auto s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
  const auto low = hn::Set(d, 0xFFFFu);
  for (size_t i = 0; i + 4 * lanes <= n; i += 4 * lanes) {
    const auto take = [&](size_t k) HWY_ATTR {
      const auto v = hn::LoadU(d, p + i + k * lanes);
      return hn::Add(hn::And(v, low), hn::ShiftRight<16>(v));
    };
    s0 = hn::Add(s0, take(0));
    s1 = hn::Add(s1, take(1));
    s2 = hn::Add(s2, take(2));
    s3 = hn::Add(s3, take(3));
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3))));
}
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <sys/mman.h>
#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "generated/clip-jumps.h"
#include "generated/estimate-rate.h"
#include "generated/find-jumps.h"
#include "generated/fit-ramp.h"
#include "native/core/cpu.h"
#include "native/core/kernel.h"

namespace rampline {
HWY_EXPORT(SumCube);
namespace {

constexpr int64_t kReads = 47, kPlanes = kReads - 1, kCols = 2048, kStrip = 512, kDiffStride = kStrip + 16;
constexpr int64_t kReadStride = kCols + 32;  // an odd number of cache lines, so that reads do not share cache sets
volatile uint32_t g_sink;

double Cpu() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

template <class T>
T* Big(size_t n) {
  const size_t bytes = (n * sizeof(T) + (2u << 20) - 1) / (2u << 20) * (2u << 20);
  void* p = std::aligned_alloc(2u << 20, bytes);
  madvise(p, bytes, MADV_HUGEPAGE);
  std::fill_n(static_cast<T*>(p), n, T());
  return static_cast<T*>(p);
}

struct Bench {
  int64_t rows;
  size_t px = static_cast<size_t>(rows * kCols);
  size_t rowSize = static_cast<size_t>(kReads * kReadStride);
  uint16_t* cube = Big<uint16_t>(static_cast<size_t>(rows) * rowSize);
  float *gain = Big<float>(px), *variance = Big<float>(px), *rate = Big<float>(px), *fitted = Big<float>(px);
  float *error = Big<float>(px), *chi2 = Big<float>(px), *truth = Big<float>(px);
  uint16_t *jumps = Big<uint16_t>(px), *good = Big<uint16_t>(px);
  uint32_t* dq = Big<uint32_t>(px);
  float* diffs = Big<float>(static_cast<size_t>(kPlanes * kDiffStride * (kCols / kStrip)));
  float* scratch = Big<float>(1u << 16);

  void Fill() {  // a 10 to 4000 DN sky, 9 DN read noise, a jump in one pixel of a hundred
    std::mt19937 rng(5);
    std::vector<float> normal(1 << 20);
    std::normal_distribution<float> draw;
    for (float& v : normal) v = draw(rng);
    for (size_t i = 0; i < px; i++) {
      gain[i] = 1.9f;
      variance[i] = 81;
      truth[i] = 0.2f * std::pow(400.0f, static_cast<float>(rng() % 4096) / 4096);
      const bool hit = rng() % 100 == 0;
      const int64_t when = rng() % kPlanes + 1;
      float sum = 2000;
      uint16_t* p = cube + i / kCols * rowSize + i % kCols;
      for (int64_t k = 0; k < kReads; k++) {
        sum += truth[i] + std::sqrt(truth[i] / 1.9f) * normal[rng() >> 12];
        if (hit && k == when) sum += 300;
        p[k * kReadStride] = static_cast<uint16_t>(sum + 9 * normal[rng() >> 12] + 0.5f);
      }
    }
  }
  Array F(float* map, int64_t row, int64_t x) const {
    return {map + row * kCols + x, DType::kF32, 1, 1, kStrip, 0, kCols};
  }
  Array U(uint16_t* map, int64_t row, int64_t x) const {
    return {map + row * kCols + x, DType::kU16, 1, 1, kStrip, 0, kCols};
  }

  // 1: clip and fit; 2: start estimate, one-omit test and fit; 3: the same with pairs.
  double Run(int variant, double* parts) {
    const KernelInfo* estimate = FindKernel("estimate-rate");
    const KernelInfo* clip = FindKernel("clip-jumps");
    const KernelInfo* find = FindKernel("find-jumps");
    const KernelInfo* fit = FindKernel("fit-ramp");
    clip_jumps::Params clipParams;
    find_jumps::Params findParams;
    findParams.twoOmit = variant == 3;
    fit_ramp::Params fitParams;
    fitParams.iterations = variant == 1 ? 2 : 1;  // find-jumps leaves a weighted fit, so one more is the second
    fitParams.debias = variant == 1;
    const double clock = ClockCost();
    double total = 0;
    for (int64_t row = 0; row < rows; row++) {
      const uint16_t* p = cube + static_cast<size_t>(row) * rowSize;
      for (int64_t x = 0; x < kCols; x += kStrip) {
        for (int64_t k = 0; k < kPlanes; k++) {
          const uint16_t *a = p + k * kReadStride + x, *b = a + kReadStride;
          float* q = DiffsOf(x) + k * kDiffStride;
          for (int64_t i = 0; i < kStrip; i++) q[i] = static_cast<float>(b[i]) - static_cast<float>(a[i]);
        }
      }
      const uint16_t* next = row + 1 < rows ? p + rowSize : cube;
      Ahead ahead{reinterpret_cast<const char*>(next), reinterpret_cast<const char*>(next + rowSize)};
      KernelCall call;
      call.whole = {kPlanes, rows, kCols};
      call.scratch = {scratch, 1u << 16};
      call.ahead = &ahead;
      const double t0 = Cpu();
      for (int64_t x = 0; x < kCols; x += kStrip) {
        const uint64_t c0 = __builtin_ia32_rdtsc();
        const Array d = {DiffsOf(x), DType::kF32, kPlanes, 1, kStrip, kDiffStride, kDiffStride};
        if (variant == 1) {
          const Array ports[] = {d, F(rate, row, x), U(jumps, row, x)};
          call.ports = ports;
          call.params = &clipParams;
          if (!clip->run(call).ok()) std::abort();
        } else {
          const Array first[] = {d, F(rate, row, x)};
          call.ports = first;
          if (!estimate->run(call).ok()) std::abort();
          const Array ports[] = {d, F(gain, row, x), F(variance, row, x), F(rate, row, x), U(jumps, row, x)};
          call.ports = ports;
          call.params = &findParams;
          if (!find->run(call).ok()) std::abort();
        }
        const uint64_t c1 = __builtin_ia32_rdtsc();
        const Array ports[] = {d,
                               F(gain, row, x),
                               F(variance, row, x),
                               F(rate, row, x),
                               U(jumps, row, x),
                               Array{nullptr, DType::kU16},
                               F(fitted, row, x),
                               F(error, row, x),
                               F(chi2, row, x),
                               U(good, row, x),
                               Array{dq + row * kCols + x, DType::kU32, 1, 1, kStrip, 0, kCols}};
        call.ports = ports;
        call.params = &fitParams;
        if (!fit->run(call).ok()) std::abort();
        parts[0] += static_cast<double>(c1 - c0);
        parts[1] += static_cast<double>(__builtin_ia32_rdtsc() - c1);
      }
      total += Cpu() - t0 - clock;
    }
    const double scale = total / (parts[0] + parts[1]);  // cycles give the shares only
    parts[0] *= scale;
    parts[1] *= scale;
    return total;
  }
  static double ClockCost() {
    const double t0 = Cpu();
    for (int i = 0; i < 1000; i++) Cpu();
    return (Cpu() - t0) / 1001;
  }
  float* DiffsOf(int64_t x) const { return diffs + x / kStrip * kPlanes * kDiffStride; }
  double Sum() {
    const double t0 = Cpu();
    g_sink =
        HWY_DYNAMIC_DISPATCH(SumCube)(reinterpret_cast<const uint32_t*>(cube), static_cast<size_t>(rows) * rowSize / 2);
    return Cpu() - t0;
  }
};

int Main(int argc, char** argv) {
  const int64_t rows = argc > 1 ? std::atoll(argv[1]) : 512;
  const int repeats = argc > 2 ? std::atoi(argv[2]) : 7;
  if (argc > 3 && !LimitTarget(argv[3])) return 2;
  Bench bench{rows};
  bench.Fill();
  double sum = 1e9, best[4] = {1e9, 1e9, 1e9, 1e9}, part[4][2] = {};
  double pull[4] = {}, chi2[4] = {};
  int64_t dropped[4] = {};
  for (int r = 0; r < repeats; r++) {
    sum = std::min(sum, bench.Sum());
    for (int v = 1; v <= 3; v++) {
      double parts[2] = {};
      const double t = bench.Run(v, parts);
      if (t < best[v]) {
        best[v] = t;
        std::copy(parts, parts + 2, part[v]);
      }
      if (r > 0) continue;
      for (size_t i = 0; i < bench.px; i++) {
        const double z = (bench.fitted[i] - bench.truth[i]) / bench.error[i];
        pull[v] += z * z;
        chi2[v] += bench.chi2[i] / (bench.good[i] - 1);
        dropped[v] += bench.jumps[i];
      }
    }
  }
  const double chip = 2048.0 / static_cast<double>(rows) * 1e3;
  std::printf("target %s, ms of CPU for each 2048 x 2048 x 47\n", CurrentTarget().c_str());
  std::printf("%-44s %7.1f   (%.1f GB/s)\n", "read the cube once", sum * chip,
              static_cast<double>(rows) * static_cast<double>(bench.rowSize) * 2 / sum * 1e-9);
  const char* names[] = {"", "clip-jumps + fit-ramp (2 iterations)", "estimate + one-omit + fit (2nd iteration)",
                         "estimate + one- and two-omit + fit"};
  for (int v = 1; v <= 3; v++) {
    std::printf("%-44s %7.1f   of bandwidth %.3f  (jumps %.1f, fit %.1f)  pull rms %.3f chi2/dof %.3f dropped %lld\n",
                names[v], best[v] * chip, sum / best[v], part[v][0] * chip, part[v][1] * chip,
                std::sqrt(pull[v] / static_cast<double>(bench.px)), chi2[v] / static_cast<double>(bench.px),
                static_cast<long long>(dropped[v]));
  }
  std::printf("likelihood test against clip: %.2f x\n", best[2] / best[1]);
  return 0;
}

}  // namespace
}  // namespace rampline

int main(int argc, char** argv) { return rampline::Main(argc, argv); }
#endif
