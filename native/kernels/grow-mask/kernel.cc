// Plain C++: bytes that are mostly 0, once or a few times for a flat. Rows are grown as they come, columns at the end.
#include <algorithm>
#include <cstring>

#include "generated/grow-mask.h"

namespace rampline::grow_mask {
namespace {

struct State {
  int64_t rows, cols;
  uint8_t* marks() { return reinterpret_cast<uint8_t*>(this + 1); }
  const uint8_t* marks() const { return reinterpret_cast<const uint8_t*>(this + 1); }
};

}  // namespace

size_t StateBytes(const KernelCall& call) {
  return sizeof(State) + static_cast<size_t>(call.whole.rows * call.whole.cols);
}

Status Begin(const KernelCall& call, void* memory) {
  State* state = static_cast<State*>(memory);
  state->rows = call.whole.rows;
  state->cols = call.whole.cols;
  std::memset(state->marks(), 0, static_cast<size_t>(state->rows * state->cols));
  return Ok();
}

Status Prepare(const KernelCall&, void*) { return Ok(); }

Status Gather(const KernelCall& call, void* memory) {
  State* state = static_cast<State*>(memory);
  const auto mask = call.ports[kMask].view<const uint8_t>();
  const int64_t radius = ParamsOf(call).radius;
  for (int64_t r = 0; r < mask.rows; r++) {
    const int64_t row = call.origin.row + r;
    if (row < 0 || row >= state->rows || mask.cols > state->cols) {
      return Fail(Code::kBug, "a row outside the mask", -1, state->rows, row);
    }
    const uint8_t* in = mask.at(0, r);
    uint8_t* out = state->marks() + row * state->cols;
    int64_t done = 0;  // marks lie before it
    for (int64_t x = 0; x < mask.cols; x++) {
      if (in[x] == 0) continue;
      const int64_t to = std::min(mask.cols, x + radius + 1);
      for (int64_t i = std::max(done, x - radius); i < to; i++) out[i] = 1;
      done = to;
    }
  }
  return Ok();
}

Status Merge(const KernelCall&, void* into, const void* from) {
  State* a = static_cast<State*>(into);
  const State* b = static_cast<const State*>(from);
  const int64_t n = a->rows * a->cols;
  for (int64_t i = 0; i < n; i++) a->marks()[i] |= b->marks()[i];
  return Ok();
}

Status Finish(const KernelCall& call, void* memory, bool* again) {
  *again = false;
  const State* state = static_cast<State*>(memory);
  const auto grown = call.ports[kGrown].view<uint8_t>();
  const int64_t radius = ParamsOf(call).radius;
  for (int64_t row = 0; row < grown.rows; row++) {
    uint8_t* out = grown.at(0, row);
    if (grown.cols > 0) std::memset(out, 0, static_cast<size_t>(grown.cols));
    const int64_t to = std::min(state->rows, row + radius + 1);
    for (int64_t y = std::max<int64_t>(0, row - radius); y < to; y++) {
      const uint8_t* in = state->marks() + y * state->cols;
      for (int64_t x = 0; x < grown.cols; x++) out[x] |= in[x];
    }
  }
  return Ok();
}

}  // namespace rampline::grow_mask
