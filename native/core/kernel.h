// The one interface between a kernel and everything that runs it: the chain driver, the conformance suite, the fuzzer,
// the benches. A kernel is arrays in, arrays out. It never sees a file, a header or a JavaScript value.
//
// kernel.json declares ports and parameters; native/codegen writes from it, for each kernel, a header
// "generated/<name>.h" with `struct Params`, `enum Port` and `inline const Params& ParamsOf(call)`, and the table that
// registers it. A kernel's sources therefore hold nothing but the kernel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "native/core/array.h"
#include "native/core/status.h"

namespace rampline {

// Where element (row 0, x 0) of the views lies on the detector: a kernel that must know its amplifier asks this.
struct Origin {
  int64_t row = 0, x = 0;
};

// The extent of the whole arrays that the views were cut from; a kernel run on whole arrays has it equal to its views.
struct Whole {
  int64_t planes = 0, rows = 0, cols = 0;
};

// Per-thread working memory of the size the kernel declared; 64-byte aligned.
struct Scratch {
  float* data = nullptr;
  size_t floats = 0;
};

// The next block's memory, asked for one cache line at a time by the kernels that compute much on little data, so that
// DRAM works while the arithmetic units do. What lies behind `end` is not asked for: it would be gone again when its turn
// comes.
struct Ahead {
  const char* next = nullptr;
  const char* end = nullptr;
  void Step() {
    __builtin_prefetch(next, 0, 2);
    next += next < end ? 64 : 0;
  }
};

struct KernelCall {
  std::span<const Array> ports;  // in the order of kernel.json
  const void* params = nullptr;  // the generated Params of this kernel
  Origin origin;
  Whole whole;
  Scratch scratch;
  Ahead* ahead = nullptr;  // never null inside the driver; null means "do not prefetch"
};

using RunFn = Status (*)(const KernelCall&);

enum class KernelClass : uint8_t {
  kStream,  // "pointwise": one operator applied plane by plane to each pixel; neighbours in a chain compile into one loop
  kLocal,   // needs only the rows it is given
  kGlobal,  // a statistic of whole planes: prepare > gather (blocks, any order) > merge (fixed order) > finish
};

// A global kernel keeps its partial sums in a state of `bytes` for each thread. Merging must not depend on which thread
// gathered which row: counts, exact integer sums, and disjoint stores do; float sums do not.
//
// The state is trivially copyable memory of stateBytes (64-byte aligned). begin empties it; prepare sees a few single rows
// one call at a time, the same in every thread's state. gather sees whole rows (columns are not cut); in begin and finish
// the input ports show row 0 only. Output ports are whole arrays everywhere. When finish sets *again it leaves the state
// emptied but for what says where to count, and the driver copies that state to every thread.
struct GlobalFns {
  size_t (*stateBytes)(const KernelCall&) = nullptr;
  Status (*begin)(const KernelCall&, void* state) = nullptr;
  // Sees a few rows spread over the detector before the first gather; may be null.
  Status (*prepare)(const KernelCall& sample, void* state) = nullptr;
  Status (*gather)(const KernelCall& rows, void* state) = nullptr;
  Status (*merge)(const KernelCall&, void* into, const void* from) = nullptr;
  // Writes the output ports; sets *again when the states have to be gathered once more (a counting window was missed).
  Status (*finish)(const KernelCall&, void* state, bool* again) = nullptr;
};

enum class PortDirection : uint8_t { kIn, kOut, kInOut };
enum class Axis : uint8_t { kNone, kPlane, kRow, kX, kOther };

struct PortInfo {
  const char* name;
  PortDirection direction;
  DType dtype;
  Axis axes[3];      // in the order plane, row, x: what each axis of the view means; kOther is never cut into blocks
  int32_t sizes[3];  // the extent of kOther axes, 1 for kNone, 0 where the data decides
  int planeOffset;   // planes of this port less the planes of the call, for example -1 for differences of reads
  const char* unit;
  bool optional;    // data may be null
  bool nan;         // NaN is a legal value and means "missing"; elsewhere nothing non-finite may come out
  double min, max;  // range of values that make sense: what the conformance suite draws from
  double toleranceRelative = -1, toleranceAbsolute = -1;  // of this output where it differs from the kernel's; else -1
};

struct ParamInfo {
  const char* name;
  enum class Type : uint8_t { kFloat, kInt, kBool } type;
  double min, max, fallback;
  size_t offset;              // in the generated Params
  bool exclusiveMin = false;  // min itself is not allowed
};

struct ScratchNeed {
  size_t base = 0, perPlane = 0, perPixel = 0, perPlanePixel = 0;  // floats
};

// What the conformance suite may assume, from "conformance" in kernel.json (the keys are explained at the top of
// test/native/test_conformance.cc).
struct ConformanceInfo {
  double decisionPixels = 0;
  uint64_t decisionPorts = ~uint64_t{0};  // bit p: port p may differ in a decision pixel
  int32_t minPlanes = 1, maxPlanes = 47;
  int32_t minRows = 0;
  bool strips = true;
  std::span<const int32_t> cols;  // empty: any width
};

// The size at which the bench runs, from "bench" in kernel.json.
struct BenchInfo {
  int32_t planes = 47, rows = 16, cols = 2048;
};

struct KernelInfo {
  const char* name;
  const char* version;
  const char* hash;  // of the folder's sources: goes into the provenance of products
  KernelClass kind;
  std::span<const PortInfo> ports;
  std::span<const ParamInfo> params;
  size_t paramsBytes;
  int streamIn = -1, streamOut = -1;  // ports of a stream kernel that the previous and the next operator share
  int planesDropped = 0;              // planes the output has fewer than the input
  double toleranceRelative = 0, toleranceAbsolute = 0;
  ScratchNeed scratch;
  RunFn run = nullptr;        // SIMD, dispatched at run time
  RunFn reference = nullptr;  // scalar, double precision
  GlobalFns global;           // of global kernels only
  ConformanceInfo conformance;
  BenchInfo bench;
};

std::span<const KernelInfo* const> Registry();
const KernelInfo* FindKernel(const char* name);

}  // namespace rampline
