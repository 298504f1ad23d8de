#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/codec/swap.cc"
#include "native/codec/swap.h"

#include <hwy/foreach_target.h>  // IWYU pragma: keep
#include <hwy/highway.h>

#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Reverses the bytes of each element and inverts the top bit of its byte `flipByte` (counted in the output; -1: none).
void SwapRun(const uint8_t* in, size_t count, int width, int flipByte, uint8_t* out) {
  HWY_ALIGN uint8_t order[16];
  HWY_ALIGN uint8_t flip[16];
  for (int i = 0; i < 16; ++i) {
    order[i] = static_cast<uint8_t>(i / width * width + (width - 1 - i % width));
    flip[i] = i % width == flipByte ? 0x80 : 0;
  }
  const size_t bytes = count * static_cast<size_t>(width);
  size_t i = 0;
#if HWY_TARGET != HWY_SCALAR  // which has no vectors to shuffle within
  const hn::ScalableTag<uint8_t> d;
  const size_t lanes = hn::Lanes(d);
  const auto shuffle = hn::LoadDup128(d, order);
  const auto mask = hn::LoadDup128(d, flip);
  for (; i + lanes <= bytes; i += lanes) {
    hn::StoreU(hn::Xor(hn::TableLookupBytes(hn::LoadU(d, in + i), shuffle), mask), d, out + i);
  }
#else
  (void)order;
#endif
  for (; i < bytes; i += static_cast<size_t>(width)) {
    uint8_t element[8];
    std::memcpy(element, in + i, static_cast<size_t>(width));
    for (int j = 0; j < width; ++j) {
      out[i + static_cast<size_t>(j)] = static_cast<uint8_t>(element[width - 1 - j] ^ flip[j]);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline {
namespace {

HWY_EXPORT(SwapRun);

bool IsWidth(int width) { return width == 1 || width == 2 || width == 4 || width == 8; }

Status Swap(const uint8_t* in, size_t inBytes, size_t count, int width, int flipByte, uint8_t* out, size_t outBytes) {
  if (!IsWidth(width)) return Fail(Code::kUsage, "an element has 1, 2, 4 or 8 bytes", -1, 0, width);
  if (count > inBytes / static_cast<size_t>(width)) {
    return Fail(Code::kInput, "fewer bytes than the array needs", -1, static_cast<int64_t>(count) * width,
                static_cast<int64_t>(inBytes));
  }
  if (count > outBytes / static_cast<size_t>(width)) {
    return Fail(Code::kUsage, "the output is shorter than the array", -1, static_cast<int64_t>(count) * width,
                static_cast<int64_t>(outBytes));
  }
  if (width == 1 && flipByte < 0) {
    if (in != out && count != 0) std::memcpy(out, in, count);
    return Ok();
  }
  HWY_DYNAMIC_DISPATCH(SwapRun)(in, count, width, flipByte, out);
  return Ok();
}

}  // namespace

// The sign is the top bit of an element's last byte in native order, and of its first byte in the file's.
Status SwapElements(const uint8_t* in, size_t inBytes, size_t count, int width, bool flipSign, uint8_t* out,
                    size_t outBytes) {
  return Swap(in, inBytes, count, width, flipSign ? width - 1 : -1, out, outBytes);
}

Status StoreBigEndian(const uint8_t* in, size_t inBytes, size_t count, int width, bool flipSign, uint8_t* out,
                      size_t outBytes) {
  return Swap(in, inBytes, count, width, flipSign ? 0 : -1, out, outBytes);
}

Status GatherElements(const uint8_t* in, size_t inBytes, size_t rows, size_t stride, size_t offset, size_t repeat,
                      int width, bool flipSign, uint8_t* out, size_t outBytes) {
  if (!IsWidth(width)) return Fail(Code::kUsage, "an element has 1, 2, 4 or 8 bytes", -1, 0, width);
  if (rows == 0 || repeat == 0) return Ok();
  const size_t w = static_cast<size_t>(width);
  if (offset > stride || repeat > (stride - offset) / w) {
    return Fail(Code::kInput, "a column reaches beyond its row", -1, static_cast<int64_t>(stride),
                static_cast<int64_t>(offset));
  }
  if (rows > inBytes / stride) {
    return Fail(Code::kInput, "fewer bytes than the table's rows need", -1, static_cast<int64_t>(rows),
                static_cast<int64_t>(inBytes / stride));
  }
  if (repeat > outBytes / w / rows) {
    return Fail(Code::kUsage, "the output is shorter than the column", -1, static_cast<int64_t>(repeat * rows),
                static_cast<int64_t>(outBytes / w));
  }
  for (size_t i = 0; i < rows; ++i) {
    const Status status =
        SwapElements(in + i * stride + offset, repeat * w, repeat, width, flipSign, out + i * repeat * w, repeat * w);
    if (!status.ok()) return status;
  }
  return Ok();
}

}  // namespace rampline
#endif  // HWY_ONCE
