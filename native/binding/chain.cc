// runChain(spec) -> Promise<report>. The work runs off the JavaScript thread; the spec object is held until it ends, and
// with it every typed array whose memory the kernels use. Nothing is copied.
//
//   spec = { arrays: [{name, data, planes, rows, cols, planeStride?, rowStride?}            bound
//                     {name, block: dtype, planes, cols}                                    working memory, cols 0: a strip
//                     {name, source: true}],                                                the reads
//            steps:  [{kernel, arrays: [index or -1 for each port], params: [number for each parameter]}],
//            source?: {array: {data, planes, rows, cols, ...}} | {ramp: handle of a ramp file},
//            options: {threads, strip, keepCube, fuse, firstRead, reads, rows, cols},
//            control?: Int32Array [cancel, progress] }
//   report = { status, failedStep, timings: [{name, seconds}], cubeBytes, blockBytes, dataSums }
#include "native/core/chain.h"

#include <napi.h>

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "native/binding/convert.h"
#include "native/binding/registrars.h"
#include "native/binding/source.h"
#include "native/core/memory.h"

namespace rampline::binding {
namespace {

// A chain with everything that it points into.
struct OwnedChain {
  Chain chain;
  std::shared_ptr<RowSource> source;
  ChainControl control;
};

bool Flag(const Napi::Object& object, const char* key, bool fallback) {
  const Napi::Value value = object.Get(key);
  return value.IsBoolean() ? value.As<Napi::Boolean>().Value() : fallback;
}

Status ReadChainArray(const Napi::Object& object, ChainArray* array) {
  array->name = object.Get("name").ToString().Utf8Value();
  if (Flag(object, "source", false)) {
    array->kind = ChainArray::Kind::kSource;
    return Ok();
  }
  const Napi::Value block = object.Get("block");
  if (block.IsString()) {
    const auto dtype = DTypeNamed(block.As<Napi::String>().Utf8Value());
    if (!dtype) return Fail(Code::kUsage, "a block array has an unknown type");
    array->kind = ChainArray::Kind::kBlock;
    array->whole.dtype = *dtype;
    array->whole.planes = Int(object, "planes", 1);
    array->whole.cols = Int(object, "cols", 0);
    // A block lives in the cache; more than this is a mistake, not a block.
    constexpr int64_t kMaxElements = int64_t{1} << 28;
    if (array->whole.planes < 0 || array->whole.cols < 0 || array->whole.planes > kMaxElements ||
        array->whole.cols > kMaxElements ||
        array->whole.planes * std::max<int64_t>(array->whole.cols, 1) > kMaxElements) {
      return Fail(Code::kUsage, "a block array has an impossible size");
    }
    return Ok();
  }
  array->kind = ChainArray::Kind::kBound;
  return ReadArray(object, &array->whole);
}

Status ReadStep(const Napi::Object& object, ChainStep* step) {
  const std::string name = object.Get("kernel").ToString().Utf8Value();
  step->kernel = FindKernel(name.c_str());
  if (step->kernel == nullptr)
    return Fail(Code::kBug, "a step names a kernel that the addon does not have; rebuild it");
  const Napi::Value arrays = object.Get("arrays");
  const Napi::Value params = object.Get("params");
  if (!arrays.IsArray() || !params.IsArray()) return Fail(Code::kBug, "a step needs arrays and params");
  const auto list = arrays.As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); i++) step->arrays.push_back(list.Get(i).ToNumber().Int32Value());
  const auto numbers = params.As<Napi::Array>();
  if (numbers.Length() != step->kernel->params.size())
    return Fail(Code::kBug, "a step has the wrong number of parameters");
  step->params.resize(step->kernel->paramsBytes);
  for (uint32_t i = 0; i < numbers.Length(); i++) {
    const ParamInfo& info = step->kernel->params[i];
    const double value = numbers.Get(i).ToNumber().DoubleValue();
    // TypeScript says it better; here it is only the last line of defence.
    if (!(value >= info.min && value <= info.max)) return Fail(Code::kUsage, "a parameter is out of its range");
    if (info.type == ParamInfo::Type::kFloat) {
      const auto f = static_cast<float>(value);
      std::memcpy(step->params.data() + info.offset, &f, sizeof f);
    } else {
      const auto n = static_cast<int32_t>(value);
      std::memcpy(step->params.data() + info.offset, &n, sizeof n);
    }
  }
  return Ok();
}

