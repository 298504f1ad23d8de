// Drives every kernel of the registry from bytes: which kernel, which CPU target, shape, layout, parameters (pulled into
// their ranges, because JavaScript checks them before native code sees them), and inputs, which may be anything. All
// memory lies between guard pages. What must hold: no crash, no byte outside the outputs, inputs untouched, and nothing
// non-finite where the kernel's own dq says good.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "test/native/conformance.h"

namespace {

using namespace rampline;               // NOLINT
using namespace rampline::conformance;  // NOLINT

// Takes values off the front of the input; zeros when it has run out.
class Bytes {
 public:
  Bytes(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  template <class T>
  T Take() {
    T value{};
    const size_t n = size_ < sizeof(T) ? size_ : sizeof(T);
    if (n > 0) std::memcpy(&value, data_, n);
    data_ += n;
    size_ -= n;
    return value;
  }
  int64_t Below(int64_t n) { return Take<uint16_t>() % n; }
  bool empty() const { return size_ == 0; }

 private:
  const uint8_t* data_;
  size_t size_;
};

Params TakeParams(const KernelInfo& kernel, Bytes* bytes) {
  Params params = DefaultParams(kernel);
  for (const ParamInfo& info : kernel.params) {
    double value = info.fallback;
    if (info.type == ParamInfo::Type::kFloat) {
      value = bytes->Take<float>();
      if (!(value >= info.min)) value = info.min;  // NaN too
      if (value > info.max) value = info.max;
      // The smallest float that the check in src/engine/params.ts lets pass.
      if (info.exclusiveMin && static_cast<float>(value) <= static_cast<float>(info.min)) {
        value = std::nextafter(static_cast<float>(info.min), std::numeric_limits<float>::infinity());
      }
    } else {
      const int64_t choices = static_cast<int64_t>(info.max) - static_cast<int64_t>(info.min) + 1;
      value = info.min + static_cast<double>(bytes->Take<uint32_t>() % choices);
    }
    SetParam(info, &params, value);
  }
  return params;
}

// Each element takes its own bytes while there are some; after that the port's bytes repeat, so that a short input fills
// a large array with something other than zeros.
void TakeInputs(const KernelInfo& kernel, const Ports& ports, Bytes* bytes) {
  for (size_t p = 0; p < kernel.ports.size(); p++) {
    const PortInfo& port = kernel.ports[p];
    if (!IsInput(port) || ports.open(p)) continue;
    const Array& a = ports.arrays()[p];
    Random random(bytes->Take<uint32_t>());
    const auto mode = bytes->Take<uint8_t>() % 4;
    for (int64_t k = 0; k < a.planes; k++) {
      for (int64_t row = 0; row < a.rows; row++) {
        for (int64_t x = 0; x < a.cols; x++) {
          double value;
          if (mode == 0 && !bytes->empty()) {
            value = IsFloat(port.dtype) ? bytes->Take<float>() : bytes->Take<int32_t>();
          } else if (mode == 1) {
            value = StormValue(port, &random);
          } else if (mode == 2 && !bytes->empty()) {
            value = port.min + (port.max - port.min) * bytes->Take<uint16_t>() / 65535.0;
          } else {
            value = random.Between(port.min, port.max);
          }
          SetValue(a, k, row, x, value);
        }
      }
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (Registry().empty()) return 0;
  static const std::vector<std::string> targets = AvailableTargets();
  Bytes bytes(data, size);
  const KernelInfo& kernel = *Registry()[static_cast<size_t>(bytes.Below(static_cast<int64_t>(Registry().size())))];
  LimitTarget(targets[static_cast<size_t>(bytes.Below(static_cast<int64_t>(targets.size())))]);
  const ConformanceInfo& limits = kernel.conformance;
  Case c;
  c.shape.planes = UsesAxis(kernel, Axis::kPlane)
                       ? limits.minPlanes + bytes.Below(std::clamp(limits.maxPlanes - limits.minPlanes, 0, 63) + 1)
                       : 1;
  c.shape.rows = UsesAxis(kernel, Axis::kRow) ? limits.minRows + bytes.Below(4) : 1;
  if (!limits.cols.empty()) {
    c.shape.cols = limits.cols[static_cast<size_t>(bytes.Below(static_cast<int64_t>(limits.cols.size())))];
  } else if (UsesAxis(kernel, Axis::kX)) {
    c.shape.cols = bytes.Below(70);
  }
  const auto flags = bytes.Take<uint8_t>();
  c.layout = {(flags & 1) != 0, (flags & 2) != 0 ? 5 : 0, (flags & 4) != 0};
  c.openOptional = (flags & 8) != 0;
  c.pattern = Pattern::kStorm;
  if (!Possible(kernel, c.shape)) return 0;
  c.params = TakeParams(kernel, &bytes);
  const Ports inputs(kernel, c.shape, c.layout, OpenPorts(kernel, c.openOptional), kFillReference);
  TakeInputs(kernel, inputs, &bytes);
  const Ports run = inputs.Fresh(kFillRun);
  const Status status = RunKernel(kernel, run, c.params);
  Report report;
  CheckMemory(kernel, inputs, run, kernel.name, &report);
  if (status.ok()) CheckFinite(kernel, run, c.pattern, kernel.name, &report);
  if (status.code == Code::kBug) report.Fail(status.message);
  if (!report.failures.empty()) {
    std::fprintf(stderr, "%s: %s\n", c.Describe().c_str(), report.failures.front().c_str());
    std::abort();
  }
  return 0;
}
