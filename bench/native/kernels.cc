// Every kernel of the registry at the size of "bench" in its kernel.json: CPU nanoseconds a pixel and plane, SIMD against
// its own scalar reference. The two are run by turns and the least time of each counts, so that what else runs on the
// machine disturbs both alike.
//
//   bench_kernels [--smoke] [--json] [--simd] [NAME...]
//     --smoke  two rounds of a few rows: shows that everything runs, measures nothing
//     --json   one JSON document, for bench/compare
//     --simd   the SIMD kernels alone, without their references
//     NAME     only these kernels
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <limits>
#include <string>
#include <vector>

#include "native/core/cpu.h"
#include "test/native/harness.h"

namespace {

using namespace rampline;           // NOLINT
using namespace rampline::harness;  // NOLINT

double CpuSeconds() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

struct Result {
  const KernelInfo* kernel;
  Shape shape;
  Status status;
  double simd = std::numeric_limits<double>::infinity();  // ns a pixel and plane
  double reference = std::numeric_limits<double>::infinity();
};

// One row at a time, as the chain driver calls kernels.
std::vector<Block> RowByRow(const Shape& shape) {
  std::vector<Block> blocks;
  for (int64_t row = 0; row < shape.rows; row++) blocks.push_back({row, 1, 0, shape.cols});
  return blocks;
}

Result Measure(const KernelInfo& kernel, bool smoke, bool reference) {
  Result result{&kernel, {kernel.bench.planes, kernel.bench.rows, kernel.bench.cols}, {}};
  const int64_t most = kernel.conformance.maxPlanes, least = kernel.conformance.minPlanes;
  result.shape.planes = std::clamp<int64_t>(result.shape.planes, least, std::max(least, most));
  if (!kernel.conformance.cols.empty()) result.shape.cols = kernel.conformance.cols.back();
  if (smoke) result.shape.rows = std::max<int64_t>(kernel.conformance.minRows, std::min<int64_t>(result.shape.rows, 2));
  if (!UsesAxis(kernel, Axis::kPlane)) result.shape.planes = 1;
  // The cube's own order of planes and rows, padded as the driver pads it.
  const Ports inputs(kernel, result.shape, {true, 16, true}, std::vector<bool>(kernel.ports.size(), false), kFillRun);
  if (!inputs.allocated()) {
    result.status = Fail(Code::kRetriable, "no memory for the arrays");
    return result;
  }
  Random random(1);
  FillInputs(kernel, inputs, Pattern::kQuiet, 0, &random);
  const Params params = DefaultParams(kernel);
  Ports ports = inputs.Fresh(kFillRun);
  const std::vector<std::vector<Block>> rows = {RowByRow(result.shape)};
  const double elements = static_cast<double>(result.shape.planes * result.shape.rows * result.shape.cols);
  const int rounds = smoke ? 2 : 15;
  constexpr double kEnough = 1;  // seconds in one reference: a scalar transform of a whole exposure takes minutes
  for (int round = 0; round < rounds; round++) {
    // A reference that takes long is measured in fewer rounds: it is slow enough to be measured well.
    if (reference && (round == 0 || (round < 5 && result.reference * elements < kEnough * 1e9))) {
      ports.RestoreInOut(inputs);
      const double start = CpuSeconds();
      result.status = RunReference(kernel, ports, params);
      result.reference = std::min(result.reference, (CpuSeconds() - start) * 1e9 / elements);
      if (!result.status.ok()) return result;
    }
    for (int i = 0; i < 3; i++) {
      ports.RestoreInOut(inputs);
      const double start = CpuSeconds();
      result.status = RunKernel(kernel, ports, params, rows);
      result.simd = std::min(result.simd, (CpuSeconds() - start) * 1e9 / elements);
      if (!result.status.ok()) return result;
    }
  }
  return result;
}

void PrintJson(const std::vector<Result>& results, bool smoke, bool reference) {
  std::printf(
      "{\"bench\":\"kernels\",\"smoke\":%s,\"target\":\"%s\",\"unit\":\"CPU ns per pixel and plane\",\"kernels\":[",
      smoke ? "true" : "false", CurrentTarget().c_str());
  bool first = true;
  for (const Result& r : results) {
    std::printf(
        "%s\n  {\"name\":\"%s\",\"version\":\"%s\",\"hash\":\"%s\",\"planes\":%lld,\"rows\":%lld,\"cols\":%lld,",
        first ? "" : ",", r.kernel->name, r.kernel->version, r.kernel->hash, static_cast<long long>(r.shape.planes),
        static_cast<long long>(r.shape.rows), static_cast<long long>(r.shape.cols));
    if (r.status.ok()) {
      std::printf("\"simd\":%.5g", r.simd);
      if (reference) std::printf(",\"reference\":%.5g,\"ratio\":%.4g", r.reference, r.reference / r.simd);
      std::printf("}");
    } else {
      std::printf("\"error\":\"%s\"}", r.status.message);
    }
    first = false;
  }
  std::printf("\n]}\n");
}

void PrintTable(const std::vector<Result>& results) {
  std::printf("%-24s %-18s %10s %10s %8s   (target %s; CPU ns per pixel and plane, least of all rounds)\n", "kernel",
              "planes x rows x cols", "SIMD", "reference", "ratio", CurrentTarget().c_str());
  for (const Result& r : results) {
    char shape[64];
    std::snprintf(shape, sizeof shape, "%lld x %lld x %lld", static_cast<long long>(r.shape.planes),
                  static_cast<long long>(r.shape.rows), static_cast<long long>(r.shape.cols));
    if (r.status.ok()) {
      std::printf("%-24s %-20s %10.4f %10.4f %7.2fx\n", r.kernel->name, shape, r.simd, r.reference,
                  r.reference / r.simd);
    } else {
      std::printf("%-24s %-20s %s\n", r.kernel->name, shape, r.status.message);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  bool smoke = false, json = false, reference = true;
  std::vector<const KernelInfo*> chosen;
  for (int i = 1; i < argc; i++) {
    if (std::strcmp(argv[i], "--smoke") == 0) {
      smoke = true;
    } else if (std::strcmp(argv[i], "--json") == 0) {
      json = true;
    } else if (std::strcmp(argv[i], "--simd") == 0) {
      reference = false;
    } else if (const KernelInfo* kernel = FindKernel(argv[i])) {
      chosen.push_back(kernel);
    } else {
      std::fprintf(stderr, "no kernel \"%s\"; usage: bench_kernels [--smoke] [--json] [--simd] [NAME...]\n", argv[i]);
      return 2;
    }
  }
  if (chosen.empty()) chosen.assign(Registry().begin(), Registry().end());
  std::vector<Result> results;
  bool failed = false;
  for (const KernelInfo* kernel : chosen) {
    results.push_back(Measure(*kernel, smoke, reference));
    failed = failed || !results.back().status.ok();
  }
  if (json) {
    PrintJson(results, smoke, reference);
  } else {
    PrintTable(results);
  }
  return failed ? 1 : 0;
}
