// Drives any kernel of the registry with nothing but its KernelInfo: memory between guard pages for its ports, inputs
// drawn from the ports' ranges, parameters, and the call as the chain driver makes it. The conformance suite, the kernel
// fuzzer and the kernel bench share it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "native/core/guarded.h"
#include "native/core/kernel.h"

namespace rampline::harness {

// splitmix64 (Steele, Lea, Flood 2014): the same numbers on every machine.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next() {
    uint64_t z = (state_ += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  double Uniform() { return static_cast<double>(Next() >> 11) * 0x1p-53; }
  double Between(double low, double high) { return low + (high - low) * Uniform(); }
  int64_t Below(int64_t n) { return static_cast<int64_t>(Next() % static_cast<uint64_t>(n)); }
  bool Chance(double probability) { return Uniform() < probability; }
  // Mean 0, variance 1: the sum of twelve uniform numbers is near enough to a Gaussian for test noise.
  double Noise() {
    double sum = -6;
    for (int i = 0; i < 12; i++) sum += Uniform();
    return sum;
  }
  template <class T>
  const T& Pick(const std::vector<T>& list) {
    return list[static_cast<size_t>(Below(static_cast<int64_t>(list.size())))];
  }

 private:
  uint64_t state_;
};

struct Shape {
  int64_t planes = 1, rows = 1, cols = 1;
};

inline bool HasAxis(const PortInfo& port, Axis axis) {
  return port.axes[0] == axis || port.axes[1] == axis || port.axes[2] == axis;
}
inline bool UsesAxis(const KernelInfo& kernel, Axis axis) {
  return std::any_of(kernel.ports.begin(), kernel.ports.end(), [&](const PortInfo& p) { return HasAxis(p, axis); });
}
inline bool IsFloat(DType type) { return type == DType::kF32 || type == DType::kF64; }
inline bool IsInput(const PortInfo& port) { return port.direction != PortDirection::kOut; }
inline bool IsOutput(const PortInfo& port) { return port.direction != PortDirection::kIn; }

// Extents of a port for a call of this shape; planes is negative where the call has too few of them.
inline Shape ExtentOf(const PortInfo& port, const Shape& call) {
  const auto extent = [&](int axis) -> int64_t {
    switch (port.axes[axis]) {
      case Axis::kNone: return 1;
      case Axis::kPlane: return call.planes + port.planeOffset;
      case Axis::kRow: return call.rows;
      case Axis::kX: return call.cols;
      case Axis::kOther: return port.sizes[axis];
    }
    return 1;
  };
  return {extent(0), extent(1), extent(2)};
}

inline bool Possible(const KernelInfo& kernel, const Shape& shape) {
  return std::all_of(kernel.ports.begin(), kernel.ports.end(),
                     [&](const PortInfo& p) { return ExtentOf(p, shape).planes >= 0; });
}

inline double GetValue(const Array& a, int64_t plane, int64_t row, int64_t x) {
  const int64_t i = plane * a.planeStride + row * a.rowStride + x;
  switch (a.dtype) {
    case DType::kU8: return static_cast<const uint8_t*>(a.data)[i];
    case DType::kI16: return static_cast<const int16_t*>(a.data)[i];
    case DType::kU16: return static_cast<const uint16_t*>(a.data)[i];
    case DType::kI32: return static_cast<const int32_t*>(a.data)[i];
    case DType::kU32: return static_cast<const uint32_t*>(a.data)[i];
    case DType::kI64: return static_cast<double>(static_cast<const int64_t*>(a.data)[i]);
    case DType::kF32: return static_cast<const float*>(a.data)[i];
    case DType::kF64: return static_cast<const double*>(a.data)[i];
  }
  return 0;
}

template <class T>
void SetInteger(const Array& a, int64_t i, double value) {
  const auto low = static_cast<double>(std::numeric_limits<T>::min());
  const auto high = static_cast<double>(std::numeric_limits<T>::max());
  T out;
  if (!(value > low)) {
    out = std::numeric_limits<T>::min();  // NaN too
  } else if (value >= high) {
    out = std::numeric_limits<T>::max();
  } else {
    out = static_cast<T>(std::nearbyint(value));
  }
  static_cast<T*>(a.data)[i] = out;
}

// Rounds and saturates to the array's type.
inline void SetValue(const Array& a, int64_t plane, int64_t row, int64_t x, double value) {
  const int64_t i = plane * a.planeStride + row * a.rowStride + x;
  switch (a.dtype) {
    case DType::kU8: SetInteger<uint8_t>(a, i, value); break;
    case DType::kI16: SetInteger<int16_t>(a, i, value); break;
    case DType::kU16: SetInteger<uint16_t>(a, i, value); break;
    case DType::kI32: SetInteger<int32_t>(a, i, value); break;
    case DType::kU32: SetInteger<uint32_t>(a, i, value); break;
    case DType::kI64: SetInteger<int64_t>(a, i, value); break;
    case DType::kF32:
      // A finite double beyond float's range has no defined conversion; infinities keep their sign.
      if (std::isfinite(value)) {
        constexpr double kMax = std::numeric_limits<float>::max();
        value = std::clamp(value, -kMax, kMax);
      }
      static_cast<float*>(a.data)[i] = static_cast<float>(value);
      break;
    case DType::kF64: static_cast<double*>(a.data)[i] = value; break;
  }
}

struct Layout {
  bool rowInterleaved = false;  // [row][plane][x], as the cube is kept, instead of [plane][row][x]
  int64_t padding = 0;          // elements between the end of a row and the start of the next
  bool atEnd = true;            // the last element flush against the upper guard page; else the first against the lower
};

// One port's memory. Everything outside the view, between the guard pages, holds the fill byte and must keep it.
class PortMemory {
 public:
  PortMemory(DType dtype, const Shape& extent, const Layout& layout, unsigned char fill)
      : fill_(fill), buffer_(Bytes(dtype, extent, layout), layout.atEnd) {
    array_ = View(dtype, extent, layout);
    array_.data = buffer_.data();
    if (buffer_.size() > 0) std::memset(buffer_.data(), fill, buffer_.size());
  }