Status ReadChain(const Napi::Object& spec, OwnedChain* owned) {
  Chain& chain = owned->chain;
  const Napi::Value arrays = spec.Get("arrays");
  const Napi::Value steps = spec.Get("steps");
  if (!arrays.IsArray() || !steps.IsArray()) return Fail(Code::kBug, "a chain needs arrays and steps");
  const auto arrayList = arrays.As<Napi::Array>();
  for (uint32_t i = 0; i < arrayList.Length(); i++) {
    ChainArray array;
    if (Status s = ReadChainArray(arrayList.Get(i).ToObject(), &array); !s.ok()) return s;
    chain.arrays.push_back(std::move(array));
  }
  const auto stepList = steps.As<Napi::Array>();
  for (uint32_t i = 0; i < stepList.Length(); i++) {
    ChainStep step;
    if (Status s = ReadStep(stepList.Get(i).ToObject(), &step); !s.ok()) return s;
    chain.steps.push_back(std::move(step));
  }
  const Napi::Value source = spec.Get("source");
  if (source.IsObject()) {
    if (Status s = ReadSource(source.As<Napi::Object>(), &owned->source); !s.ok()) return s;
    chain.source = owned->source.get();
  }
  const Napi::Value options = spec.Get("options");
  if (options.IsObject()) {
    const auto o = options.As<Napi::Object>();
    chain.options.threads = static_cast<int>(std::min<int64_t>(Int(o, "threads", 1), 1024));
    chain.options.strip = Int(o, "strip", chain.options.strip);
    chain.options.keepCube = Flag(o, "keepCube", true);
    chain.options.fuse = Flag(o, "fuse", true);
    chain.options.firstRead = Int(o, "firstRead", 0);
    chain.options.reads = Int(o, "reads", -1);
    chain.options.rows = Int(o, "rows", 0);
    chain.options.cols = Int(o, "cols", 0);
  }
  if (const auto control = MemoryOf(spec.Get("control"));
      control && control->dtype == DType::kI32 && control->elements >= 2) {
    // A JavaScript Int32Array and std::atomic<int32_t> are the same four bytes here.
    static_assert(sizeof(std::atomic<int32_t>) == sizeof(int32_t) && std::atomic<int32_t>::is_always_lock_free);
    auto* words = static_cast<std::atomic<int32_t>*>(control->data);
    owned->control = {words, words + 1};
  }
  return Ok();
}

class ChainWorker final : public Napi::AsyncWorker {
 public:
  ChainWorker(Napi::Env env, const Napi::Object& spec, OwnedChain owned)
      : Napi::AsyncWorker(env, "rampline.runChain"),
        deferred_(Napi::Promise::Deferred::New(env)),
        spec_(Napi::Persistent(spec)),
        owned_(std::move(owned)) {}

  Napi::Promise Promise() const { return deferred_.Promise(); }

  void Execute() override { report_ = RunChain(owned_.chain, owned_.control); }

  void OnOK() override {
    const Napi::Env env = Env();
    Napi::Object result = Napi::Object::New(env);
    result.Set("status", StatusObject(env, report_.status));
    result.Set("failedStep", report_.failedStep);
    Napi::Array timings = Napi::Array::New(env);
    for (uint32_t i = 0; i < report_.timings.size(); i++) {
      Napi::Object timing = Napi::Object::New(env);
      timing.Set("name", report_.timings[i].name);
      timing.Set("seconds", report_.timings[i].seconds);
      timings.Set(i, timing);
    }
    result.Set("timings", timings);
    result.Set("cubeBytes", static_cast<double>(report_.cubeBytes));
    result.Set("blockBytes", static_cast<double>(report_.blockBytes));
    Napi::Array sums = Napi::Array::New(env);
    for (uint32_t i = 0; i < report_.dataSums.size(); i++) sums.Set(i, static_cast<double>(report_.dataSums[i]));
    result.Set("dataSums", sums);
    deferred_.Resolve(result);
  }

