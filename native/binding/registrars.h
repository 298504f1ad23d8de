// One function for each group of exports; addon.cc calls them all.
#pragma once

#include <napi.h>

namespace rampline::binding {

void RegisterChain(Napi::Env env, Napi::Object exports);
void RegisterCodec(Napi::Env env, Napi::Object exports);

}  // namespace rampline::binding
