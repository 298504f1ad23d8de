#include "native/binding/source.h"

#include "native/binding/convert.h"
#include "native/core/array_source.h"

namespace rampline::binding {

Status ReadSource(const Napi::Object& object, std::shared_ptr<RowSource>* source) {
  const Napi::Value array = object.Get("array");
  if (array.IsObject()) {
    Array reads;
    if (Status s = ReadArray(array.As<Napi::Object>(), &reads); !s.ok()) return s;
    if (reads.dtype != DType::kU16) return Fail(Code::kUsage, "reads must be unsigned 16-bit counts");
    *source = std::make_shared<ArraySource>(reads.view<const uint16_t>());
    return Ok();
  }
  return Fail(Code::kBug, "a source must be an array or a ramp file");
}

}  // namespace rampline::binding
