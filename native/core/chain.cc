#include "native/core/chain.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <thread>

#include "native/core/copy.h"
#include "native/core/memory.h"
#include "native/core/stream.h"

namespace rampline {
namespace {

constexpr int64_t kLine = 64;
// How often the global kernels may ask to gather again. Each round moves a counting window by at least one step, so a
// kernel that has not settled by then never will.
constexpr int kGatherRounds = 64;
constexpr int64_t kSampleRows = 8;

uint64_t Now() {
  return static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
          .count());
}

int64_t RoundUp(int64_t value, int64_t to) { return (value + to - 1) / to * to; }

// A plane's stride in elements: whole cache lines, an odd number of them, so that the planes of a block do not fall into
// the same cache sets.
int64_t PaddedStride(int64_t cols, size_t elementBytes) {
  const int64_t perLine = kLine / static_cast<int64_t>(elementBytes);
  int64_t lines = RoundUp(std::max<int64_t>(cols, 1), perLine) / perLine;
  if (lines % 2 == 0) lines++;
  return lines * perLine;
}

bool HasAxis(const PortInfo& port, Axis axis) {
  return port.axes[0] == axis || port.axes[1] == axis || port.axes[2] == axis;
}

struct AlignedDelete {
  std::align_val_t alignment;
  void operator()(std::byte* p) const { ::operator delete[](p, alignment); }
};
using AlignedBytes = std::unique_ptr<std::byte[], AlignedDelete>;
AlignedBytes Allocate(size_t bytes, size_t alignment = static_cast<size_t>(kLine)) {
  const std::align_val_t align{alignment};
  return AlignedBytes(static_cast<std::byte*>(::operator new[](bytes, align, std::nothrow)), {align});
}
// Huge pages, where the scratch is as large: a kernel may fill the second cache with it, and can only where what follows in
// memory follows in the cache.
AlignedBytes AllocateScratch(size_t bytes) {
  AlignedBytes scratch = Allocate(bytes, bytes < kHugePage ? static_cast<size_t>(kLine) : kHugePage);
  if (scratch != nullptr) AdviseHuge(scratch.get(), bytes);
  return scratch;
}

// What one thread owns.
struct Worker {
  std::unique_ptr<RowReader> reader;
  AlignedBytes sourceRow, blocks, scratch;
  std::vector<Array> arrays;              // block and source arrays have their memory here, bound ones are the caller's
  std::vector<std::vector<Array>> ports;  // for each step
  std::vector<KernelCall> calls;          // for each step
  std::vector<AlignedBytes> states;       // for each step, global kernels only
  std::vector<uint64_t> nanoseconds;      // for each loop, then decode, store, finish
  Ahead ahead;
  Status status;
  int failedStep = -1;
};

class Run {
 public:
  Run(const Chain& chain, const ChainControl& control) : chain_(chain), control_(control) {}

  ChainReport Execute();

 private:
  Status Prepare();
  int64_t CubeCols() const;
  Status PrepareWorker(Worker* worker);
  Status FirstPass();
  Status SecondPass();
  // Calls fn(worker, firstRow, lastRow) for groups of rows on all threads; the first error of the lowest row wins.
  Status Parallel(const std::function<Status(Worker&, int64_t, int64_t)>& fn);
  Status ReadRow(Worker& worker, int64_t row, int64_t cols);
  void PointSourceAt(Worker& worker, uint16_t* row, int64_t planeStride, int64_t cols);
  void PointSourceAtRow(Worker& worker, const Worker& decoded);
  void PointSourceAtCube(Worker& worker, int64_t row);
  void Cut(Worker& worker, int step, int64_t row, int64_t x, int64_t width, bool global);
  Status GatherRow(Worker& worker, int64_t row);
  Status RunBlocks(Worker& worker, int64_t row);
  void Mark(Worker& worker, size_t slot, uint64_t* since) const {
    const uint64_t now = Now();
    worker.nanoseconds[slot] += now - *since;
    *since = now;
  }
  bool Cancelled() const { return control_.cancel != nullptr && control_.cancel->load(std::memory_order_relaxed) != 0; }
  uint16_t* CubeRow(int64_t row) { return reinterpret_cast<uint16_t*>(cube_.data()) + row * reads_ * cubeStride_; }