  const Array& array() const { return array_; }
  bool allocated() const { return buffer_.data() != nullptr; }

  // Copies the view's values from another array of the same extents.
  void CopyFrom(const Array& from) {
    ForEachRow([&](int64_t plane, int64_t row, size_t bytes) {
      std::memcpy(Row(array_, plane, row), Row(from, plane, row), bytes);
    });
  }
  bool SameBytes(const Array& other) const {
    bool same = true;
    ForEachRow([&](int64_t plane, int64_t row, size_t bytes) {
      same = same && std::memcmp(Row(array_, plane, row), Row(other, plane, row), bytes) == 0;
    });
    return same;
  }
  bool PaddingKept() const {
    std::vector<unsigned char> copy(buffer_.data(), buffer_.data() + buffer_.size());
    ForEachRow([&](int64_t plane, int64_t row, size_t bytes) {
      std::memset(copy.data() + (Row(array_, plane, row) - buffer_.data()), fill_, bytes);
    });
    return std::all_of(copy.begin(), copy.end(), [&](unsigned char c) { return c == fill_; });
  }

 private:
  static unsigned char* Row(const Array& a, int64_t plane, int64_t row) {
    const int64_t elements = plane * a.planeStride + row * a.rowStride;
    return static_cast<unsigned char*>(a.data) + elements * static_cast<int64_t>(SizeOf(a.dtype));
  }
  template <class Fn>
  void ForEachRow(Fn fn) const {
    if (array_.cols == 0) return;
    for (int64_t k = 0; k < array_.planes; k++) {
      for (int64_t row = 0; row < array_.rows; row++) {
        fn(k, row, static_cast<size_t>(array_.cols) * SizeOf(array_.dtype));
      }
    }
  }
  static Array View(DType dtype, const Shape& e, const Layout& layout) {
    Array a{nullptr, dtype, e.planes, e.rows, e.cols, 0, 0};
    const int64_t line = e.cols + layout.padding;
    a.rowStride = layout.rowInterleaved ? line * e.planes : line;
    a.planeStride = layout.rowInterleaved ? line : line * e.rows + layout.padding;
    return a;
  }
  // Up to and with the last element and no byte more.
  static size_t Bytes(DType dtype, const Shape& e, const Layout& layout) {
    if (e.planes == 0 || e.rows == 0 || e.cols == 0) return 0;
    const Array a = View(dtype, e, layout);
    const int64_t last = (e.planes - 1) * a.planeStride + (e.rows - 1) * a.rowStride + e.cols;
    return static_cast<size_t>(last) * SizeOf(dtype);
  }

