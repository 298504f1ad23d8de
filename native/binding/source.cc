#include "native/binding/source.h"

#include "native/binding/convert.h"
#include "native/codec/ramp.h"
#include "native/core/array_source.h"

namespace rampline::binding {
namespace {

// src/stages/ramp/layout.ts writes this object, from headers; OpenRamp checks every number against the file.
Status ReadLayout(const Napi::Object& object, RampLayout* layout) {
  layout->fd = static_cast<int>(Int(object, "fd", -1));
  layout->fileBytes = Int(object, "fileBytes", 0);
  layout->rows = Int(object, "rows", 0);
  layout->cols = Int(object, "cols", 0);
  layout->differences = object.Get("differences").ToBoolean().Value();
  const Napi::Value images = object.Get("images");
  if (!images.IsArray()) return Fail(Code::kBug, "a ramp layout needs images");
  const auto list = images.As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); i++) {
    const Napi::Object entry = list.Get(i).ToObject();
    RampImage image;
    image.hdu = static_cast<int32_t>(Int(entry, "hdu", -1));
    image.compressed = entry.Get("compressed").ToBoolean().Value();
    image.dataOffset = Int(entry, "dataOffset", -1);
    image.dataBytes = Int(entry, "dataBytes", -1);
    image.tableRowBytes = Int(entry, "tableRowBytes", 0);
    image.descriptor = Int(entry, "descriptor", 0);
    image.wideDescriptor = entry.Get("wideDescriptor").ToBoolean().Value();
    image.heapOffset = Int(entry, "heapOffset", 0);
    image.bytesPerPixel = static_cast<int>(Int(entry, "bytesPerPixel", 0));
    image.blockSize = static_cast<int>(Int(entry, "blockSize", 32));
    layout->images.push_back(image);
  }
  return Ok();
}

}  // namespace

Status ReadSource(const Napi::Object& object, std::shared_ptr<RowSource>* source) {
  const Napi::Value array = object.Get("array");
  if (array.IsObject()) {
    Array reads;
    if (Status s = ReadArray(array.As<Napi::Object>(), &reads); !s.ok()) return s;
    if (reads.dtype != DType::kU16) return Fail(Code::kUsage, "reads must be unsigned 16-bit counts");
    *source = std::make_shared<ArraySource>(reads.view<const uint16_t>());
    return Ok();
  }
  const Napi::Value ramp = object.Get("ramp");
  if (ramp.IsObject()) {
    RampLayout layout;
    if (Status s = ReadLayout(ramp.As<Napi::Object>(), &layout); !s.ok()) return s;
    return OpenRamp(layout, source);
  }
  return Fail(Code::kBug, "a source must be an array or a ramp file");
}

}  // namespace rampline::binding
