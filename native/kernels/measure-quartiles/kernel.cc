// Plain C++: counting into cells is memory, not arithmetic.
#include <cstring>

#include "generated/measure-quartiles.h"

namespace rampline::measure_quartiles {
namespace {

constexpr int kRanks = 6;  // the two beside each quartile
constexpr int kCells = 1 << 16;
constexpr double kParts[3] = {0.25, 0.5, 0.75};

struct State {
  int64_t round, total;
  int64_t rank[kRanks];            // within the cell, once that is known
  uint32_t upper[kRanks];          // upper 16 bits of the value of that rank
  int32_t counts[kRanks][kCells];  // in the first pass only the first is used
};

// Floats as integers of the same order; -0 is 0.
uint32_t KeyOf(float v) {
  uint32_t bits;
  v += 0.0f;
  std::memcpy(&bits, &v, sizeof bits);
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}
double ValueOf(uint32_t key) {
  const uint32_t bits = (key & 0x80000000u) != 0 ? key & 0x7fffffffu : ~key;
  float v;
  std::memcpy(&v, &bits, sizeof v);
  return v;
}
bool Finite(float v) { return v - v == 0; }

// The cell that holds a rank, which becomes the rank within it.
uint32_t CellOf(const int32_t* counts, int64_t* rank) {
  for (uint32_t cell = 0; cell < kCells; cell++) {
    if (*rank < counts[cell]) return cell;
    *rank -= counts[cell];
  }
  return kCells - 1;  // not reached: the counts add up to more than the rank
}

// The first of the ranks that lie in the same cell counts for all of them.
int FirstOf(const State& state, int i) {
  int first = 0;
  while (state.upper[first] != state.upper[i]) first++;
  return first;
}

}  // namespace

size_t StateBytes(const KernelCall&) { return sizeof(State); }

Status Begin(const KernelCall&, void* memory) {
  std::memset(memory, 0, sizeof(State));
  return Ok();
}

Status Prepare(const KernelCall&, void*) { return Ok(); }

Status Gather(const KernelCall& call, void* memory) {
  State& state = *static_cast<State*>(memory);
  const auto image = call.ports[kImage].view<const float>();
  const auto mask = call.ports[kMask].view<const uint32_t>();
  const auto skip = static_cast<uint32_t>(ParamsOf(call).skip);
  int own[kRanks], cells = 0;
  for (int i = 0; i < kRanks; i++) {
    if (FirstOf(state, i) == i) own[cells++] = i;
  }
  for (int64_t row = 0; row < image.rows; row++) {
    const float* v = image.at(0, row);
    const uint32_t* bits = mask.data == nullptr ? nullptr : mask.at(0, row);
    for (int64_t x = 0; x < image.cols; x++) {
      if (!Finite(v[x]) || (bits != nullptr && (bits[x] & skip) != 0)) continue;
      const uint32_t key = KeyOf(v[x]);
      if (state.round == 0) {
        state.counts[0][key >> 16]++;
        continue;
      }
      for (int c = 0; c < cells; c++) {
        if (state.upper[own[c]] == key >> 16) state.counts[own[c]][key & 0xffffu]++;
      }
    }
  }
  return Ok();
}

Status Merge(const KernelCall&, void* into, const void* from) {
  State& a = *static_cast<State*>(into);
  const State& b = *static_cast<const State*>(from);
  for (int i = 0; i < kRanks; i++) {
    for (int c = 0; c < kCells; c++) a.counts[i][c] += b.counts[i][c];
  }
  return Ok();
}

Status Finish(const KernelCall& call, void* memory, bool* again) {
  State& state = *static_cast<State*>(memory);
  double* out = call.ports[kQuartiles].view<double>().at(0, 0);
  *again = false;
  if (state.round == 0) {
    state.total = 0;
    for (int c = 0; c < kCells; c++) state.total += state.counts[0][c];
    out[0] = static_cast<double>(state.total);
    if (state.total == 0) {
      out[1] = out[2] = out[3] = __builtin_nan("");
      return Ok();
    }
    for (int i = 0; i < kRanks; i++) {
      const int64_t low = static_cast<int64_t>(static_cast<double>(state.total - 1) * kParts[i / 2]);
      state.rank[i] = low + (i % 2 == 1 && low + 1 < state.total ? 1 : 0);
      state.upper[i] = CellOf(state.counts[0], &state.rank[i]);
    }
    std::memset(state.counts[0], 0, sizeof state.counts[0]);
    state.round = 1;
    *again = true;
    return Ok();
  }
  double values[kRanks];
  for (int i = 0; i < kRanks; i++) {
    const uint32_t lower = CellOf(state.counts[FirstOf(state, i)], &state.rank[i]);
    values[i] = ValueOf(state.upper[i] << 16 | lower);
  }
  for (int q = 0; q < 3; q++) {
    const double h = static_cast<double>(state.total - 1) * kParts[q];
    out[1 + q] =
        values[2 * q] + (h - static_cast<double>(static_cast<int64_t>(h))) * (values[2 * q + 1] - values[2 * q]);
  }
  out[0] = static_cast<double>(state.total);
  return Ok();
}

}  // namespace rampline::measure_quartiles
