// Plain C++: counting into cells is memory, not arithmetic.
#include <cstring>

#include "generated/histogram.h"
#include "native/kernels/histogram/bins.h"

namespace rampline::histogram {
namespace {

// Four tables take turns: equal values in a row would wait for one counter.
constexpr int kTables = 4;
struct State {
  int32_t counts[kTables][kBins + 3];
};

}  // namespace

size_t StateBytes(const KernelCall&) { return sizeof(State); }

Status Begin(const KernelCall&, void* memory) {
  std::memset(memory, 0, sizeof(State));
  return Ok();
}

Status Prepare(const KernelCall&, void*) { return Ok(); }

Status Gather(const KernelCall& call, void* memory) {
  State& state = *static_cast<State*>(memory);
  const Params& params = ParamsOf(call);
  const auto image = call.ports[kImage].view<const float>();
  const auto mask = call.ports[kMask].view<const uint32_t>();
  const auto skip = static_cast<uint32_t>(params.skip);
  const float scale = params.high > params.low ? kBins / (params.high - params.low) : 0.0f;
  for (int64_t row = 0; row < image.rows; row++) {
    const float* v = image.at(0, row);
    const uint32_t* bits = mask.data == nullptr ? nullptr : mask.at(0, row);
    for (int64_t x = 0; x < image.cols; x++) {
      if (bits != nullptr && (bits[x] & skip) != 0) continue;
      state.counts[x % kTables][BinOf(v[x], params.low, params.high, scale)]++;
    }
  }
  return Ok();
}

Status Merge(const KernelCall&, void* into, const void* from) {
  State& a = *static_cast<State*>(into);
  const State& b = *static_cast<const State*>(from);
  for (int t = 0; t < kTables; t++) {
    for (int i = 0; i < kBins + 3; i++) a.counts[t][i] += b.counts[t][i];
  }
  return Ok();
}

Status Finish(const KernelCall& call, void* memory, bool* again) {
  *again = false;
  const State& state = *static_cast<const State*>(memory);
  int32_t* counts = call.ports[kCounts].view<int32_t>().at(0, 0);
  int32_t* outside = call.ports[kOutside].view<int32_t>().at(0, 0);
  for (int i = 0; i < kBins + 3; i++) {
    int32_t sum = 0;
    for (int t = 0; t < kTables; t++) sum += state.counts[t][i];
    (i < kBins ? counts[i] : outside[i - kBins]) = sum;
  }
  return Ok();
}

}  // namespace rampline::histogram
