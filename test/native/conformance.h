// The checks that every kernel must pass, as functions that return what went wrong, so that the suite can also be turned
// on kernels that are wrong on purpose.
#pragma once

#include <cmath>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "native/core/cpu.h"
#include "native/core/stream.h"
#include "test/native/harness.h"

namespace rampline::conformance {

using namespace rampline::harness;  // NOLINT: the suite is written in the harness's words

struct Report {
  std::vector<std::string> failures;
  int64_t cases = 0, runs = 0, refused = 0;
  int64_t pixels = 0, decisionPixels = 0;  // compared, and differing where the kernel declares that some may

  // The first failures tell the story; thousands would hide it.
  void Fail(const std::string& text) {
    if (failures.size() < 8) failures.push_back(text);
  }
};

struct Case {
  Shape shape;
  Pattern pattern = Pattern::kUniform;
  double missing = 0;
  Params params;
  bool defaults = false;  // parameters at their defaults: the kernel must not refuse
  Layout layout;
  bool openOptional = false;
  uint64_t seed = 0;

  std::string Describe() const {
    char text[256];
    std::snprintf(text, sizeof text, "%lld x %lld x %lld, %s, %g missing, %s parameters, %s, padding %lld, flush %s%s",
                  static_cast<long long>(shape.planes), static_cast<long long>(shape.rows),
                  static_cast<long long>(shape.cols), NameOf(pattern), missing, defaults ? "default" : "varied",
                  layout.rowInterleaved ? "[row][plane][x]" : "[plane][row][x]", static_cast<long long>(layout.padding),
                  layout.atEnd ? "end" : "start", openOptional ? ", optional ports open" : "");
    return text;
  }
};

// Called before each run of a kernel with the text that names it, so that a crash can be told where it happened.
using Trace = std::function<void(const std::string&)>;
inline void NoTrace(const std::string&) {}

inline std::vector<bool> OpenPorts(const KernelInfo& kernel, bool open) {
  std::vector<bool> list;
  for (const PortInfo& port : kernel.ports) list.push_back(open && port.optional);
  return list;
}

inline Ports MakeInputs(const KernelInfo& kernel, const Case& c) {
  Ports ports(kernel, c.shape, c.layout, OpenPorts(kernel, c.openOptional), kFillReference);
  Random random(c.seed);
  FillInputs(kernel, ports, c.pattern, c.missing, &random);
  return ports;
}

inline std::string At(const KernelInfo& kernel, size_t port, int64_t plane, int64_t row, int64_t x) {
  return std::string(kernel.ports[port].name) + "[" + std::to_string(plane) + "," + std::to_string(row) + "," +
         std::to_string(x) + "]";
}
inline std::string Number(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.9g", value);
  return text;
}

inline bool Agree(const KernelInfo& kernel, const PortInfo& port, double reference, double value) {
  if (!IsFloat(port.dtype)) return reference == value;
  if (std::isnan(reference) || std::isnan(value)) return std::isnan(reference) && std::isnan(value);
  if (reference == value) return true;  // infinities too
  const double absolute = port.toleranceAbsolute >= 0 ? port.toleranceAbsolute : kernel.toleranceAbsolute;
  const double relative = port.toleranceRelative >= 0 ? port.toleranceRelative : kernel.toleranceRelative;
  return std::fabs(value - reference) <= absolute + relative * std::fabs(reference);
}

// Compares the outputs of two runs; returns the number of pixels (row, x) that differ anywhere, and describes the first.
// `beyond` describes the first in a port where no decision may differ.
inline int64_t CompareOutputs(const KernelInfo& kernel, const Ports& reference, const Ports& value, std::string* first,
                              std::string* beyond) {
  std::vector<char> differs(
      static_cast<size_t>(std::max<int64_t>(reference.shape().rows, 1) * std::max<int64_t>(reference.shape().cols, 1)));
  int64_t elsewhere = 0;
  for (size_t p = 0; p < kernel.ports.size(); p++) {
    const PortInfo& port = kernel.ports[p];
    if (!IsOutput(port) || reference.open(p)) continue;
    const Array& a = reference.arrays()[p];
    const Array& b = value.arrays()[p];
    for (int64_t k = 0; k < a.planes; k++) {
      for (int64_t row = 0; row < a.rows; row++) {
        for (int64_t x = 0; x < a.cols; x++) {
          const double expected = GetValue(a, k, row, x), received = GetValue(b, k, row, x);
          if (Agree(kernel, port, expected, received)) continue;
          const bool decides =
              kernel.conformance.decisionPixels > 0 && (kernel.conformance.decisionPorts >> p & 1) != 0;
          std::string* text = decides ? first : beyond;
          if (text->empty()) {
            *text = At(kernel, p, k, row, x) + " is " + Number(received) + ", the reference has " + Number(expected);
          }
          if (port.axes[1] == Axis::kRow && port.axes[2] == Axis::kX) {
            differs[static_cast<size_t>(row * reference.shape().cols + x)] = 1;
          } else {
            elsewhere++;
          }
        }
      }
    }
  }
  return elsewhere + std::count(differs.begin(), differs.end(), 1);
}

// The inputs still hold what they held, and nothing outside the views was written.
inline void CheckMemory(const KernelInfo& kernel, const Ports& before, const Ports& after, const std::string& where,
                        Report* report) {
  for (size_t p = 0; p < kernel.ports.size(); p++) {
    if (after.open(p)) continue;
    const bool input = kernel.ports[p].direction == PortDirection::kIn;
    if (input && !after.memory(p).SameBytes(before.arrays()[p])) {
      report->Fail(where + ": the input " + kernel.ports[p].name + " was changed");
    }
    if (!after.memory(p).PaddingKept()) {
      report->Fail(where + ": bytes between the rows of " + kernel.ports[p].name + " were written");
    }
  }
}

inline const PortInfo* FindDq(const KernelInfo& kernel, size_t* index) {
  for (size_t p = 0; p < kernel.ports.size(); p++) {
    const PortInfo& port = kernel.ports[p];
    if (IsOutput(port) && port.dtype == DType::kU32 && std::strcmp(port.name, "dq") == 0) {
      *index = p;
      return &port;
    }
  }
  return nullptr;
}

// Inputs in range: nothing non-finite in ports that do not declare it, and NaN only in those that do. Storms: the same
// wherever the kernel's own dq says good, and no infinity out of finite inputs in any case.
inline void CheckFinite(const KernelInfo& kernel, const Ports& after, Pattern pattern, const std::string& where,
                        Report* report) {
  size_t dqPort = 0;
  const PortInfo* dq = FindDq(kernel, &dqPort);
  const bool usable = dq != nullptr && dq->axes[1] == Axis::kRow && dq->axes[2] == Axis::kX && !after.open(dqPort);
  for (size_t p = 0; p < kernel.ports.size(); p++) {
    const PortInfo& port = kernel.ports[p];
    if (!IsOutput(port) || !IsFloat(port.dtype) || after.open(p)) continue;
    const Array& a = after.arrays()[p];
    const bool perPixel = port.axes[1] == Axis::kRow && port.axes[2] == Axis::kX;
    for (int64_t k = 0; k < a.planes; k++) {
      for (int64_t row = 0; row < a.rows; row++) {
        for (int64_t x = 0; x < a.cols; x++) {
          const double value = GetValue(a, k, row, x);
          if (std::isfinite(value)) continue;
          const char* wrong = nullptr;
          if (port.nan) {
            if (std::isinf(value) && pattern != Pattern::kStorm) wrong = "infinite although every input was finite";
          } else if (!IsStorm(pattern)) {
            wrong = "not finite although the inputs were in range";
          } else if (usable && perPixel && GetValue(after.arrays()[dqPort], 0, row, x) == 0) {
            wrong = "not finite where dq says good";
          }
          if (wrong != nullptr) report->Fail(where + ": " + At(kernel, p, k, row, x) + " is " + wrong);
          if (wrong != nullptr) return;
        }
      }
    }
  }
}

inline bool CheckStatus(const Case& c, const Status& expected, const Status& received, const std::string& where,
                        Report* report) {
  if (expected.code != received.code) {
    report->Fail(where + ": status " + std::to_string(static_cast<int>(received.code)) + " \"" + received.message +
                 "\", the reference has " + std::to_string(static_cast<int>(expected.code)) + " \"" + expected.message +
                 "\"");
    return false;
  }
  if (!expected.ok() && c.defaults) {
    report->Fail(where + ": refused with default parameters: " + expected.message);
  }
  return expected.ok();
}

// --- The cases -------------------------------------------------------------------------------------------------------

inline std::vector<int64_t> PlanesOf(const KernelInfo& kernel) {
  if (!UsesAxis(kernel, Axis::kPlane)) return {1};
  const int64_t low = kernel.conformance.minPlanes, high = kernel.conformance.maxPlanes;
  std::vector<int64_t> list = {low};
  for (const int64_t planes : {1, 2, 3, 5, 47}) {
    if (planes > low && planes <= high) list.push_back(planes);
  }
  if (list.back() != high && high < 47) list.push_back(high);
  return list;
}
inline std::vector<int64_t> RowsOf(const KernelInfo& kernel) {
  if (!UsesAxis(kernel, Axis::kRow)) return {1};
  const int64_t low = kernel.conformance.minRows;
  return low > 0 ? std::vector<int64_t>{low, low + 1, low + 3} : std::vector<int64_t>{0, 1, 2, 3, 5};
}
// 0, 1, and around one, two and four vectors of 4, 8 and 16 lanes.
inline std::vector<int64_t> ColsOf(const KernelInfo& kernel) {
  if (!kernel.conformance.cols.empty()) return {kernel.conformance.cols.begin(), kernel.conformance.cols.end()};
  if (!UsesAxis(kernel, Axis::kX)) return {1};
  return {0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 23, 31, 32, 33, 47, 48, 49, 63, 64, 65, 97};
}

class CaseMaker {
 public:
  explicit CaseMaker(const KernelInfo& kernel) : kernel_(kernel), random_(0x52616d70) {}

