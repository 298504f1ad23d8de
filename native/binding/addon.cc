#include <napi.h>

#include "native/binding/registrars.h"
#include "native/core/cpu.h"

namespace rampline::binding {
namespace {

Napi::Value Targets(const Napi::CallbackInfo& info) {
  Napi::Object result = Napi::Object::New(info.Env());
  Napi::Array available = Napi::Array::New(info.Env());
  uint32_t i = 0;
  for (const std::string& name : AvailableTargets()) available.Set(i++, name);
  result.Set("available", available);
  result.Set("current", CurrentTarget());
  return result;
}

Napi::Value Limit(const Napi::CallbackInfo& info) {
  const std::string name = info.Length() > 0 && info[0].IsString() ? info[0].As<Napi::String>().Utf8Value() : "";
  return Napi::Boolean::New(info.Env(), LimitTarget(name));
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports.Set("targets", Napi::Function::New(env, Targets));
  exports.Set("limitTarget", Napi::Function::New(env, Limit));
  RegisterChain(env, exports);
  RegisterCodec(env, exports);
  return exports;
}

}  // namespace
}  // namespace rampline::binding

static Napi::Object InitAddon(Napi::Env env, Napi::Object exports) { return rampline::binding::Init(env, exports); }
NODE_API_MODULE(rampline, InitAddon)
