#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/measure-zero-point/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstring>

#include "generated/measure-zero-point.h"
#include "native/core/count-inl.h"
#include "native/core/geometry.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace measure_zero_point {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

constexpr int kThresholds = 16;  // counted in two halves, which fit the registers of every target
constexpr int kLanes = rampline::HWY_NAMESPACE::kCountLanes;
using namespace rampline::HWY_NAMESPACE;  // NOLINT: of this target

// Adds to counts[t][lane] the number of the row's values below each threshold. `n` is a multiple of the vector.
void CountRow(const uint16_t* HWY_RESTRICT row, int64_t n, const uint16_t* HWY_RESTRICT thresholds,
              uint16_t* HWY_RESTRICT counts) {
  const D16 d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int half = 0; half < kThresholds; half += 8) {
    const uint16_t* t = thresholds + half;
    int16_t* c = reinterpret_cast<int16_t*>(counts) + half * kLanes;
    V16 c0 = hn::Load(d, c), c1 = hn::Load(d, c + kLanes), c2 = hn::Load(d, c + 2 * kLanes),
        c3 = hn::Load(d, c + 3 * kLanes), c4 = hn::Load(d, c + 4 * kLanes), c5 = hn::Load(d, c + 5 * kLanes),
        c6 = hn::Load(d, c + 6 * kLanes), c7 = hn::Load(d, c + 7 * kLanes);
    const V16 t0 = SetFlipped(d, t[0]), t1 = SetFlipped(d, t[1]), t2 = SetFlipped(d, t[2]), t3 = SetFlipped(d, t[3]),
              t4 = SetFlipped(d, t[4]), t5 = SetFlipped(d, t[5]), t6 = SetFlipped(d, t[6]), t7 = SetFlipped(d, t[7]);
    for (int64_t x = 0; x < n; x += lanes) {
      const V16 v = LoadFlipped(d, row + x);
      c0 = CountIf(d, c0, hn::Lt(v, t0));
      c1 = CountIf(d, c1, hn::Lt(v, t1));
      c2 = CountIf(d, c2, hn::Lt(v, t2));
      c3 = CountIf(d, c3, hn::Lt(v, t3));
      c4 = CountIf(d, c4, hn::Lt(v, t4));
      c5 = CountIf(d, c5, hn::Lt(v, t5));
      c6 = CountIf(d, c6, hn::Lt(v, t6));
      c7 = CountIf(d, c7, hn::Lt(v, t7));
    }
    hn::Store(c0, d, c);
    hn::Store(c1, d, c + kLanes);
    hn::Store(c2, d, c + 2 * kLanes);
    hn::Store(c3, d, c + 3 * kLanes);
    hn::Store(c4, d, c + 4 * kLanes);
    hn::Store(c5, d, c + 5 * kLanes);
    hn::Store(c6, d, c + 6 * kLanes);
    hn::Store(c7, d, c + 7 * kLanes);
  }
}