  void Add(const Shape& shape, Pattern pattern, double missing, const Params& params, bool defaults, bool atEnd) {
    if (!Possible(kernel_, shape)) return;
    Case c;
    c.shape = shape;
    c.pattern = pattern;
    c.missing = missing;
    c.params = params;
    c.defaults = defaults;
    c.layout = {random_.Chance(0.5), random_.Chance(0.5) ? 0 : 1 + random_.Below(20), atEnd};
    c.openOptional = random_.Chance(0.25);
    c.seed = random_.Next();
    list_.push_back(std::move(c));
  }
  // Shapes that may not be cheap are thinned so that a kernel takes a second or two, whatever its geometry.
  std::vector<Case> Take(int64_t budget) {
    for (size_t i = list_.size(); i > 1; i--) {
      std::swap(list_[i - 1], list_[static_cast<size_t>(random_.Below(static_cast<int64_t>(i)))]);
    }
    std::vector<Case> taken;
    int64_t spent = 0;
    for (Case& c : list_) {
      if (spent > budget && taken.size() >= 24) break;
      for (const PortInfo& port : kernel_.ports) {
        const Shape extent = ExtentOf(port, c.shape);
        spent += extent.planes * extent.rows * extent.cols;
      }
      taken.push_back(std::move(c));
    }
    return taken;
  }
  Random& random() { return random_; }