  unsigned char fill_;
  GuardedBuffer buffer_;
  Array array_;
};

// What an unwritten output holds: as float -6328.7 and 2.2e-29, neither of which a kernel writes by chance.
constexpr unsigned char kFillRun = 0xC5, kFillReference = 0x0F;

// The ports of one call. Open optional ports have no memory and null data, as in the chain driver.
class Ports {
 public:
  Ports(const KernelInfo& kernel, const Shape& shape, const Layout& layout, const std::vector<bool>& open,
        unsigned char fill)
      : kernel_(&kernel), shape_(shape), layout_(layout), open_(open) {
    for (size_t p = 0; p < kernel.ports.size(); p++) {
      const PortInfo& port = kernel.ports[p];
      if (open[p]) {
        memory_.emplace_back(port.dtype, Shape{0, 0, 0}, layout, fill);
        arrays_.emplace_back();
      } else {
        memory_.emplace_back(port.dtype, ExtentOf(port, shape), layout, fill);
        arrays_.push_back(memory_.back().array());
      }
    }
  }

  // The same inputs (and first contents of in-out ports) in fresh memory; outputs hold the fill byte.
  Ports Fresh(unsigned char fill) const { return Fresh(fill, layout_); }
  Ports Fresh(unsigned char fill, const Layout& layout) const {
    Ports other(*kernel_, shape_, layout, open_, fill);
    for (size_t p = 0; p < arrays_.size(); p++) {
      if (!open_[p] && IsInput(kernel_->ports[p])) other.memory_[p].CopyFrom(arrays_[p]);
    }
    return other;
  }

  // Gives in-out ports the contents they have in `from` again.
  void RestoreInOut(const Ports& from) {
    for (size_t p = 0; p < arrays_.size(); p++) {
      if (!open_[p] && kernel_->ports[p].direction == PortDirection::kInOut) memory_[p].CopyFrom(from.arrays()[p]);
    }
  }

  const Shape& shape() const { return shape_; }
  const std::vector<Array>& arrays() const { return arrays_; }
  std::vector<Array>& arrays() { return arrays_; }
  const PortMemory& memory(size_t p) const { return memory_[p]; }
  bool open(size_t p) const { return open_[p]; }
  bool allocated() const {
    return std::all_of(memory_.begin(), memory_.end(), [](const PortMemory& m) { return m.allocated(); });
  }

 private:
  const KernelInfo* kernel_;
  Shape shape_;
  Layout layout_;
  std::vector<bool> open_;
  std::vector<PortMemory> memory_;
  std::vector<Array> arrays_;
};

// --- Parameters ------------------------------------------------------------------------------------------------------

using Params = std::vector<std::byte>;

inline double SmallestAllowed(const ParamInfo& param) {
  // Where the lower bound itself is excluded, a thousandth of the range above it stands for "small".
  return param.exclusiveMin ? param.min + 1e-3 * (param.max - param.min) : param.min;
}

inline void SetParam(const ParamInfo& info, Params* params, double value) {
  if (info.type == ParamInfo::Type::kFloat) {
    const auto f = static_cast<float>(value);
    std::memcpy(params->data() + info.offset, &f, sizeof f);
  } else {
    const auto i = static_cast<int32_t>(std::nearbyint(value));
    std::memcpy(params->data() + info.offset, &i, sizeof i);
  }
}

inline Params DefaultParams(const KernelInfo& kernel) {
  Params params(kernel.paramsBytes);
  for (const ParamInfo& info : kernel.params) SetParam(info, &params, info.fallback);
  return params;
}

inline Params RandomParams(const KernelInfo& kernel, Random* random) {
  Params params(kernel.paramsBytes);
  for (const ParamInfo& info : kernel.params) {
    if (info.type == ParamInfo::Type::kFloat) {
      SetParam(info, &params, random->Between(SmallestAllowed(info), info.max));
    } else {
      SetParam(info, &params, std::floor(random->Between(info.min, info.max + 1)));
    }
  }
  return params;
}

// --- Calls -----------------------------------------------------------------------------------------------------------

// As the driver counts: scratch "pixels" are the columns of a block, "planes" the most that any port has.
inline int64_t WholePlanes(const KernelInfo& kernel, const Shape& shape) {
  int64_t planes = 1;
  for (const PortInfo& port : kernel.ports) {
    if (HasAxis(port, Axis::kPlane)) planes = std::max(planes, ExtentOf(port, shape).planes);
  }
  return planes;
}

class ScratchMemory {
 public:
  ScratchMemory(const KernelInfo& kernel, const Shape& shape)
      : floats_(Floats(kernel, shape)), buffer_((floats_ * sizeof(float) + 63) / 64 * 64, true) {
    // All ones is NaN: working memory that is read before it is written shows.
    if (buffer_.size() > 0) std::memset(buffer_.data(), 0xFF, buffer_.size());
  }
  Scratch get() const { return {reinterpret_cast<float*>(buffer_.data()), floats_}; }