int64_t CountBelowRow(const uint16_t* p, int64_t n, int64_t threshold) { return CountBelow(p, n, threshold); }

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace measure_zero_point
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::measure_zero_point {
namespace {

HWY_EXPORT(CountRow);
HWY_EXPORT(CountBelowRow);

constexpr int kThresholds = 16;
constexpr int kLanes = 32;
constexpr int kMaxSamples = 16;
// A 16-bit counter of the narrowest target (one lane) takes 512 counts a row.
constexpr int64_t kRowsPerFlush = 65535 / kReferenceColumns;
constexpr int64_t kSideColumns = 2 * kBorder;
constexpr int64_t kEdgeRows = 2 * kBorder;
constexpr int64_t kEdgePixels = kBorder * kAmplifierColumns;  // of one amplifier, bottom or top
constexpr uint32_t kEnd = 65536;                              // one past the largest value

// The search for the middle two values of one read's reference output. The value of rank i lies in [low[i], high[i]).
struct Search {
  uint32_t low[2], high[2];
  uint16_t thresholds[kThresholds];
  uint64_t below[kThresholds];
  uint64_t count;
  uint16_t samples[kMaxSamples];
  bool placed;  // the thresholds lie around a guess
  bool settled() const { return high[0] - low[0] == 1 && high[1] - low[1] == 1; }
};

struct Header {
  int64_t planes, rows, sideStride;
  int64_t unflushedRows;
  int32_t samples;
  bool sidesDone;  // the side columns and reference rows were kept in an earlier pass
};

// Where the parts of a state lie: offsets, not pointers, because states are copied.
struct Layout {
  explicit Layout(const KernelCall& call) {
    const int64_t planes = call.ports[kReads].planes, rows = call.whole.rows;
    // An odd number of cache lines from read to read, so that the reads do not fall into the same cache sets.
    sideStride = ((rows * kSideColumns / 32 + 1) | 1) * 32;
    size_t at = 0;
    const auto take = [&](int64_t bytes) {
      const size_t here = at;
      at += (static_cast<size_t>(bytes) + 63) / 64 * 64;
      return here;
    };
    header = take(sizeof(Header));
    searches = take(planes * static_cast<int64_t>(sizeof(Search)));
    counts = take(planes * kThresholds * kLanes * 2);
    seen = take(rows);
    side = take(planes * sideStride * 2);
    edge = take(planes * kAmplifiers * 2 * kEdgePixels * 2);
    bytes = at;
  }
  int64_t sideStride;
  size_t header, searches, counts, seen, side, edge, bytes;
};

struct State {
  State(const KernelCall& call, void* memory) {
    const Layout layout(call);
    char* p = static_cast<char*>(memory);
    header = reinterpret_cast<Header*>(p + layout.header);
    searches = reinterpret_cast<Search*>(p + layout.searches);
    counts = reinterpret_cast<uint16_t*>(p + layout.counts);
    seen = reinterpret_cast<uint8_t*>(p + layout.seen);
    side = reinterpret_cast<uint16_t*>(p + layout.side);
    edge = reinterpret_cast<uint16_t*>(p + layout.edge);
  }
  uint16_t* Counts(int64_t plane) const { return counts + plane * kThresholds * kLanes; }
  // Side columns of a read: the left ones of all rows, then the right ones.
  uint16_t* Side(int64_t plane, int64_t right) const {
    return side + plane * header->sideStride + right * header->rows * kBorder;
  }
  // Reference rows of an amplifier: the bottom ones, then the top ones.
  uint16_t* Edge(int64_t plane, int64_t amplifier) const {
    return edge + (plane * kAmplifiers + amplifier) * 2 * kEdgePixels;
  }

  Header* header;
  Search* searches;
  uint16_t* counts;
  uint8_t* seen;
  uint16_t* side;
  uint16_t* edge;
};

// Which reference row a detector row is: 0..3 at the bottom, 4..7 at the top, -1 between.
int64_t EdgeRow(int64_t row, int64_t rows) {
  if (row < kBorder) return row;
  return row >= rows - kBorder ? row - (rows - kEdgeRows) : -1;
}

// The smallest value in [low, high) of which `countBelow(value + 1)` exceeds the rank; one is known to exist.
template <class CountFn>
int64_t ValueOfRank(int64_t low, int64_t high, int64_t rank, const CountFn& countBelow) {
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    if (countBelow(middle) > rank) {
      high = middle;
    } else {
      low = middle;
    }
  }
  return low;
}

// The median of n values that were rounded to integers, each standing for the interval of half a DN on either side that
// rounds to it: README.md.
template <class CountFn>
double GroupedMedian(int64_t n, const CountFn& countBelow) {
  const int64_t a = ValueOfRank(0, kEnd, (n - 1) / 2, countBelow);
  const int64_t below = countBelow(a), upTo = countBelow(a + 1);
  if (2 * upTo == n) return 0.5 * static_cast<double>(a + ValueOfRank(a + 1, kEnd, n / 2, countBelow));
  return static_cast<double>(a) - 0.5 +
         (0.5 * static_cast<double>(n) - static_cast<double>(below)) / static_cast<double>(upTo - below);
}

int64_t Below(const uint16_t* p, int64_t n, int64_t threshold) {
  return HWY_DYNAMIC_DISPATCH(CountBelowRow)(p, n, threshold);
}

uint16_t Clamp(int64_t threshold) { return static_cast<uint16_t>(std::clamp<int64_t>(threshold, 0, kEnd - 1)); }

void SetThresholds(Search* s, int64_t first, int64_t step) {
  for (int t = 0; t < kThresholds; t++) s->thresholds[t] = Clamp(first + t * step);
}

// Equal parts of what is left; every value on its own once they are few enough.
void Divide(Search* s, int64_t low, int64_t high) {
  const int64_t step = std::max<int64_t>(1, (high - low + kThresholds) / (kThresholds + 1));
  SetThresholds(s, low + step, step);
}

void Flush(const State& state) {
  for (int64_t k = 0; k < state.header->planes; k++) {
    Search& s = state.searches[k];
    uint16_t* counts = state.Counts(k);
    for (int t = 0; t < kThresholds; t++) {
      for (int l = 0; l < kLanes; l++) s.below[t] += counts[t * kLanes + l];
    }
    std::memset(counts, 0, kThresholds * kLanes * sizeof(uint16_t));
  }
  state.header->unflushedRows = 0;
}

// Uses the counts of a pass; places the thresholds of the next one where that is needed.
void Narrow(Search* s) {
  for (int i = 0; i < 2; i++) {
    const uint64_t rank = i == 0 ? (s->count - 1) / 2 : s->count / 2;
    for (int t = 0; t < kThresholds; t++) {
      const uint32_t threshold = s->thresholds[t];
      if (s->below[t] <= rank) {
        s->low[i] = std::max(s->low[i], threshold);
      } else {
        s->high[i] = std::min(s->high[i], threshold);
      }
    }
  }
  if (s->settled()) return;
  const int i = s->high[0] - s->low[0] > 1 ? 0 : 1;
  const int64_t low = s->low[i], high = s->high[i];
  const bool above = low == s->thresholds[kThresholds - 1];
  if (s->placed && high - low > kThresholds + 1 && low + 8 < kEnd) {
    // The guess was wrong, but hardly by much: look at distances that double.
    for (int t = 0; t < kThresholds; t++)
      s->thresholds[t] = Clamp(above ? low + (int64_t{8} << t) : high - (int64_t{8} << t));
  } else {
    Divide(s, low, high);
  }
  s->placed = false;
}

}  // namespace

