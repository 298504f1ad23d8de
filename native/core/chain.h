// A chain runs kernels over cache-sized blocks: one detector row of all reads, in strips. Each byte of the cube is touched
// as few times as the chain's global statistics allow:
//
//   no global kernel        decode a row > run the stream and local kernels on it > next row
//   global kernels, cube    decode, gather and keep the cube (u16, [row][read][x]) > finish > run the rest from the cube
//   global kernels, no cube decode and gather > finish > decode again and run the rest
//
// Blocks are independent and statistics merge exactly, so the bytes do not depend on the number of threads.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "native/core/kernel.h"
#include "native/core/source.h"

namespace rampline {

struct ChainArray {
  enum class Kind : uint8_t {
    kBound,   // memory of the caller: maps, tables, outputs
    kBlock,   // working memory of a thread: planes x one row x a strip (whole.cols == 0) or a fixed number of columns
    kSource,  // the reads, as the source yields them
  };
  std::string name;
  Kind kind = Kind::kBound;
  Array whole;
};

struct ChainStep {
  const KernelInfo* kernel = nullptr;
  std::vector<int> arrays;        // for each port the index of its array, or -1 for an optional port left open
  std::vector<std::byte> params;  // the kernel's generated Params
};

struct ChainOptions {
  int threads = 1;
  int64_t strip = 512;         // columns of a block
  bool keepCube = true;        // false: decode twice where a global kernel needs a first pass
  bool fuse = true;            // run neighbouring stream kernels as one loop where the build has compiled it
  int64_t firstRead = 0;       // reads of the source that the chain sees
  int64_t reads = -1;          // -1: all from firstRead on
  int64_t rows = 0, cols = 0;  // the region that stream and local kernels cover, from (0, 0)
};

struct Chain {
  RowSource* source = nullptr;  // may be null when no array is kSource
  std::vector<ChainArray> arrays;
  std::vector<ChainStep> steps;
  ChainOptions options;
};

struct ChainTiming {
  std::string name;    // kernels joined by '+', or "decode", "store cube", "finish"
  double seconds = 0;  // summed over threads
};

struct ChainReport {
  Status status;
  int failedStep = -1;  // index of the step that failed, -1 for the source
  std::vector<ChainTiming> timings;
  size_t cubeBytes = 0;
  size_t blockBytes = 0;           // of one thread
  std::vector<uint32_t> dataSums;  // RowSource::DataSums
};

struct ChainControl {
  std::atomic<int32_t>* cancel = nullptr;    // non-zero: stop at the next row group with kRetriable
  std::atomic<int32_t>* progress = nullptr;  // rows done, over both passes
};

// What the driver would do, for `kernels chain` and for memory prediction: one line for each loop over a block.
struct ChainPlan {
  struct Loop {
    std::vector<int> steps;  // one, or several fused
    bool global = false;
    int fused = -1;  // index into FusedRuns() where there are several steps
  };
  std::vector<Loop> loops;
  bool needsFirstPass = false;
};
Status PlanChain(const Chain& chain, ChainPlan* plan);

ChainReport RunChain(const Chain& chain, const ChainControl& control = {});

}  // namespace rampline
