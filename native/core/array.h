// Views of memory that somebody else owns. An array has at most three axes, in the order plane, row, x; an axis that a
// port does not have has extent 1. x is contiguous. Strides count elements.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rampline {

enum class DType : uint8_t { kU8, kI16, kU16, kI32, kU32, kI64, kF32, kF64 };

constexpr size_t SizeOf(DType type) {
  switch (type) {
    case DType::kU8: return 1;
    case DType::kI16:
    case DType::kU16: return 2;
    case DType::kI32:
    case DType::kU32:
    case DType::kF32: return 4;
    case DType::kI64:
    case DType::kF64: return 8;
  }
  return 0;
}

template <class T>
struct View {
  T* data = nullptr;
  int64_t planes = 1, rows = 1, cols = 1;
  int64_t planeStride = 0, rowStride = 0;

  T* at(int64_t plane, int64_t row) const { return data + plane * planeStride + row * rowStride; }
};

struct Array {
  void* data = nullptr;
  DType dtype = DType::kF32;
  int64_t planes = 1, rows = 1, cols = 1;
  int64_t planeStride = 0, rowStride = 0;

  // The registry has checked the dtype before a kernel runs, so a kernel may view without asking again.
  template <class T>
  View<T> view() const {
    return {static_cast<T*>(data), planes, rows, cols, planeStride, rowStride};
  }
};

}  // namespace rampline