 private:
  Napi::Promise::Deferred deferred_;
  Napi::ObjectReference spec_;
  OwnedChain owned_;
  ChainReport report_;
};

Napi::Value RunChainAsync(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto refuse = [&](const Status& status) {
    auto deferred = Napi::Promise::Deferred::New(env);
    Napi::Object result = Napi::Object::New(env);
    result.Set("status", StatusObject(env, status));
    result.Set("failedStep", -1);
    result.Set("timings", Napi::Array::New(env));
    result.Set("dataSums", Napi::Array::New(env));
    deferred.Resolve(result);
    return deferred.Promise();
  };
  if (info.Length() < 1 || !info[0].IsObject()) return refuse(Fail(Code::kBug, "runChain needs a chain"));
  const auto spec = info[0].As<Napi::Object>();
  OwnedChain owned;
  if (Status s = ReadChain(spec, &owned); !s.ok()) return refuse(s);
  auto* worker = new ChainWorker(env, spec, std::move(owned));  // deletes itself when it has resolved
  worker->Queue();
  return worker->Promise();
}

uint64_t Address(const void* data) { return reinterpret_cast<uintptr_t>(data); }

// planChain(spec) -> {status, loops: [[step, ...]], needsFirstPass, addresses: [BigInt, ...]}: what runChain would do,
// without doing it. addresses: where native code has each array, 0 for those that are not the caller's memory; tests
// assert with it, and with addressOf, that nothing is copied on the way.
Napi::Value PlanChainSync(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Object result = Napi::Object::New(env);
  OwnedChain owned;
  ChainPlan plan;
  Status status = Fail(Code::kBug, "planChain needs a chain");
  if (info.Length() >= 1 && info[0].IsObject()) status = ReadChain(info[0].As<Napi::Object>(), &owned);
  if (status.ok()) status = PlanChain(owned.chain, &plan);
  result.Set("status", StatusObject(env, status));
  Napi::Array loops = Napi::Array::New(env);
  for (uint32_t i = 0; i < plan.loops.size(); i++) {
    Napi::Array steps = Napi::Array::New(env);
    for (uint32_t j = 0; j < plan.loops[i].steps.size(); j++) steps.Set(j, plan.loops[i].steps[j]);
    loops.Set(i, steps);
  }
  result.Set("loops", loops);
  result.Set("needsFirstPass", plan.needsFirstPass);
  Napi::Array addresses = Napi::Array::New(env);
  for (uint32_t i = 0; i < owned.chain.arrays.size(); i++) {
    addresses.Set(i, Napi::BigInt::New(env, Address(owned.chain.arrays[i].whole.data)));
  }
  result.Set("addresses", addresses);
  return result;
}

// addressOf(typedArray) -> BigInt: where its memory lies.
Napi::Value AddressOf(const Napi::CallbackInfo& info) {
  const auto memory = info.Length() > 0 ? MemoryOf(info[0]) : std::nullopt;
  if (!memory) return info.Env().Null();
  return Napi::BigInt::New(info.Env(), Address(memory->data));
}

// adviseHuge(typedArray): the system may back its memory with huge pages. Of use before the first touch only.
Napi::Value AdviseHugePages(const Napi::CallbackInfo& info) {
  const auto memory = info.Length() > 0 ? MemoryOf(info[0]) : std::nullopt;
  if (memory) AdviseHuge(memory->data, memory->elements * SizeOf(memory->dtype));
  return info.Env().Undefined();
}

}  // namespace

void RegisterChain(Napi::Env env, Napi::Object exports) {
  exports.Set("runChain", Napi::Function::New(env, RunChainAsync));
  exports.Set("planChain", Napi::Function::New(env, PlanChainSync));
  exports.Set("adviseHuge", Napi::Function::New(env, AdviseHugePages));
  exports.Set("addressOf", Napi::Function::New(env, AddressOf));
}

}  // namespace rampline::binding