  const Chain& chain_;
  const ChainControl& control_;
  ChainPlan plan_;
  std::vector<Worker> workers_;
  LargeBuffer cube_;
  bool keepCube_ = false;
  int64_t rows_ = 0;          // of the source, or of the region where there is none
  int64_t sourceStride_ = 0;  // elements from read to read of a decoded row
  int64_t sourceElements_ = 0;
  int64_t cubeCols_ = 0, cubeStride_ = 0;  // the cube keeps the chosen reads and what the region needs of their rows
  int64_t firstRead_ = 0, reads_ = 0;
  size_t decodeSlot_ = 0, storeSlot_ = 0, finishSlot_ = 0;
  size_t blockBytes_ = 0;
};

Status Run::Prepare() {
  if (Status s = PlanChain(chain_, &plan_); !s.ok()) return s;
  const ChainOptions& o = chain_.options;
  if (o.threads < 1 || o.strip < 1) return Fail(Code::kUsage, "threads and strip must be at least 1");
  rows_ = o.rows;
  if (chain_.source != nullptr) {
    rows_ = chain_.source->rows();
    firstRead_ = o.firstRead;
    reads_ = o.reads < 0 ? chain_.source->planes() - firstRead_ : o.reads;
    if (firstRead_ < 0 || reads_ < 1 || firstRead_ + reads_ > chain_.source->planes()) {
      return Fail(Code::kUsage, "the chosen reads are not all in the exposure", -1, chain_.source->planes(),
                  firstRead_ + reads_);
    }
    if (o.rows > rows_ || o.cols > chain_.source->cols()) {
      return Fail(Code::kUsage, "the region is larger than the reads");
    }
    sourceStride_ = PaddedStride(chain_.source->cols(), sizeof(uint16_t));
    sourceElements_ = chain_.source->planes() * sourceStride_;
    cubeCols_ = CubeCols();
    cubeStride_ = PaddedStride(cubeCols_, sizeof(uint16_t));
  }
  keepCube_ = chain_.source != nullptr && plan_.needsFirstPass && o.keepCube && o.rows > 0 && o.cols > 0;
  if (keepCube_) {
    cube_ = LargeBuffer::Take(static_cast<size_t>(reads_ * cubeStride_ * o.rows) * sizeof(uint16_t));
    if (cube_.data() == nullptr) return Fail(Code::kRetriable, "no memory for the cube of reads");
  }
  decodeSlot_ = plan_.loops.size();
  storeSlot_ = decodeSlot_ + 1;
  finishSlot_ = decodeSlot_ + 2;
  workers_.resize(static_cast<size_t>(o.threads));
  for (Worker& worker : workers_) {
    if (Status s = PrepareWorker(&worker); !s.ok()) return s;
  }
  return Ok();
}

// Blocks need the columns of the region, unless a step looks at an axis of the reads that is not cut into blocks.
int64_t Run::CubeCols() const {
  for (const ChainPlan::Loop& loop : plan_.loops) {
    for (const int step : loop.steps) {
      const ChainStep& s = chain_.steps[static_cast<size_t>(step)];
      for (size_t p = 0; p < s.arrays.size() && !loop.global; p++) {
        if (s.arrays[p] < 0 || s.kernel->ports[p].axes[2] == Axis::kX) continue;
        if (chain_.arrays[static_cast<size_t>(s.arrays[p])].kind == ChainArray::Kind::kSource) {
          return chain_.source->cols();
        }
      }
    }
  }
  return chain_.options.cols;
}

Status Run::PrepareWorker(Worker* worker) {
  const ChainOptions& o = chain_.options;
  worker->nanoseconds.assign(finishSlot_ + 1, 0);
  if (chain_.source != nullptr) {
    worker->reader = chain_.source->MakeReader();
    worker->sourceRow = Allocate(static_cast<size_t>(sourceElements_) * sizeof(uint16_t));
    if (worker->reader == nullptr || worker->sourceRow == nullptr) {
      return Fail(Code::kRetriable, "no memory for a row of reads");
    }
  }
  // Block arrays lie one behind the other in one piece of memory.
  size_t bytes = 0;
  std::vector<size_t> offsets(chain_.arrays.size(), 0);
  worker->arrays.resize(chain_.arrays.size());
  for (size_t i = 0; i < chain_.arrays.size(); i++) {
    Array& array = worker->arrays[i];
    array = chain_.arrays[i].whole;
    if (chain_.arrays[i].kind == ChainArray::Kind::kSource) {
      array.dtype = DType::kU16;
      array.planes = reads_;
      array.planeStride = sourceStride_;
      array.cols = chain_.source->cols();
    } else if (chain_.arrays[i].kind == ChainArray::Kind::kBlock) {
      if (array.cols == 0) array.cols = std::min(o.strip, std::max<int64_t>(o.cols, 1));
      array.rows = 1;
      array.planeStride = PaddedStride(array.cols, SizeOf(array.dtype));
      array.rowStride = array.planeStride;
      offsets[i] = bytes;
      bytes += static_cast<size_t>(array.planes * array.planeStride) * SizeOf(array.dtype);
      bytes = static_cast<size_t>(RoundUp(static_cast<int64_t>(bytes), kLine)) + kLine;
    }
  }
  worker->blocks = Allocate(bytes + kLine);
  size_t floats = 0;
  const auto width = static_cast<size_t>(std::min(o.strip, std::max<int64_t>(o.cols, 1)));
  const size_t calls = chain_.steps.size();
  worker->ports.resize(calls);
  worker->calls.resize(calls);
  worker->states.resize(calls);
  for (size_t i = 0; i < chain_.arrays.size(); i++) {
    if (chain_.arrays[i].kind == ChainArray::Kind::kBlock) worker->arrays[i].data = worker->blocks.get() + offsets[i];
  }
  for (size_t s = 0; s < calls; s++) {
    const ChainStep& step = chain_.steps[s];
    size_t planes = 1;
    for (size_t p = 0; p < step.kernel->ports.size(); p++) {
      if (step.arrays[p] >= 0 && HasAxis(step.kernel->ports[p], Axis::kPlane)) {
        planes = std::max(planes, static_cast<size_t>(worker->arrays[static_cast<size_t>(step.arrays[p])].planes));
      }
    }
    const ScratchNeed& need = step.kernel->scratch;
    floats = std::max(floats,
                      need.base + need.perPlane * planes + need.perPixel * width + need.perPlanePixel * planes * width);
    worker->ports[s].resize(step.kernel->ports.size());
    KernelCall& call = worker->calls[s];
    call.ports = worker->ports[s];
    call.params = step.params.data();
    call.whole = {static_cast<int64_t>(planes), rows_, chain_.source != nullptr ? chain_.source->cols() : o.cols};
    call.ahead = &worker->ahead;
  }
  worker->scratch = AllocateScratch((floats + 16) * sizeof(float));
  if (worker->blocks == nullptr || worker->scratch == nullptr) return Fail(Code::kRetriable, "no memory for a block");
  for (KernelCall& call : worker->calls) call.scratch = {reinterpret_cast<float*>(worker->scratch.get()), floats};
  blockBytes_ = bytes + floats * sizeof(float) + static_cast<size_t>(sourceElements_) * sizeof(uint16_t);
  return Ok();
}

Status Run::Parallel(const std::function<Status(Worker&, int64_t, int64_t)>& fn) {
  std::atomic<int64_t> next{0};
  std::atomic<bool> stop{false};
  const auto body = [&](Worker& worker) {
    while (!stop.load(std::memory_order_relaxed)) {
      const int64_t first = next.fetch_add(RowSource::kGroup);
      if (first >= rows_) break;
      const int64_t last = std::min(first + RowSource::kGroup, rows_);
      if (Cancelled()) worker.status = Fail(Code::kRetriable, "interrupted");
      if (worker.status.ok()) worker.status = fn(worker, first, last);
      if (!worker.status.ok()) {
        stop.store(true);
        break;
      }
      if (control_.progress != nullptr) control_.progress->fetch_add(static_cast<int32_t>(last - first));
    }
  };
  std::vector<std::thread> threads;
  for (size_t i = 1; i < workers_.size(); i++) threads.emplace_back(body, std::ref(workers_[i]));
  body(workers_[0]);
  for (std::thread& thread : threads) thread.join();
  for (const Worker& worker : workers_) {
    if (!worker.status.ok()) return worker.status;
  }
  return Ok();
}

Status Run::ReadRow(Worker& worker, int64_t row, int64_t cols) {
  uint64_t since = Now();
  const Status status =
      worker.reader->Read(row, cols, reinterpret_cast<uint16_t*>(worker.sourceRow.get()), sourceStride_);
  Mark(worker, decodeSlot_, &since);
  return status;
}

// Makes the source array of a worker show one row of the chosen reads.
void Run::PointSourceAt(Worker& worker, uint16_t* row, int64_t planeStride, int64_t cols) {
  for (size_t i = 0; i < chain_.arrays.size(); i++) {
    if (chain_.arrays[i].kind != ChainArray::Kind::kSource) continue;
    Array& array = worker.arrays[i];
    array.data = row;
    array.rows = 1;
    array.cols = cols;
    array.planeStride = planeStride;
    array.rowStride = reads_ * planeStride;
  }
}

void Run::PointSourceAtRow(Worker& worker, const Worker& decoded) {
  auto* row = reinterpret_cast<uint16_t*>(decoded.sourceRow.get());
  PointSourceAt(worker, row + firstRead_ * sourceStride_, sourceStride_, chain_.source->cols());
}

void Run::PointSourceAtCube(Worker& worker, int64_t row) {
  PointSourceAt(worker, CubeRow(row), cubeStride_, cubeCols_);
}

// Cuts the views of a step to one row and a strip. Global kernels see whole rows.
void Run::Cut(Worker& worker, int step, int64_t row, int64_t x, int64_t width, bool global) {
  const ChainStep& s = chain_.steps[static_cast<size_t>(step)];
  KernelCall& call = worker.calls[static_cast<size_t>(step)];
  call.origin = {row, global ? 0 : x};
  for (size_t p = 0; p < s.arrays.size(); p++) {
    Array& view = worker.ports[static_cast<size_t>(step)][p];
    if (s.arrays[p] < 0) {
      view = Array{};
      continue;
    }
    const auto index = static_cast<size_t>(s.arrays[p]);
    const ChainArray::Kind kind = chain_.arrays[index].kind;
    const PortInfo& port = s.kernel->ports[p];
    view = worker.arrays[index];
    int64_t offset = 0;
    // A global kernel's outputs are whole: they are written by finish, which no block belongs to.
    const bool cutRow = !global || port.direction == PortDirection::kIn;
    if (port.axes[1] == Axis::kRow && kind == ChainArray::Kind::kBound && cutRow) {
      offset += row * view.rowStride;
      view.rows = 1;
    }
    if (port.axes[2] == Axis::kX && !global) {
      if (kind != ChainArray::Kind::kBlock) offset += x;
      view.cols = width;
    }
    view.data = static_cast<std::byte*>(view.data) + offset * static_cast<int64_t>(SizeOf(view.dtype));
  }
}

Status Run::GatherRow(Worker& worker, int64_t row) {
  uint64_t since = Now();
  for (size_t l = 0; l < plan_.loops.size(); l++) {
    if (!plan_.loops[l].global) continue;
    const int step = plan_.loops[l].steps[0];
    Cut(worker, step, row, 0, 0, true);
    const auto s = static_cast<size_t>(step);
    const Status status = chain_.steps[s].kernel->global.gather(worker.calls[s], worker.states[s].get());
    if (!status.ok()) {
      worker.failedStep = step;
      return status;
    }
    Mark(worker, l, &since);
  }
  return Ok();
}

Status Run::FirstPass() {
  Worker& first = workers_[0];
  for (Worker& worker : workers_) {
    for (const ChainPlan::Loop& loop : plan_.loops) {
      if (!loop.global) continue;
      const auto s = static_cast<size_t>(loop.steps[0]);
      Cut(worker, loop.steps[0], 0, 0, 0, true);
      worker.states[s] = Allocate(chain_.steps[s].kernel->global.stateBytes(worker.calls[s]) + kLine);
      if (worker.states[s] == nullptr) return Fail(Code::kRetriable, "no memory for a statistic");
    }
  }
  // A few rows spread over the detector tell the kernels where to count; every worker sees the same ones.
  const bool sourced = chain_.source != nullptr;
  for (size_t w = 0; w < workers_.size(); w++) {
    Worker& worker = workers_[w];
    for (const ChainPlan::Loop& loop : plan_.loops) {
      if (!loop.global) continue;
      const auto s = static_cast<size_t>(loop.steps[0]);
      if (Status status = chain_.steps[s].kernel->global.begin(worker.calls[s], worker.states[s].get()); !status.ok()) {
        worker.failedStep = loop.steps[0];
        return status;
      }
    }
  }
  const int64_t samples = std::min(kSampleRows, rows_);
  for (int64_t i = 0; i < samples; i++) {
    const int64_t row = (2 * i + 1) * rows_ / (2 * samples);
    if (sourced) {
      if (Status s = ReadRow(first, row, chain_.source->cols()); !s.ok()) return s;
    }
    for (Worker& worker : workers_) {
      if (sourced) PointSourceAtRow(worker, first);
      for (const ChainPlan::Loop& loop : plan_.loops) {
        if (!loop.global) continue;
        const auto s = static_cast<size_t>(loop.steps[0]);
        const GlobalFns& fns = chain_.steps[s].kernel->global;
        Cut(worker, loop.steps[0], row, 0, 0, true);
        if (fns.prepare == nullptr) continue;
        if (Status status = fns.prepare(worker.calls[s], worker.states[s].get()); !status.ok()) {
          worker.failedStep = loop.steps[0];
          return status;
        }
      }
    }
  }
  for (int round = 0; round < kGatherRounds; round++) {
    // The cube has not all columns that a statistic may look at, so the rare second round decodes again.
    const bool store = keepCube_ && round == 0;
    const Status gathered = Parallel([&](Worker& worker, int64_t from, int64_t to) -> Status {
      for (int64_t row = from; row < to; row++) {
        if (sourced) {
          if (Status s = ReadRow(worker, row, chain_.source->cols()); !s.ok()) return s;
          PointSourceAtRow(worker, worker);
        }
        if (Status s = GatherRow(worker, row); !s.ok()) return s;
        if (store && row < chain_.options.rows) {
          uint64_t since = Now();
          constexpr size_t kElement = sizeof(uint16_t);
          const auto bytes = static_cast<size_t>(RoundUp(cubeCols_ * static_cast<int64_t>(kElement), kLine));
          StreamCopy(worker.sourceRow.get() + static_cast<size_t>(firstRead_ * sourceStride_) * kElement,
                     static_cast<size_t>(sourceStride_) * kElement, reinterpret_cast<std::byte*>(CubeRow(row)),
                     static_cast<size_t>(cubeStride_) * kElement, bytes, static_cast<size_t>(reads_));
          Mark(worker, storeSlot_, &since);
        }
      }
      return Ok();
    });
    if (!gathered.ok()) return gathered;
    bool again = false;
    uint64_t since = Now();
    for (const ChainPlan::Loop& loop : plan_.loops) {
      if (!loop.global) continue;
      const auto s = static_cast<size_t>(loop.steps[0]);
      const GlobalFns& fns = chain_.steps[s].kernel->global;
      Cut(first, loop.steps[0], 0, 0, 0, true);
      Status status;
      for (size_t w = 1; w < workers_.size() && status.ok(); w++) {
        status = fns.merge(first.calls[s], first.states[s].get(), workers_[w].states[s].get());
      }
      bool more = false;
      if (status.ok()) status = fns.finish(first.calls[s], first.states[s].get(), &more);
      if (!status.ok()) {
        first.failedStep = loop.steps[0];
        return status;
      }
      if (more) {
        // The merged state carries where to count next; every thread starts from a copy of it, emptied by begin's twin.
        const size_t bytes = fns.stateBytes(first.calls[s]);
        for (size_t w = 1; w < workers_.size(); w++)
          std::memcpy(workers_[w].states[s].get(), first.states[s].get(), bytes);
      }
      again = again || more;
    }
    Mark(first, finishSlot_, &since);
    if (!again) return Ok();
  }
  return Fail(Code::kAlgorithm, "a statistic did not settle");
}

Status Run::RunBlocks(Worker& worker, int64_t row) {
  const ChainOptions& o = chain_.options;
  uint64_t since = Now();
  for (int64_t x = 0; x < o.cols; x += o.strip) {
    const int64_t width = std::min(o.strip, o.cols - x);
    for (size_t l = 0; l < plan_.loops.size(); l++) {
      const ChainPlan::Loop& loop = plan_.loops[l];
      if (loop.global) continue;
      for (const int step : loop.steps) Cut(worker, step, row, x, width, false);
      const auto head = static_cast<size_t>(loop.steps.front());
      Status status;
      if (loop.steps.size() == 1) {
        status = chain_.steps[head].kernel->run(worker.calls[head]);
      } else {
        status = FusedRuns()[static_cast<size_t>(loop.fused)].run({&worker.calls[head], loop.steps.size()});
      }
      if (!status.ok()) {
        worker.failedStep = loop.steps.front();
        return status;
      }
      Mark(worker, l, &since);
    }
  }
  return Ok();
}

Status Run::SecondPass() {
  const bool any = std::any_of(plan_.loops.begin(), plan_.loops.end(), [](const auto& loop) { return !loop.global; });
  if (!any || chain_.options.cols == 0) return Ok();
  const int64_t regionRows = chain_.options.rows;
  // The first pass has seen every row to its end; what lies beyond the region is then not decoded again.
  const int64_t cols = chain_.source == nullptr ? 0 : plan_.needsFirstPass ? cubeCols_ : chain_.source->cols();
  return Parallel([&](Worker& worker, int64_t from, int64_t to) -> Status {
    for (int64_t row = from; row < std::min(to, regionRows); row++) {
      worker.ahead = {};
      if (keepCube_) {
        PointSourceAtCube(worker, row);
        if (row + 1 < std::min(to, regionRows)) {
          worker.ahead = {reinterpret_cast<const char*>(CubeRow(row + 1)),
                          reinterpret_cast<const char*>(CubeRow(row + 2))};
        }
      } else if (chain_.source != nullptr) {
        if (Status s = ReadRow(worker, row, cols); !s.ok()) return s;
        PointSourceAtRow(worker, worker);
      }
      if (Status s = RunBlocks(worker, row); !s.ok()) return s;
    }
    return Ok();
  });
}

ChainReport Run::Execute() {
  ChainReport report;
  report.status = Prepare();
  if (report.status.ok() && plan_.needsFirstPass) report.status = FirstPass();
  if (report.status.ok()) report.status = SecondPass();
  for (const Worker& worker : workers_) {
    if (worker.failedStep >= 0 && report.failedStep < 0) report.failedStep = worker.failedStep;
  }
  if (!report.status.ok()) return report;
  report.cubeBytes = keepCube_ ? cube_.bytes() : 0;
  report.blockBytes = blockBytes_;
  if (chain_.source != nullptr) report.dataSums = chain_.source->DataSums();
  const auto sum = [&](size_t slot) {
    uint64_t total = 0;
    for (const Worker& worker : workers_) total += worker.nanoseconds[slot];
    return static_cast<double>(total) * 1e-9;
  };
  if (chain_.source != nullptr) {
    report.timings.push_back({"decode", sum(decodeSlot_)});
    if (keepCube_) report.timings.push_back({"store cube", sum(storeSlot_)});
  }
  for (size_t l = 0; l < plan_.loops.size(); l++) {
    std::string name;
    for (const int step : plan_.loops[l].steps) {
      if (!name.empty()) name += '+';
      name += chain_.steps[static_cast<size_t>(step)].kernel->name;
    }
    report.timings.push_back({name, sum(l)});
  }
  if (plan_.needsFirstPass) report.timings.push_back({"finish statistics", sum(finishSlot_)});
  return report;
}

bool UsedAfter(const Chain& chain, size_t step, int array) {
  for (size_t s = step; s < chain.steps.size(); s++) {
    for (const int used : chain.steps[s].arrays) {
      if (used == array) return true;
    }
  }
  return false;
}

// Steps from `begin` that can run as one loop: stream kernels of which each reads what the one before wrote, into block
// memory that nobody reads later. Returns the longest such run that the build has compiled, 1 if there is none.
size_t FusedLength(const Chain& chain, size_t begin, int* fused) {
  size_t longest = 1;
  std::string key = chain.steps[begin].kernel->name;
  for (size_t s = begin + 1; s < chain.steps.size(); s++) {
    const ChainStep& before = chain.steps[s - 1];
    const ChainStep& step = chain.steps[s];
    if (before.kernel->kind != KernelClass::kStream || step.kernel->kind != KernelClass::kStream) break;
    const int link = before.arrays[static_cast<size_t>(before.kernel->streamOut)];
    if (link != step.arrays[static_cast<size_t>(step.kernel->streamIn)]) break;
    if (chain.arrays[static_cast<size_t>(link)].kind != ChainArray::Kind::kBlock) break;
    key += '+';
    key += step.kernel->name;
    for (size_t i = 0; i < FusedRuns().size(); i++) {
      if (key != FusedRuns()[i].key) continue;
      bool needed = false;
      for (size_t t = begin; t < s && !needed; t++) {
        const int interior = chain.steps[t].arrays[static_cast<size_t>(chain.steps[t].kernel->streamOut)];
        const int last = step.arrays[static_cast<size_t>(step.kernel->streamOut)];
        needed = interior != last && UsedAfter(chain, s + 1, interior);
      }
      if (needed) continue;
      longest = s - begin + 1;
      *fused = static_cast<int>(i);
    }
  }
  return longest;
}

}  // namespace

