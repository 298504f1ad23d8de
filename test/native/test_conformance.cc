// Conformance of every registered kernel, with no code for any of them: what is tested follows from kernel.json.
//
//   reference  SIMD against the scalar reference within "tolerance" of the kernel, or of the port where it has one
//              (integers and missing-ness exactly), on every CPU
//              target of the machine, for widths around 0, 1 and one, two and four vectors, 1 to 47 planes, no row and
//              several, strides larger than the width, both orders of planes and rows in memory, every port's memory
//              flush against a guard page at its end or its start; inputs from the ports' ranges (uniform, ramps,
//              constant, at either end), with 0, 1, 50 and 100 % missing where "nan" allows it; parameters at their
//              defaults, ends, every choice, and anywhere between.
//   storm      NaN, infinities and values outside every range: no crash, no byte outside the outputs, nothing
//              non-finite in an output without "nan" where the kernel's own "dq" output is 0.
//   blocks     the same bytes whole, in row blocks and strips in any order, on 1 to 4 threads, in place for stream
//              kernels; for global kernels states gathered in any order and merged give what one state gives.
//   fused      compiled runs of stream kernels give the bytes of the kernels one by one.
//
// What a kernel may declare under "conformance" in kernel.json (native/codegen/generate.mjs checks it):
//   "decisionPixels"  the share of pixels, at most 0.001, that may differ from the reference because rounding flips a
//                     decision (a value at a threshold). Default 0. It is counted over all cases of the kernel, so
//                     a wrong tail of a row, which is wrong in every case, cannot hide in it.
//   "decisionPorts"   the outputs that may differ in such a pixel. Default all.
//   "minPlanes"       the fewest planes for which the kernel is defined, default 1; "maxPlanes" the most, default 47.
//   "minRows"         the fewest rows, default 0 (an empty array is a valid input).
//   "cols"            the widths for which the kernel is defined, where its geometry is fixed. Default any.
//   "strips"          false for a local kernel that needs whole rows: it is then cut into row blocks only.
//
// One kernel alone: rampline_native_tests -tc='conformance: *: NAME'
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <string>
#include <utility>

#include "test/native/conformance.h"

