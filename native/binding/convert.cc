#include "native/binding/convert.h"

#include <string>

namespace rampline::binding {

Napi::Object StatusObject(Napi::Env env, const Status& status) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("code", static_cast<double>(status.code));
  object.Set("message", status.message);
  object.Set("offset", static_cast<double>(status.offset));
  object.Set("expected", static_cast<double>(status.expected));
  object.Set("received", static_cast<double>(status.received));
  object.Set("hdu", static_cast<double>(status.hdu));
  return object;
}

std::optional<Memory> MemoryOf(const Napi::Value& value) {
  if (!value.IsTypedArray()) return std::nullopt;
  napi_typedarray_type type;
  size_t length = 0;
  void* data = nullptr;
  napi_value buffer;
  size_t offset = 0;
  if (napi_get_typedarray_info(value.Env(), value, &type, &length, &data, &buffer, &offset) != napi_ok) {
    return std::nullopt;
  }
  Memory memory{data, length, DType::kU8};
  switch (type) {
    case napi_uint8_array:
    case napi_uint8_clamped_array: memory.dtype = DType::kU8; break;
    case napi_int16_array: memory.dtype = DType::kI16; break;
    case napi_uint16_array: memory.dtype = DType::kU16; break;
    case napi_int32_array: memory.dtype = DType::kI32; break;
    case napi_uint32_array: memory.dtype = DType::kU32; break;
    case napi_bigint64_array: memory.dtype = DType::kI64; break;
    case napi_float32_array: memory.dtype = DType::kF32; break;
    case napi_float64_array: memory.dtype = DType::kF64; break;
    default: return std::nullopt;
  }
  return memory;
}

std::optional<DType> DTypeNamed(const std::string& name) {
  static constexpr struct {
    const char* name;
    DType dtype;
  } kNames[] = {{"u8", DType::kU8},   {"i16", DType::kI16}, {"u16", DType::kU16}, {"i32", DType::kI32},
                {"u32", DType::kU32}, {"i64", DType::kI64}, {"f32", DType::kF32}, {"f64", DType::kF64}};
  for (const auto& entry : kNames) {
    if (name == entry.name) return entry.dtype;
  }
  return std::nullopt;
}

int64_t Int(const Napi::Object& object, const char* key, int64_t fallback) {
  const Napi::Value value = object.Get(key);
  return value.IsNumber() ? value.As<Napi::Number>().Int64Value() : fallback;
}

Status ReadArray(const Napi::Object& object, Array* array) {
  const std::optional<Memory> memory = MemoryOf(object.Get("data"));
  if (!memory) return Fail(Code::kUsage, "an array's data must be a typed array");
  array->data = memory->data;
  array->dtype = memory->dtype;
  array->planes = Int(object, "planes", 1);
  array->rows = Int(object, "rows", 1);
  array->cols = Int(object, "cols", 1);
  array->rowStride = Int(object, "rowStride", array->cols);
  array->planeStride = Int(object, "planeStride", array->rowStride * array->rows);
  if (array->planes < 0 || array->rows < 0 || array->cols < 0 || array->rowStride < 0 || array->planeStride < 0) {
    return Fail(Code::kUsage, "an array's extents and strides must not be negative");
  }
  if (array->planes == 0 || array->rows == 0 || array->cols == 0) return Ok();
  int64_t plane = 0, row = 0, last = 0;
  if (__builtin_mul_overflow(array->planes - 1, array->planeStride, &plane) ||
      __builtin_mul_overflow(array->rows - 1, array->rowStride, &row) || __builtin_add_overflow(plane, row, &last) ||
      __builtin_add_overflow(last, array->cols, &last) || static_cast<uint64_t>(last) > memory->elements) {
    return Fail(Code::kUsage, "an array is larger than its memory", -1, last, static_cast<int64_t>(memory->elements));
  }
  return Ok();
}

}  // namespace rampline::binding
