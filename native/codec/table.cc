#include "native/codec/table.h"

#include "native/codec/swap.h"

namespace rampline {
namespace {

int64_t ReadBig(const uint8_t* at, int bytes) {
  uint64_t value = 0;
  for (int i = 0; i < bytes; ++i) value = value << 8 | at[i];
  return bytes == 4 ? static_cast<int32_t>(value) : static_cast<int64_t>(value);
}

int64_t BytesOf(int64_t count, int elementBits) {
  return elementBits == 1 ? (count + 7) / 8 : count * (elementBits / 8);
}

Status CheckRows(const HeapColumn& c) {
  const size_t size = c.wide ? 16 : 8;
  if (c.rows == 0) return Ok();
  if (c.offset > c.stride || c.stride - c.offset < size) return Fail(Code::kInput, "a column reaches beyond its row");
  if (c.rows > c.bytes / c.stride) return Fail(Code::kInput, "fewer bytes than the table's rows need");
  return Ok();
}

}  // namespace

Status ReadDescriptor(const uint8_t* at, bool wide, int elementBits, int64_t heapBytes, Descriptor* out) {
  out->count = ReadBig(at, wide ? 8 : 4);
  out->offset = ReadBig(at + (wide ? 8 : 4), wide ? 8 : 4);
  if (out->count < 0 || out->offset < 0) return Fail(Code::kInput, "an array descriptor is negative");
  if (out->count == 0) return Ok();  // the offset of an empty array means nothing
  const int width = elementBits < 8 ? 1 : elementBits / 8;
  const int64_t room = heapBytes - out->offset;
  if (room < 0 || (elementBits == 1 ? (out->count - 1) / 8 + 1 > room : out->count > room / width)) {
    return Fail(Code::kInput, "an array descriptor points outside the heap", -1, heapBytes, out->offset);
  }
  return Ok();
}

Status MeasureHeapColumn(const HeapColumn& c, int64_t* offsets, size_t capacity) {
  Status status = CheckRows(c);
  if (!status.ok()) return status;
  if (capacity < c.rows + 1) return Fail(Code::kUsage, "room for rows + 1 offsets is needed");
  if (c.heapOffset < 0 || static_cast<uint64_t>(c.heapOffset) > c.bytes) {
    return Fail(Code::kInput, "the heap begins outside the data", c.heapOffset);
  }
  const int64_t heapBytes = static_cast<int64_t>(c.bytes) - c.heapOffset;
  int64_t total = 0, totalBytes = 0;
  for (size_t i = 0; i < c.rows; ++i) {
    offsets[i] = total;
    Descriptor d;
    const size_t at = i * c.stride + c.offset;
    status = ReadDescriptor(c.data + at, c.wide, c.elementBits, heapBytes, &d);
    if (!status.ok()) {
      status.offset = static_cast<int64_t>(at);
      return status;
    }
    totalBytes += BytesOf(d.count, c.elementBits);
    total += c.elementBits == 1 ? (d.count + 7) / 8 : d.count;
    if (totalBytes > heapBytes) {
      return Fail(Code::kInput, "the array descriptors claim more bytes than the heap holds", static_cast<int64_t>(at),
                  heapBytes, totalBytes);
    }
  }
  offsets[c.rows] = total;
  return Ok();
}

Status GatherHeapColumn(const HeapColumn& c, const int64_t* offsets, int width, bool flipSign, uint8_t* out,
                        size_t outBytes) {
  Status status = CheckRows(c);
  if (!status.ok()) return status;
  if (c.heapOffset < 0 || static_cast<uint64_t>(c.heapOffset) > c.bytes) {
    return Fail(Code::kInput, "the heap begins outside the data", c.heapOffset);
  }
  if (width < 1) return Fail(Code::kUsage, "an element has 1, 2, 4 or 8 bytes", -1, 0, width);
  const int64_t heapBytes = static_cast<int64_t>(c.bytes) - c.heapOffset;
  const int64_t elementBytes = c.elementBits < 8 ? 1 : c.elementBits / 8;
  for (size_t i = 0; i < c.rows; ++i) {
    Descriptor d;
    status = ReadDescriptor(c.data + i * c.stride + c.offset, c.wide, c.elementBits, heapBytes, &d);
    if (!status.ok()) return status;
    const int64_t bytes = BytesOf(d.count, c.elementBits);
    const int64_t begin = offsets[i];
    if (begin < 0 || bytes > static_cast<int64_t>(outBytes) ||
        begin > (static_cast<int64_t>(outBytes) - bytes) / elementBytes) {
      return Fail(Code::kUsage, "the output is shorter than the column");
    }
    status = SwapElements(c.data + c.heapOffset + (d.count == 0 ? 0 : d.offset), static_cast<size_t>(bytes),
                          static_cast<size_t>(bytes / width), width, flipSign, out + begin * elementBytes,
                          static_cast<size_t>(bytes));
    if (!status.ok()) return status;
  }
  return Ok();
}

Status UnpackBits(const uint8_t* in, size_t inBytes, size_t rows, size_t stride, size_t offset, size_t repeat,
                  uint8_t* out, size_t outBytes) {
  if (rows == 0 || repeat == 0) return Ok();
  if (offset > stride || (repeat - 1) / 8 + 1 > stride - offset) {
    return Fail(Code::kInput, "a column reaches beyond its row");
  }
  if (rows > inBytes / stride) return Fail(Code::kInput, "fewer bytes than the table's rows need");
  if (repeat > outBytes / rows) return Fail(Code::kUsage, "the output is shorter than the column");
  for (size_t i = 0; i < rows; ++i) {
    const uint8_t* row = in + i * stride + offset;
    for (size_t j = 0; j < repeat; ++j) *out++ = (row[j / 8] >> (7 - j % 8)) & 1;
  }
  return Ok();
}

}  // namespace rampline