size_t StateBytes(const KernelCall& call) { return Layout(call).bytes; }

Status Begin(const KernelCall& call, void* memory) {
  const Array& reads = call.ports[kReads];
  if (reads.cols != kReadColumns) {
    return Fail(Code::kUsage, "reads must have 2560 columns", -1, kReadColumns, reads.cols);
  }
  if (call.whole.rows < kEdgeRows) {
    return Fail(Code::kUsage, "a zero point needs 4 reference rows on each side", -1, kEdgeRows, call.whole.rows);
  }
  const Layout layout(call);
  std::memset(memory, 0, layout.bytes);
  const State state(call, memory);
  state.header->planes = reads.planes;
  state.header->rows = call.whole.rows;
  state.header->sideStride = layout.sideStride;
  for (int64_t k = 0; k < reads.planes; k++) {
    Search& s = state.searches[k];
    s.high[0] = s.high[1] = kEnd;
    s.count = static_cast<uint64_t>(call.whole.rows * kReferenceColumns);
    Divide(&s, 0, kEnd);
  }
  return Ok();
}

Status Prepare(const KernelCall& sample, void* memory) {
  const State state(sample, memory);
  const auto reads = sample.ports[kReads].view<const uint16_t>();
  for (int64_t row = 0; row < reads.rows && state.header->samples < kMaxSamples; row++) {
    const int32_t n = ++state.header->samples;
    for (int64_t k = 0; k < reads.planes; k++) {
      Search& s = state.searches[k];
      const uint16_t* p = reads.at(k, row) + kScienceColumns;
      const auto below = [&](int64_t v) { return Below(p, kReferenceColumns, v); };
      s.samples[n - 1] = static_cast<uint16_t>(ValueOfRank(0, kEnd, kReferenceColumns / 2, below));
      uint16_t sorted[kMaxSamples];
      std::copy(s.samples, s.samples + n, sorted);
      std::nth_element(sorted, sorted + n / 2, sorted + n);
      // Thresholds g - 7 .. g + 8 tell the values g - 7 .. g + 7 apart.
      SetThresholds(&s, static_cast<int64_t>(sorted[n / 2]) - 7, 1);
      s.placed = true;
    }
  }
  return Ok();
}

Status Gather(const KernelCall& call, void* memory) {
  const State state(call, memory);
  Header& header = *state.header;
  const auto reads = call.ports[kReads].view<const uint16_t>();
  for (int64_t r = 0; r < reads.rows; r++) {
    const int64_t row = call.origin.row + r;
    if (row < 0 || row >= header.rows) return Fail(Code::kBug, "a row outside the reads", -1, header.rows, row);
    if (header.unflushedRows == kRowsPerFlush) Flush(state);
    header.unflushedRows++;
    for (int64_t k = 0; k < reads.planes; k++) {
      const Search& s = state.searches[k];
      if (s.settled()) continue;
      HWY_DYNAMIC_DISPATCH(CountRow)
      (reads.at(k, r) + kScienceColumns, kReferenceColumns, s.thresholds, state.Counts(k));
    }
    if (header.sidesDone) continue;
    state.seen[row] = 1;
    const int64_t edgeRow = EdgeRow(row, header.rows);
    for (int64_t k = 0; k < reads.planes; k++) {
      const uint16_t* p = reads.at(k, r);
      std::memcpy(state.Side(k, 0) + row * kBorder, p, kBorder * sizeof(uint16_t));
      std::memcpy(state.Side(k, 1) + row * kBorder, p + kScienceColumns - kBorder, kBorder * sizeof(uint16_t));
      for (int64_t a = 0; edgeRow >= 0 && a < kAmplifiers; a++) {
        std::memcpy(state.Edge(k, a) + edgeRow * kAmplifierColumns, p + a * kAmplifierColumns,
                    kAmplifierColumns * sizeof(uint16_t));
      }
    }
  }
  return Ok();
}