Status PlanChain(const Chain& chain, ChainPlan* plan) {
  *plan = {};
  for (size_t s = 0; s < chain.steps.size(); s++) {
    const ChainStep& step = chain.steps[s];
    if (step.kernel == nullptr) return Fail(Code::kUsage, "a step names no kernel");
    if (step.arrays.size() != step.kernel->ports.size()) return Fail(Code::kBug, "a step must bind every port");
    if (step.params.size() != step.kernel->paramsBytes) return Fail(Code::kBug, "parameters of the wrong size");
    for (size_t p = 0; p < step.arrays.size(); p++) {
      const PortInfo& port = step.kernel->ports[p];
      if (step.arrays[p] < 0) {
        if (!port.optional)
          return Fail(Code::kUsage, "a port that is not optional is left open", -1, 0, static_cast<int64_t>(s));
        continue;
      }
      if (static_cast<size_t>(step.arrays[p]) >= chain.arrays.size()) return Fail(Code::kBug, "no such array");
      const ChainArray& array = chain.arrays[static_cast<size_t>(step.arrays[p])];
      const DType dtype = array.kind == ChainArray::Kind::kSource ? DType::kU16 : array.whole.dtype;
      if (dtype != port.dtype)
        return Fail(Code::kUsage, "an array has not the type of its port", -1, 0, static_cast<int64_t>(s));
      if (array.kind == ChainArray::Kind::kSource && chain.source == nullptr)
        return Fail(Code::kUsage, "the chain has no source");
      if (array.kind == ChainArray::Kind::kSource && port.direction != PortDirection::kIn)
        return Fail(Code::kUsage, "the reads are read-only");
      if (array.kind == ChainArray::Kind::kBound) {
        // Whole arrays must cover what will be cut from them.
        const Array& whole = array.whole;
        const bool global = step.kernel->kind == KernelClass::kGlobal;
        const int64_t rows = chain.source != nullptr && global ? chain.source->rows() : chain.options.rows;
        if (port.axes[1] == Axis::kRow && whole.rows < rows)
          return Fail(Code::kUsage, "an array has fewer rows than the region", -1, rows, whole.rows);
        if (port.axes[2] == Axis::kX && !global && whole.cols < chain.options.cols)
          return Fail(Code::kUsage, "an array has fewer columns than the region", -1, chain.options.cols, whole.cols);
        if (whole.data == nullptr && rows > 0 && whole.cols > 0 && whole.planes > 0)
          return Fail(Code::kUsage, "an array has no memory");
      }
      for (int axis = 0; axis < 3; axis++) {
        const int64_t extent = axis == 0 ? array.whole.planes : axis == 1 ? array.whole.rows : array.whole.cols;
        if (array.kind == ChainArray::Kind::kBound && port.axes[axis] == Axis::kOther && extent != port.sizes[axis]) {
          return Fail(Code::kUsage, "an array's axis has not the size that its port needs", -1, port.sizes[axis],
                      extent);
        }
      }
      if (step.kernel->kind == KernelClass::kGlobal && port.direction == PortDirection::kIn &&
          array.kind == ChainArray::Kind::kBlock) {
        return Fail(Code::kUsage, "a global kernel reads the reads or whole arrays, not a block", -1, 0,
                    static_cast<int64_t>(s));
      }
    }
  }
  for (size_t s = 0; s < chain.steps.size();) {
    ChainPlan::Loop loop;
    size_t length = 1;
    if (chain.steps[s].kernel->kind == KernelClass::kGlobal) {
      loop.global = true;
      plan->needsFirstPass = true;
    } else if (chain.options.fuse && chain.steps[s].kernel->kind == KernelClass::kStream) {
      length = FusedLength(chain, s, &loop.fused);
    }
    for (size_t i = 0; i < length; i++) loop.steps.push_back(static_cast<int>(s + i));
    plan->loops.push_back(std::move(loop));
    s += length;
  }
  return Ok();
}

ChainReport RunChain(const Chain& chain, const ChainControl& control) { return Run(chain, control).Execute(); }

}  // namespace rampline