 private:
  static size_t Floats(const KernelInfo& kernel, const Shape& shape) {
    const ScratchNeed& need = kernel.scratch;
    const auto planes = static_cast<size_t>(WholePlanes(kernel, shape));
    const auto width = static_cast<size_t>(shape.cols);
    return need.base + need.perPlane * planes + need.perPixel * width + need.perPlanePixel * planes * width;
  }
  size_t floats_;
  GuardedBuffer buffer_;
};

struct Block {
  int64_t row = 0, rows = 0, x = 0, cols = 0;
};

// Cuts the views to a block. Ports without a row or x axis are passed whole, and so are a global kernel's outputs.
inline std::vector<Array> Cut(const KernelInfo& kernel, const std::vector<Array>& whole, const Block& block) {
  std::vector<Array> ports = whole;
  const bool global = kernel.kind == KernelClass::kGlobal;
  for (size_t p = 0; p < ports.size(); p++) {
    const PortInfo& port = kernel.ports[p];
    if (ports[p].data == nullptr || (global && port.direction != PortDirection::kIn)) continue;
    int64_t offset = 0;
    if (port.axes[1] == Axis::kRow) {
      offset += block.row * ports[p].rowStride;
      ports[p].rows = block.rows;
    }
    if (port.axes[2] == Axis::kX) {
      offset += block.x;
      ports[p].cols = block.cols;
    }
    ports[p].data = static_cast<unsigned char*>(ports[p].data) + offset * static_cast<int64_t>(SizeOf(ports[p].dtype));
  }
  return ports;
}

inline KernelCall MakeCall(const KernelInfo& kernel, const std::vector<Array>& ports, const Shape& shape,
                           const Params& params, const ScratchMemory& scratch, const Block& block, Ahead* ahead) {
  KernelCall call;
  call.ports = ports;
  call.params = params.data();
  call.origin = {block.row, block.x};
  call.whole = {WholePlanes(kernel, shape), shape.rows, shape.cols};
  call.scratch = scratch.get();
  call.ahead = ahead;
  return call;
}

inline Block WholeBlock(const Shape& shape) { return {0, shape.rows, 0, shape.cols}; }

inline Status RunReference(const KernelInfo& kernel, const Ports& ports, const Params& params) {
  const ScratchMemory scratch(kernel, ports.shape());
  return kernel.reference(
      MakeCall(kernel, ports.arrays(), ports.shape(), params, scratch, WholeBlock(ports.shape()), nullptr));
}

// Stream and local kernels: each list of blocks on its own thread with its own working memory.
inline Status RunBlocks(const KernelInfo& kernel, const Ports& ports, const Params& params,
                        const std::vector<std::vector<Block>>& lists) {
  std::vector<Status> statuses(lists.size());
  const auto body = [&](size_t t) {
    const ScratchMemory scratch(kernel, ports.shape());
    for (const Block& block : lists[t]) {
      const std::vector<Array> cut = Cut(kernel, ports.arrays(), block);
      Ahead ahead;
      const Status s = kernel.run(MakeCall(kernel, cut, ports.shape(), params, scratch, block, &ahead));
      if (statuses[t].ok()) statuses[t] = s;
    }
  };
  std::vector<std::thread> threads;
  for (size_t t = 1; t < lists.size(); t++) threads.emplace_back(body, t);
  body(0);
  for (std::thread& thread : threads) thread.join();
  for (const Status& s : statuses) {
    if (!s.ok()) return s;
  }
  return Ok();
}

// How often a global kernel may ask to gather again before it counts as lost: what native/core/chain.cc allows.
constexpr int kGatherRounds = 64;

// Global kernels, as the chain driver runs them: a state for each list of blocks, samples shown to all states, blocks
// gathered, states merged into the first in order, copies of it handed out when the kernel asks to gather again.
inline Status RunGlobal(const KernelInfo& kernel, const Ports& ports, const Params& params,
                        const std::vector<std::vector<Block>>& lists, int64_t samples = 8) {
  const Shape& shape = ports.shape();
  const GlobalFns& fns = kernel.global;
  const ScratchMemory scratch(kernel, shape);
  const Block none{0, 0, 0, shape.cols};
  const std::vector<Array> nothing = Cut(kernel, ports.arrays(), none);
  const KernelCall idle = MakeCall(kernel, nothing, shape, params, scratch, none, nullptr);
  const size_t bytes = fns.stateBytes(idle);
  std::vector<GuardedBuffer> states;
  for (size_t t = 0; t < lists.size(); t++) {
    states.emplace_back((bytes + 63) / 64 * 64, true);
    if (states[t].size() > 0) std::memset(states[t].data(), 0xA5, states[t].size());
    if (const Status s = fns.begin(idle, states[t].data()); !s.ok()) return s;
  }
  const int64_t sampled = std::min(samples, shape.rows);
  for (int64_t i = 0; i < sampled && fns.prepare != nullptr; i++) {
    const Block block{(2 * i + 1) * shape.rows / (2 * sampled), 1, 0, shape.cols};
    const std::vector<Array> cut = Cut(kernel, ports.arrays(), block);
    const KernelCall call = MakeCall(kernel, cut, shape, params, scratch, block, nullptr);
    for (GuardedBuffer& state : states) {
      if (const Status s = fns.prepare(call, state.data()); !s.ok()) return s;
    }
  }
  for (int round = 0; round < kGatherRounds; round++) {
    std::vector<Status> statuses(lists.size());
    const auto body = [&](size_t t) {
      const ScratchMemory own(kernel, shape);
      for (const Block& block : lists[t]) {
        const std::vector<Array> cut = Cut(kernel, ports.arrays(), block);
        Ahead ahead;
        const Status s = fns.gather(MakeCall(kernel, cut, shape, params, own, block, &ahead), states[t].data());
        if (statuses[t].ok()) statuses[t] = s;
      }
    };
    std::vector<std::thread> threads;
    for (size_t t = 1; t < lists.size(); t++) threads.emplace_back(body, t);
    body(0);
    for (std::thread& thread : threads) thread.join();
    for (const Status& s : statuses) {
      if (!s.ok()) return s;
    }
    for (size_t t = 1; t < states.size(); t++) {
      if (const Status s = fns.merge(idle, states[0].data(), states[t].data()); !s.ok()) return s;
    }
    bool again = false;
    if (const Status s = fns.finish(idle, states[0].data(), &again); !s.ok()) return s;
    if (!again) return Ok();
    for (size_t t = 1; t < states.size(); t++) std::memcpy(states[t].data(), states[0].data(), bytes);
  }
  return Fail(Code::kBug, "the statistic did not settle", -1, kGatherRounds, kGatherRounds);
}

inline Status RunKernel(const KernelInfo& kernel, const Ports& ports, const Params& params,
                        const std::vector<std::vector<Block>>& lists) {
  return kernel.kind == KernelClass::kGlobal ? RunGlobal(kernel, ports, params, lists)
                                             : RunBlocks(kernel, ports, params, lists);
}
inline Status RunKernel(const KernelInfo& kernel, const Ports& ports, const Params& params) {
  return RunKernel(kernel, ports, params, {{WholeBlock(ports.shape())}});
}

// --- Inputs ----------------------------------------------------------------------------------------------------------

enum class Pattern : uint8_t {
  kUniform,  // anywhere in the port's range
  kRamp,     // planes that rise with noise and now and then a jump: what detectors give
  kSteady,   // planes around one level with noise and outliers: what differences of reads give
  kQuiet,    // planes around one level with little noise, a jump in one pixel of ten: an ordinary exposure, for benches
  kConstant,  // one value in the whole port
  kLowest,    // the lower end of the range everywhere
  kHighest,   // the upper end everywhere: saturated
  kEnds,      // lower end, upper end, zero and tiny values, mixed
  kWild,      // finite and up to ten ranges outside the range, and zeros: storm
  kStorm,     // NaN, infinities, the largest and the smallest numbers: storm
};
inline const char* NameOf(Pattern pattern) {
  static const char* const kNames[] = {"uniform", "ramp",    "steady", "quiet", "constant",
                                       "lowest",  "highest", "ends",   "wild",  "storm"};
  return kNames[static_cast<size_t>(pattern)];
}
inline bool IsStorm(Pattern pattern) { return pattern == Pattern::kWild || pattern == Pattern::kStorm; }

inline double StormValue(const PortInfo& port, Random* random) {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  constexpr double kMax = std::numeric_limits<float>::max();
  const std::vector<double> hostile = {NAN, kInf, -kInf, 0.0, -0.0, kMax, -kMax, 1e30, -1e30, 1e-44, 1e-38, -1.0, 1.0};
  return random->Chance(0.5) ? random->Pick(hostile) : random->Between(port.min, port.max);
}

// Fills the inputs (in and in-out ports). A share nanFraction of the values of float ports that allow it are missing.
inline void FillInputs(const KernelInfo& kernel, const Ports& ports, Pattern pattern, double nanFraction,
                       Random* random) {
  for (size_t p = 0; p < kernel.ports.size(); p++) {
    const PortInfo& port = kernel.ports[p];
    if (!IsInput(port) || ports.open(p)) continue;
    const Array& a = ports.arrays()[p];
    const double span = port.max - port.min;
    const double level = random->Between(port.min, port.max);
    const double missing = port.nan && IsFloat(port.dtype) ? nanFraction : 0;
    for (int64_t row = 0; row < a.rows; row++) {
      for (int64_t x = 0; x < a.cols; x++) {
        const double start = random->Between(port.min, port.min + 0.2 * span);
        const double middle = random->Between(port.min + 0.2 * span, port.max - 0.2 * span);
        // A third of the pixels are faint, so that noise and not the slope decides.
        const double slope = (random->Chance(0.3) ? 0.001 : random->Uniform()) * span /
                             static_cast<double>(std::max<int64_t>(a.planes, 1));
        const double noise = span * (random->Chance(0.5) ? 1e-3 : 1e-2);
        const int64_t jumpAt = random->Chance(0.1) ? random->Below(std::max<int64_t>(a.planes, 1)) : a.planes;
        const double jump = random->Uniform() * 0.5 * span;
        for (int64_t k = 0; k < a.planes; k++) {
          double value = random->Between(port.min, port.max);
          const bool planes = port.axes[0] == Axis::kPlane;
          switch (pattern) {
            case Pattern::kUniform: break;
            case Pattern::kRamp:
              if (planes) {
                value = start + slope * static_cast<double>(k) + noise * random->Noise() + (k >= jumpAt ? jump : 0);
              }
              break;
            case Pattern::kSteady:
              if (planes && !random->Chance(0.03)) value = middle + noise * random->Noise();
              break;
            case Pattern::kQuiet:
              if (planes) value = middle + 1e-4 * span * random->Noise() + (k == jumpAt ? jump : 0);
              break;
            case Pattern::kConstant: value = level; break;
            case Pattern::kLowest: value = port.min; break;
            case Pattern::kHighest: value = port.max; break;
            case Pattern::kEnds: {
              const std::vector<double> ends = {port.min, port.max, 0.0, -0.0, 1e-30, port.min + 1e-6 * span};
              value = random->Pick(ends);
              break;
            }
            case Pattern::kWild:
              value = random->Chance(0.1) ? 0.0 : random->Between(port.min - 10 * span, port.max + 10 * span);
              break;
            case Pattern::kStorm: value = StormValue(port, random); break;
          }
          if (!IsStorm(pattern)) value = std::clamp(value, port.min, port.max);
          if (random->Chance(missing)) value = std::numeric_limits<double>::quiet_NaN();
          SetValue(a, k, row, x, value);
        }
      }
    }
  }
}

}  // namespace rampline::harness
