// Between JavaScript values and native views. TypeScript has checked shapes and names before it calls, so these functions
// only refuse what would be unsafe: a wrong type, a view that does not lie inside its memory.
#pragma once

#include <napi.h>

#include <optional>

#include "native/core/array.h"
#include "native/core/status.h"

namespace rampline::binding {

// {code, message, offset, expected, received, hdu}: what src/core/errors.ts makes an error of.
Napi::Object StatusObject(Napi::Env env, const Status& status);

// The memory of a typed array, which may lie on a SharedArrayBuffer; nothing is copied.
struct Memory {
  void* data = nullptr;
  size_t elements = 0;
  DType dtype = DType::kU8;
};
std::optional<Memory> MemoryOf(const Napi::Value& value);

std::optional<DType> DTypeNamed(const std::string& name);
int64_t Int(const Napi::Object& object, const char* key, int64_t fallback);

// An array object {data, planes, rows, cols, planeStride?, rowStride?}; strides default to dense row-major order.
Status ReadArray(const Napi::Object& object, Array* array);

}  // namespace rampline::binding