namespace rampline::conformance {
namespace {

std::string Joined(const std::vector<std::string>& list, const char* separator) {
  std::string text;
  for (const std::string& s : list) text += (text.empty() ? "" : separator) + s;
  return text;
}

// What was running when a guard page was hit; doctest's own message names only the test case.
char g_running[512];
void Remember(const std::string& what) { std::snprintf(g_running, sizeof g_running, "\nrunning: %s\n", what.c_str()); }
void OnSegv(int) {
  [[maybe_unused]] const ssize_t n = write(STDERR_FILENO, g_running, std::strlen(g_running));
  std::signal(SIGSEGV, SIG_DFL);
  std::raise(SIGSEGV);
}

void Expect(const char* check, const KernelInfo& kernel, const Report& report, size_t targets) {
  std::printf("%s: %s: %lld cases, %lld runs on %zu targets", check, kernel.name, static_cast<long long>(report.cases),
              static_cast<long long>(report.runs), targets);
  if (report.refused > 0) std::printf(", %lld refused", static_cast<long long>(report.refused));
  if (report.decisionPixels > 0) {
    std::printf(", %lld of %lld pixels differ by a decision", static_cast<long long>(report.decisionPixels),
                static_cast<long long>(report.pixels));
  }
  std::printf("\n");
  std::fflush(stdout);
  CHECK(report.cases > 0);
  CHECK_MESSAGE(report.failures.empty(), kernel.name, "\n  ", Joined(report.failures, "\n  "));
}

using Check = Report (*)(const KernelInfo&, const std::vector<std::string>&, const Trace&);
struct NamedCheck {
  const char* name;
  Check check;
};
constexpr NamedCheck kChecks[] = {{"reference", CheckReference}, {"storm", CheckStorm}, {"blocks", CheckBlocks}};

// doctest runs functions without arguments, so each pair of check and kernel has its own, made by the compiler.
constexpr size_t kMostKernels = 128;
template <size_t kCheck, size_t kKernel>
void RunCheck() {
  const KernelInfo& kernel = *Registry()[kKernel];
  const std::vector<std::string> targets = AvailableTargets();
  const auto before = std::signal(SIGSEGV, OnSegv);
  Expect(kChecks[kCheck].name, kernel, kChecks[kCheck].check(kernel, targets, Remember), targets.size());
  std::signal(SIGSEGV, before);
}

template <size_t kCheck, size_t kKernel>
void Register() {
  if (kKernel >= Registry().size()) return;
  static const std::string name =
      std::string("conformance: ") + kChecks[kCheck].name + ": " + Registry()[kKernel]->name;
  const doctest::detail::TestCase test(RunCheck<kCheck, kKernel>, __FILE__, __LINE__, doctest::detail::TestSuite());
  doctest::detail::regTest(doctest::detail::TestCase(test) * name.c_str());
}
template <size_t... kKernels>
bool RegisterAll(std::index_sequence<kKernels...>) {
  (Register<0, kKernels>(), ...);
  (Register<1, kKernels>(), ...);
  (Register<2, kKernels>(), ...);
  return true;
}
[[maybe_unused]] const bool g_registered = RegisterAll(std::make_index_sequence<kMostKernels>());

TEST_CASE("every registered kernel has its conformance tests") { REQUIRE(Registry().size() <= kMostKernels); }

TEST_CASE("conformance: fused") {
  const std::vector<std::string> targets = AvailableTargets();
  for (const FusedRun& fused : FusedRuns()) {
    SUBCASE(fused.key) {
      std::vector<const KernelInfo*> kernels;
      std::string key = fused.key;
      for (size_t from = 0; from <= key.size();) {
        const size_t to = std::min(key.find('+', from), key.size());
        kernels.push_back(FindKernel(key.substr(from, to - from).c_str()));
        REQUIRE(kernels.back() != nullptr);
        from = to + 1;
      }
      const Report report = CheckFused(fused, kernels, targets, Remember);
      CHECK(report.cases > 0);
      CHECK_MESSAGE(report.failures.empty(), fused.key, "\n  ", Joined(report.failures, "\n  "));
    }
  }
}

// --- Can the suite fail? A kernel that is wrong on purpose, in one way at a time --------------------------------------

namespace toy {

enum class Wrong {
  kNothing,
  kCoefficient,  // off by one part in a thousand
  kLastColumn,   // the tail of a row is wrong when the width is odd
  kUnwritten,    // one value is never written
  kOutside,      // writes one value past the row
  kReadsPast,    // reads one value past the row
  kReadsBefore,  // reads one value before the row
  kInput,        // changes its input
  kOrigin,       // the result depends on where the block lies
  kShared,       // keeps state between calls: depends on blocks and threads
  kInfinite,     // divides by zero
  kScratch,      // relies on working memory being zero
  kDq,           // lets a NaN through and says good
  kRefuses,      // refuses what the reference accepts
};

struct Params {
  float a = 2.0f, b = 1.0f;
};
enum Port { kX, kY, kDqOut };
std::atomic<int> g_calls{0};

template <Wrong kWrong>
Status Run(const KernelCall& call) {
  const auto in = call.ports[kX].view<float>();
  const auto out = call.ports[kY].view<float>();
  const auto dq = call.ports[kDqOut].view<uint32_t>();
  const Params& params = *static_cast<const Params*>(call.params);
  if (kWrong == Wrong::kRefuses && in.cols == 17) return Fail(Code::kAlgorithm, "no");
  [[maybe_unused]] const int call_number = g_calls.fetch_add(1);
  for (int64_t row = 0; row < in.rows; row++) {
    for (int64_t x = 0; x < in.cols; x++) dq.at(0, row)[x] = 0;
    for (int64_t k = 0; k < in.planes; k++) {
      const float* p = in.at(k, row);
      float* q = out.at(k, row);
      for (int64_t x = 0; x < in.cols; x++) {
        if (kWrong == Wrong::kUnwritten && x == 5) continue;
        float y = params.a * p[x] + params.b;
        if (kWrong == Wrong::kCoefficient) y *= 1.001f;
        if (kWrong == Wrong::kLastColumn && x == in.cols - 1 && in.cols % 4 == 3) y += 1;
        if (kWrong == Wrong::kOrigin && call.origin.x > 0) y += 1;
        if (kWrong == Wrong::kShared && call_number % 7 == 3) y += 1;
        if (kWrong == Wrong::kInfinite && p[x] == 0) y = 1 / p[x];
        if (kWrong == Wrong::kScratch) y += call.scratch.data[0];
        if (!(std::fabs(y) <= 1e30f) && kWrong != Wrong::kDq && kWrong != Wrong::kInfinite) {
          dq.at(0, row)[x] = 1;
          y = 0;
        }
        q[x] = y;
      }
      if (kWrong == Wrong::kOutside && in.cols > 0) q[in.cols] = 0;
      if (kWrong == Wrong::kReadsPast && in.cols > 0) q[0] += 0 * *static_cast<const volatile float*>(p + in.cols);
      if (kWrong == Wrong::kReadsBefore && in.cols > 0) q[0] += 0 * *static_cast<const volatile float*>(p - 1);
      if (kWrong == Wrong::kInput && in.cols > 0) in.at(k, row)[0] += 1;
    }
  }
  return Ok();
}

constexpr PortInfo kPorts[] = {
    {"x",
     PortDirection::kIn,
     DType::kF32,
     {Axis::kPlane, Axis::kRow, Axis::kX},
     {0, 0, 0},
     0,
     "",
     false,
     false,
     -10,
     10},
    {"y", PortDirection::kOut, DType::kF32, {Axis::kPlane, Axis::kRow, Axis::kX}, {0, 0, 0}, 0, "", false, false, 0, 0},
    {"dq", PortDirection::kOut, DType::kU32, {Axis::kNone, Axis::kRow, Axis::kX}, {1, 0, 0}, 0, "", false, false, 0, 0},
};
constexpr ParamInfo kParams[] = {
    {"a", ParamInfo::Type::kFloat, -3, 3, 2, offsetof(Params, a), false},
    {"b", ParamInfo::Type::kFloat, -3, 3, 1, offsetof(Params, b), false},
};

KernelInfo Info(RunFn run) {
  KernelInfo info{};
  info.name = "toy";
  info.kind = KernelClass::kLocal;
  info.ports = kPorts;
  info.params = kParams;
  info.paramsBytes = sizeof(Params);
  info.toleranceRelative = 1e-6;
  info.toleranceAbsolute = 1e-5;
  info.scratch.base = 4;
  info.run = run;
  info.reference = Run<Wrong::kNothing>;
  return info;
}

// A statistic: the sum of a counted plane, gathered in integers.
constexpr PortInfo kSumPorts[] = {
    {"counts",
     PortDirection::kIn,
     DType::kU16,
     {Axis::kPlane, Axis::kRow, Axis::kX},
     {0, 0, 0},
     0,
     "",
     false,
     false,
     0,
     60000},
    {"sum",
     PortDirection::kOut,
     DType::kI64,
     {Axis::kNone, Axis::kNone, Axis::kOther},
     {1, 1, 1},
     0,
     "",
     false,
     false,
     0,
     0},
};

enum class WrongSum { kNothing, kMerge, kFloat, kNever };
struct SumState {
  int64_t sum = 0;
  float floatSum = 0;
};
size_t SumBytes(const KernelCall&) { return sizeof(SumState); }
Status SumBegin(const KernelCall&, void* state) {
  *static_cast<SumState*>(state) = {};
  return Ok();
}
Status SumGather(const KernelCall& call, void* state) {
  const auto in = call.ports[0].view<const uint16_t>();
  for (int64_t k = 0; k < in.planes; k++) {
    for (int64_t row = 0; row < in.rows; row++) {
      for (int64_t x = 0; x < in.cols; x++) {
        static_cast<SumState*>(state)->sum += in.at(k, row)[x];
        static_cast<SumState*>(state)->floatSum += in.at(k, row)[x] * 0.1f;
      }
    }
  }
  return Ok();
}
template <WrongSum kWrong>
Status SumMerge(const KernelCall&, void* into, const void* from) {
  if (kWrong == WrongSum::kMerge) return Ok();
  static_cast<SumState*>(into)->sum += static_cast<const SumState*>(from)->sum;
  static_cast<SumState*>(into)->floatSum += static_cast<const SumState*>(from)->floatSum;
  return Ok();
}
template <WrongSum kWrong>
Status SumFinish(const KernelCall& call, void* state, bool* again) {
  *again = kWrong == WrongSum::kNever;
  const auto* s = static_cast<const SumState*>(state);
  call.ports[1].view<int64_t>().at(0, 0)[0] =
      kWrong == WrongSum::kFloat ? static_cast<int64_t>(s->floatSum * 1000) : s->sum;
  return Ok();
}
Status SumReference(const KernelCall& call) {
  SumState state;
  bool again = false;
  if (const Status s = SumGather(call, &state); !s.ok()) return s;
  return SumFinish<WrongSum::kNothing>(call, &state, &again);
}
template <WrongSum kWrong>
KernelInfo SumInfo() {
  KernelInfo info{};
  info.name = "sum";
  info.kind = KernelClass::kGlobal;
  info.ports = kSumPorts;
  info.reference = SumReference;
  info.global = {SumBytes, SumBegin, nullptr, SumGather, SumMerge<kWrong>, SumFinish<kWrong>};
  return info;
}

}  // namespace toy

// One target is enough: the toys do not use any.
std::vector<std::string> BestTarget() { return {AvailableTargets().front()}; }

// Runs a check in a child process; true when a guard page (or a sanitizer) ended it.
template <class Check>
bool Dies(Check check) {
  const pid_t child = fork();
  if (child == 0) {
    for (const int signal : {SIGSEGV, SIGBUS, SIGABRT}) std::signal(signal, SIG_DFL);
    std::freopen("/dev/null", "w", stderr);
    check();
    _exit(0);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

using toy::Wrong;
using toy::WrongSum;
bool Says(const Report& report, const char* what) {
  return std::any_of(report.failures.begin(), report.failures.end(),
                     [&](const std::string& s) { return s.find(what) != std::string::npos; });
}
template <Wrong kWrong>
Report Reference() {
  return CheckReference(toy::Info(toy::Run<kWrong>), BestTarget());
}
template <Wrong kWrong>
Report Blocks() {
  return CheckBlocks(toy::Info(toy::Run<kWrong>), BestTarget());
}

TEST_CASE("the conformance suite passes a right kernel and catches each kind of wrong one") {
  CHECK(Joined(Reference<Wrong::kNothing>().failures, "\n") == "");
  CHECK(Joined(Blocks<Wrong::kNothing>().failures, "\n") == "");
  CHECK(Joined(CheckStorm(toy::Info(toy::Run<Wrong::kNothing>), BestTarget()).failures, "\n") == "");
  CHECK(Says(Reference<Wrong::kCoefficient>(), "the reference has"));
  CHECK(Says(Reference<Wrong::kLastColumn>(), "the reference has"));
  CHECK(Says(Reference<Wrong::kUnwritten>(), "the reference has"));
  CHECK(Says(Reference<Wrong::kInput>(), "was changed"));
  CHECK(Says(Reference<Wrong::kInfinite>(), "not finite"));
  CHECK(Says(Reference<Wrong::kScratch>(), "the reference has"));
  CHECK(Says(Reference<Wrong::kRefuses>(), "status 4"));
  CHECK(Says(Blocks<Wrong::kOrigin>(), "other bytes"));
  CHECK(Says(Blocks<Wrong::kShared>(), "other bytes"));
  CHECK(Says(CheckStorm(toy::Info(toy::Run<Wrong::kDq>), BestTarget()), "where dq says good"));
  // A few wrong pixels do not pass as decisions when they are wrong at every odd width.
  KernelInfo lenient = toy::Info(toy::Run<Wrong::kLastColumn>);
  lenient.conformance.decisionPixels = 1e-3;
  CHECK(Says(CheckReference(lenient, BestTarget()), "more than decisionPixels allows"));
  lenient.conformance.decisionPorts = 0;
  CHECK(Says(CheckReference(lenient, BestTarget()), "the reference has"));
}

TEST_CASE("the guard pages and the padding catch accesses outside the views") {
  CHECK_FALSE(Dies([] { (void)Reference<Wrong::kNothing>(); }));
  CHECK(Dies([] { (void)Reference<Wrong::kOutside>(); }));
  CHECK(Dies([] { (void)Reference<Wrong::kReadsPast>(); }));
  CHECK(Dies([] { (void)Reference<Wrong::kReadsBefore>(); }));
  // Between the rows there is no guard page; what was written there shows.
  const KernelInfo outside = toy::Info(toy::Run<Wrong::kOutside>);
  Case c;
  c.shape = {2, 3, 9};
  c.params = DefaultParams(outside);
  c.layout = {false, 4, false};
  const Ports inputs = MakeInputs(outside, c);
  const Ports run = inputs.Fresh(kFillRun);
  CHECK(RunKernel(outside, run, c.params).ok());
  Report report;
  CheckMemory(outside, inputs, run, "here", &report);
  CHECK(Says(report, "bytes between the rows of y were written"));
}

TEST_CASE("global kernels: a right statistic passes, wrong merges and endless rounds are caught") {
  const std::vector<std::string> target = BestTarget();
  CHECK(Joined(CheckReference(toy::SumInfo<WrongSum::kNothing>(), target).failures, "\n") == "");
  CHECK(Joined(CheckBlocks(toy::SumInfo<WrongSum::kNothing>(), target).failures, "\n") == "");
  CHECK(Says(CheckBlocks(toy::SumInfo<WrongSum::kMerge>(), target), "other bytes"));
  CHECK(Says(CheckBlocks(toy::SumInfo<WrongSum::kFloat>(), target), "other bytes"));
  CHECK(Says(CheckReference(toy::SumInfo<WrongSum::kNever>(), target), "did not settle"));
}

}  // namespace
}  // namespace rampline::conformance
