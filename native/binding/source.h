#pragma once

#include <napi.h>

#include <memory>

#include "native/core/source.h"
#include "native/core/status.h"

namespace rampline::binding {

// {array: {data: Uint16Array, planes, rows, cols, planeStride?, rowStride?}} or {ramp: {...}} (see native/codec/ramp.h).
Status ReadSource(const Napi::Object& object, std::shared_ptr<RowSource>* source);

}  // namespace rampline::binding