 private:
  const KernelInfo& kernel_;
  Random random_;
  std::vector<Case> list_;
};

constexpr Pattern kInRange[] = {Pattern::kUniform, Pattern::kRamp,    Pattern::kSteady, Pattern::kConstant,
                                Pattern::kLowest,  Pattern::kHighest, Pattern::kEnds};
// Elements of all ports together that one kernel may spend on one target.
constexpr int64_t kBudget = 6000000;

inline std::vector<Case> AccuracyCases(const KernelInfo& kernel) {
  CaseMaker maker(kernel);
  Random& random = maker.random();
  const Params defaults = DefaultParams(kernel);
  const std::vector<Pattern> patterns(std::begin(kInRange), std::end(kInRange));
  const std::vector<double> missing = {0, 0.01, 0.5, 1};
  const std::vector<int64_t> planes = PlanesOf(kernel), rows = RowsOf(kernel), cols = ColsOf(kernel);
  // Every width with every number of planes, flush against either guard page.
  for (const int64_t p : planes) {
    for (const int64_t x : cols) {
      for (const bool atEnd : {true, false}) {
        const bool plain = random.Chance(0.6);
        maker.Add({p, random.Pick(rows), x}, random.Pick(patterns), random.Pick(missing),
                  plain ? defaults : RandomParams(kernel, &random), plain, atEnd);
      }
    }
  }
  // Every number of rows with every number of planes.
  for (const int64_t p : planes) {
    for (const int64_t r : rows) {
      for (const bool atEnd : {true, false}) {
        maker.Add({p, r, random.Pick(cols)}, random.Pick(patterns), random.Pick(missing), defaults, true, atEnd);
      }
    }
  }
  // Every pattern with every share of missing values; default parameters and two draws of the others.
  const int64_t wide = kernel.conformance.cols.empty() ? 37 : kernel.conformance.cols[0];
  const int64_t low = rows.size() > 2 ? rows[2] : rows[0];
  for (const Pattern pattern : patterns) {
    for (const double m : missing) {
      maker.Add({random.Pick(planes), low, wide}, pattern, m, defaults, true, random.Chance(0.5));
      for (int i = 0; i < 2; i++) {
        maker.Add({random.Pick(planes), low, wide}, pattern, m, RandomParams(kernel, &random), false, true);
      }
    }
  }
  // Each parameter at its ends, or at each of its values when they are few, alone; and all at once.
  const auto vary = [&](const Params& params) {
    for (const Pattern pattern : {Pattern::kUniform, Pattern::kRamp, Pattern::kSteady}) {
      maker.Add({random.Pick(planes), low, wide}, pattern, random.Pick(missing), params, false, random.Chance(0.5));
    }
  };
  Params lowest = defaults, highest = defaults;
  for (const ParamInfo& info : kernel.params) {
    SetParam(info, &lowest, SmallestAllowed(info));
    SetParam(info, &highest, info.max);
    std::vector<double> values = {SmallestAllowed(info), info.max};
    if (info.type != ParamInfo::Type::kFloat && info.max - info.min <= 8) {
      values.clear();
      for (double v = info.min; v <= info.max; v++) values.push_back(v);
    }
    for (const double value : values) {
      Params one = defaults;
      SetParam(info, &one, value);
      vary(one);
    }
  }
  if (!kernel.params.empty()) vary(lowest);
  if (!kernel.params.empty()) vary(highest);
  // A few larger ones, whose pixels the share of decision pixels is counted on.
  if (kernel.conformance.cols.empty() && UsesAxis(kernel, Axis::kX)) {
    for (const Pattern pattern : {Pattern::kUniform, Pattern::kRamp, Pattern::kSteady}) {
      for (const int64_t p : {planes.back(), random.Pick(planes)}) {
        maker.Add({p, std::max<int64_t>(rows.back(), 1), 509}, pattern, 0.01, defaults, true, true);
      }
    }
  }
  return maker.Take(kBudget);
}

inline std::vector<Case> StormCases(const KernelInfo& kernel) {
  CaseMaker maker(kernel);
  Random& random = maker.random();
  const std::vector<int64_t> planes = PlanesOf(kernel), rows = RowsOf(kernel), cols = ColsOf(kernel);
  for (int i = 0; i < 120; i++) {
    const bool plain = random.Chance(0.5);
    maker.Add({random.Pick(planes), random.Pick(rows), random.Pick(cols)},
              random.Chance(0.5) ? Pattern::kStorm : Pattern::kWild, random.Chance(0.5) ? 0 : 0.3,
              plain ? DefaultParams(kernel) : RandomParams(kernel, &random), false, random.Chance(0.5));
  }
  return maker.Take(kBudget / 3);
}

// --- The checks ------------------------------------------------------------------------------------------------------

// SIMD against the scalar reference on every target, on memory between guard pages.
inline Report CheckReference(const KernelInfo& kernel, const std::vector<std::string>& targets,
                             const Trace& trace = NoTrace) {
  Report report;
  std::string first;
  for (const Case& c : AccuracyCases(kernel)) {
    const Ports inputs = MakeInputs(kernel, c);
    const Ports reference = inputs.Fresh(kFillReference);
    trace(std::string(kernel.name) + " reference: " + c.Describe());
    const Status expected = RunReference(kernel, reference, c.params);
    report.cases++;
    if (!expected.ok()) report.refused++;
    const std::string own = std::string("reference: ") + c.Describe();
    CheckMemory(kernel, inputs, reference, own, &report);
    if (expected.ok()) CheckFinite(kernel, reference, c.pattern, own, &report);
    for (const std::string& target : targets) {
      const std::string where = target + ": " + c.Describe();
      trace(std::string(kernel.name) + " " + where);
      if (!LimitTarget(target)) report.Fail(target + " cannot be chosen");
      const Ports run = inputs.Fresh(kFillRun);
      const Status status = RunKernel(kernel, run, c.params);
      report.runs++;
      CheckMemory(kernel, inputs, run, where, &report);
      if (!CheckStatus(c, expected, status, where, &report)) continue;
      CheckFinite(kernel, run, c.pattern, where, &report);
      std::string text, beyond;
      const int64_t differing = CompareOutputs(kernel, reference, run, &text, &beyond);
      report.pixels += c.shape.rows * c.shape.cols;
      report.decisionPixels += differing;
      if (differing > 0 && first.empty()) first = where + ": " + text;
      if (!beyond.empty()) report.Fail(where + ": " + beyond);
    }
  }
  LimitTarget("");
  const double allowed = kernel.conformance.decisionPixels * static_cast<double>(report.pixels);
  if (kernel.conformance.decisionPixels > 0 && static_cast<double>(report.decisionPixels) > allowed) {
    report.Fail(std::to_string(report.decisionPixels) + " of " + std::to_string(report.pixels) +
                " pixels differ, more than decisionPixels allows; the first: " + first);
  }
  if (report.refused * 2 > report.cases) report.Fail("more than half of the cases were refused");
  return report;
}

// Inputs that make no sense: no crash, nothing outside the views touched, nothing non-finite where dq says good.
inline Report CheckStorm(const KernelInfo& kernel, const std::vector<std::string>& targets,
                         const Trace& trace = NoTrace) {
  Report report;
  for (const Case& c : StormCases(kernel)) {
    const Ports inputs = MakeInputs(kernel, c);
    report.cases++;
    for (const std::string& target : targets) {
      const std::string where = target + ": " + c.Describe();
      trace(std::string(kernel.name) + " " + where);
      if (!LimitTarget(target)) report.Fail(target + " cannot be chosen");
      const Ports run = inputs.Fresh(kFillRun);
      const Status status = RunKernel(kernel, run, c.params);
      report.runs++;
      CheckMemory(kernel, inputs, run, where, &report);
      if (status.code == Code::kBug) report.Fail(where + ": " + status.message);
      if (status.ok()) CheckFinite(kernel, run, c.pattern, where, &report);
    }
  }
  LimitTarget("");
  return report;
}

inline std::vector<std::vector<Block>> RandomBlocks(const KernelInfo& kernel, const Shape& shape, Random* random) {
  const bool strips = kernel.kind != KernelClass::kGlobal && kernel.conformance.strips &&
                      kernel.conformance.cols.empty() && UsesAxis(kernel, Axis::kX);
  std::vector<Block> blocks;
  const int64_t tallest = random->Chance(0.3) ? 1 : 1 + random->Below(std::max<int64_t>(shape.rows, 1));
  for (int64_t row = 0; row < shape.rows;) {
    const int64_t rows = std::min(shape.rows - row, tallest);
    for (int64_t x = 0; x < shape.cols;) {
      const int64_t cols = strips ? std::min(shape.cols - x, 1 + random->Below(40)) : shape.cols;
      blocks.push_back({row, rows, x, cols});
      x += cols;
    }
    row += rows;
  }
  for (size_t i = blocks.size(); i > 1; i--) {
    std::swap(blocks[i - 1], blocks[static_cast<size_t>(random->Below(static_cast<int64_t>(i)))]);
  }
  std::vector<std::vector<Block>> lists(static_cast<size_t>(1 + random->Below(4)));
  for (const Block& block : blocks)
    lists[static_cast<size_t>(random->Below(static_cast<int64_t>(lists.size())))].push_back(block);
  return lists;
}

inline void CheckSameBytes(const KernelInfo& kernel, const Ports& whole, const Ports& other, const std::string& where,
                           Report* report) {
  for (size_t p = 0; p < kernel.ports.size(); p++) {
    if (!IsOutput(kernel.ports[p]) || whole.open(p) || whole.memory(p).SameBytes(other.arrays()[p])) continue;
    report->Fail(where + ": " + kernel.ports[p].name + " has other bytes than in one piece");
  }
}

// The same bytes whole, cut into row blocks and strips in any order, on 1 to 4 threads, in another layout of memory.
// Global kernels: states gathered in any order and merged in a fixed one give what one state gives.
inline Report CheckBlocks(const KernelInfo& kernel, const std::vector<std::string>& targets,
                          const Trace& trace = NoTrace) {
  Report report;
  CaseMaker maker(kernel);
  Random& random = maker.random();
  const std::vector<Pattern> patterns = {Pattern::kUniform, Pattern::kRamp, Pattern::kSteady, Pattern::kEnds};
  const std::vector<int64_t> planes = PlanesOf(kernel);
  const bool anyWidth = kernel.conformance.cols.empty() && UsesAxis(kernel, Axis::kX);
  const std::vector<int64_t> cols = anyWidth ? std::vector<int64_t>{1, 17, 40, 97, 150} : ColsOf(kernel);
  const int64_t low = std::max(kernel.conformance.minRows, 1);
  for (int i = 0; i < 36; i++) {
    const bool plain = random.Chance(0.5);
    const int64_t rows = UsesAxis(kernel, Axis::kRow) ? low + random.Below(9) : 1;
    maker.Add({random.Pick(planes), rows, random.Pick(cols)}, random.Pick(patterns), random.Chance(0.5) ? 0 : 0.05,
              plain ? DefaultParams(kernel) : RandomParams(kernel, &random), plain, true);
  }
  for (const Case& c : maker.Take(kBudget / 2)) {
    const Ports inputs = MakeInputs(kernel, c);
    report.cases++;
    for (const std::string& target : targets) {
      const std::string where = target + ": " + c.Describe();
      trace(std::string(kernel.name) + " blocks, " + where);
      if (!LimitTarget(target)) report.Fail(target + " cannot be chosen");
      const Ports whole = inputs.Fresh(kFillRun);
      const Status expected = RunKernel(kernel, whole, c.params);
      for (int cutting = 0; cutting < 3; cutting++) {
        Layout layout = c.layout;
        layout.rowInterleaved = cutting == 1 ? !layout.rowInterleaved : layout.rowInterleaved;
        layout.padding = random.Below(24);
        const Ports cut = inputs.Fresh(kFillRun, layout);
        const auto lists = RandomBlocks(kernel, c.shape, &random);
        const Status status = RunKernel(kernel, cut, c.params, lists);
        report.runs++;
        CheckMemory(kernel, inputs, cut, where, &report);
        if (!CheckStatus(c, expected, status, where + " in blocks", &report)) continue;
        CheckSameBytes(kernel, whole, cut, where + " in blocks on " + std::to_string(lists.size()) + " threads",
                       &report);
      }
      // Stream kernels may be bound with one array as input and output.
      if (kernel.kind == KernelClass::kStream && expected.ok()) {
        const auto in = static_cast<size_t>(kernel.streamIn), out = static_cast<size_t>(kernel.streamOut);
        if (kernel.ports[in].dtype == kernel.ports[out].dtype) {
          Ports same = inputs.Fresh(kFillRun);
          const int64_t outPlanes = same.arrays()[out].planes;
          same.arrays()[out] = same.arrays()[in];
          same.arrays()[out].planes = outPlanes;
          if (!RunKernel(kernel, same, c.params).ok()) report.Fail(where + ": in place it is refused");
          if (!whole.memory(out).SameBytes(same.arrays()[out])) report.Fail(where + ": in place it gives other bytes");
          report.runs++;
        }
      }
    }
  }
  LimitTarget("");
  return report;
}

// A compiled run of stream kernels gives the bytes that the kernels give one by one.
inline Report CheckFused(const FusedRun& fused, const std::vector<const KernelInfo*>& kernels,
                         const std::vector<std::string>& targets, const Trace& trace = NoTrace) {
  Report report;
  Random random(0x66757365);
  int64_t dropped = 0;
  for (const KernelInfo* kernel : kernels) dropped += kernel->planesDropped;
  for (const int64_t planes : {1, 2, 3, 5, 47}) {
    for (const int64_t cols : {0, 1, 4, 7, 15, 16, 17, 33, 64, 97}) {
      if (planes <= dropped) continue;
      report.cases++;
      const Layout layout{random.Chance(0.5), random.Below(20), random.Chance(0.5)};
      const int64_t rows = 1 + random.Below(3);
      const std::vector<Pattern> patterns = {Pattern::kUniform, Pattern::kRamp, Pattern::kSteady, Pattern::kEnds};
      const Pattern pattern = random.Pick(patterns);
      // Ports for each kernel; each one's stream input is the array that the one before writes.
      std::vector<Ports> separate, joined;
      std::vector<Params> params;
      std::vector<std::unique_ptr<ScratchMemory>> scratch;
      Shape shape{planes, rows, cols};
      for (const KernelInfo* kernel : kernels) {
        Ports inputs(*kernel, shape, layout, OpenPorts(*kernel, random.Chance(0.2)), kFillRun);
        FillInputs(*kernel, inputs, pattern, random.Chance(0.5) ? 0.0 : 0.05, &random);
        separate.push_back(inputs.Fresh(kFillRun));
        joined.push_back(inputs.Fresh(kFillRun));
        params.push_back(random.Chance(0.5) ? DefaultParams(*kernel) : RandomParams(*kernel, &random));
        scratch.push_back(std::make_unique<ScratchMemory>(*kernel, shape));
        shape.planes -= kernel->planesDropped;
      }
      for (const std::string& target : targets) {
        if (!LimitTarget(target)) report.Fail(target + " cannot be chosen");
        const std::string where = target + ": " + fused.key + ", " + std::to_string(planes) + " x " +
                                  std::to_string(rows) + " x " + std::to_string(cols) + " " + NameOf(pattern);
        trace(where);
        std::vector<KernelCall> calls;
        for (std::vector<Ports>* list : {&separate, &joined}) {
          calls.clear();
          for (size_t i = 0; i < kernels.size(); i++) {
            if (i > 0) {
              const auto from = static_cast<size_t>(kernels[i - 1]->streamOut);
              const auto to = static_cast<size_t>(kernels[i]->streamIn);
              (*list)[i].arrays()[to] = (*list)[i - 1].arrays()[from];
            }
            calls.push_back(MakeCall(*kernels[i], (*list)[i].arrays(), (*list)[i].shape(), params[i], *scratch[i],
                                     WholeBlock((*list)[i].shape()), nullptr));
          }
          Status status;
          if (list == &joined) {
            status = fused.run(calls);
          } else {
            for (size_t i = 0; i < kernels.size() && status.ok(); i++) status = kernels[i]->run(calls[i]);
          }
          if (!status.ok()) report.Fail(where + ": " + status.message);
          report.runs++;
        }
        for (size_t i = 0; i < kernels.size(); i++) {
          for (size_t p = 0; p < kernels[i]->ports.size(); p++) {
            const bool interior = i + 1 < kernels.size() && p == static_cast<size_t>(kernels[i]->streamOut);
            if (!IsOutput(kernels[i]->ports[p]) || separate[i].open(p) || interior) continue;
            if (!separate[i].memory(p).SameBytes(joined[i].arrays()[p])) {
              report.Fail(where + ": " + kernels[i]->name + "." + kernels[i]->ports[p].name +
                          " has other bytes than kernel by kernel");
            }
          }
        }
      }
    }
  }
  LimitTarget("");
  return report;
}

}  // namespace rampline::conformance