Status Merge(const KernelCall& call, void* into, const void* from) {
  const State to(call, into);
  const State other(call, const_cast<void*>(from));  // a view for reading
  Flush(to);
  for (int64_t k = 0; k < to.header->planes; k++) {
    for (int t = 0; t < kThresholds; t++) {
      to.searches[k].below[t] += other.searches[k].below[t];
      for (int l = 0; l < kLanes; l++) to.searches[k].below[t] += other.Counts(k)[t * kLanes + l];
    }
  }
  if (to.header->sidesDone) return Ok();
  for (int64_t row = 0; row < to.header->rows; row++) {
    if (other.seen[row] == 0) continue;
    to.seen[row] = 1;
    const int64_t edgeRow = EdgeRow(row, to.header->rows);
    for (int64_t k = 0; k < to.header->planes; k++) {
      for (int64_t right = 0; right < 2; right++) {
        std::memcpy(to.Side(k, right) + row * kBorder, other.Side(k, right) + row * kBorder,
                    kBorder * sizeof(uint16_t));
      }
      for (int64_t a = 0; edgeRow >= 0 && a < kAmplifiers; a++) {
        std::memcpy(to.Edge(k, a) + edgeRow * kAmplifierColumns, other.Edge(k, a) + edgeRow * kAmplifierColumns,
                    kAmplifierColumns * sizeof(uint16_t));
      }
    }
  }
  return Ok();
}

Status Finish(const KernelCall& call, void* memory, bool* again) {
  const State state(call, memory);
  Header& header = *state.header;
  for (int64_t row = 0; row < header.rows; row++) {
    if (state.seen[row] == 0) return Fail(Code::kBug, "a row was not gathered", -1, header.rows, row);
  }
  Flush(state);
  *again = false;
  for (int64_t k = 0; k < header.planes; k++) {
    Search& s = state.searches[k];
    if (s.settled()) continue;
    Narrow(&s);
    std::fill(s.below, s.below + kThresholds, 0);
    *again = *again || !s.settled();
  }
  header.sidesDone = true;
  if (*again) return Ok();

  const auto offsets = call.ports[kOffsets].view<float>();
  const auto zero = call.ports[kZero].view<float>();
  const int64_t sides = header.rows * kBorder;
  for (int64_t k = 0; k < header.planes; k++) {
    // Left and right belong to amplifiers 0 and 3, whose levels differ by far more than the noise: the median of both
    // together would lie in the gap between them and jump about. Each side has its own, and the level is their mean.
    double side[2];
    for (int64_t right = 0; right < 2; right++) {
      const uint16_t* p = state.Side(k, right);
      side[right] = GroupedMedian(sides, [&](int64_t v) { return Below(p, sides, v); });
    }
    const double s = 0.5 * (side[0] + side[1]);
    const double r = 0.5 * (state.searches[k].low[0] + state.searches[k].low[1]);
    double offset[kAmplifiers];
    for (int64_t a = 0; a < kAmplifiers; a++) {
      double edge[2];
      for (int top = 0; top < 2; top++) {
        const uint16_t* p = state.Edge(k, a) + top * kEdgePixels;
        edge[top] = GroupedMedian(kEdgePixels, [&](int64_t v) { return Below(p, kEdgePixels, v); });
      }
      offset[a] = 0.5 * (edge[0] + edge[1]);
    }
    const double common = 0.5 * (offset[0] + offset[kAmplifiers - 1]);
    float* z = zero.at(k, 0);
    z[0] = static_cast<float>(s);
    z[1] = static_cast<float>(r);
    for (int64_t a = 0; a < kAmplifiers; a++) {
      z[2 + a] = static_cast<float>(offset[a] - common);
      offsets.at(k, 0)[a] = static_cast<float>(s + offset[a] - common);
    }
  }
  return Ok();
}

}  // namespace rampline::measure_zero_point
#endif
