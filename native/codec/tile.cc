#include "native/codec/tile.h"

#include <bit>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <new>

#include "native/codec/gzip.h"
#include "native/codec/rice.h"
#include "native/codec/scale.h"
#include "native/codec/swap.h"
#include "native/codec/table.h"

namespace rampline {
namespace {

constexpr size_t kBatch = 64;  // rows that go to the Rice decoder together

bool IsBitpix(int b) { return b == 8 || b == 16 || b == 32 || b == 64 || b == -32 || b == -64; }

int WidthOf(const TileImage& image) { return std::abs(image.bitpix) / 8; }

// Where a tile lies in the image, and its size; tiles are numbered with the first axis running fastest.
struct TilePlace {
  int64_t first[kTileMaxAxes] = {}, size[kTileMaxAxes] = {};
  int64_t pixels = 0;
};

TilePlace PlaceOf(const TileImage& image, int64_t index) {
  TilePlace place;
  place.pixels = 1;
  for (int i = 0; i < image.naxis; ++i) {
    const int64_t along = (image.axes[i] - 1) / image.tile[i] + 1;
    place.first[i] = index % along * image.tile[i];
    const int64_t left = image.axes[i] - place.first[i];
    place.size[i] = left < image.tile[i] ? left : image.tile[i];
    place.pixels *= place.size[i];
    index /= along;
  }
  return place;
}

uint64_t ReadBig(const uint8_t* at, int n) {
  uint64_t value = 0;
  for (int i = 0; i < n; ++i) value = value << 8 | at[i];
  return value;
}

int ScalarBytes(char type) {
  switch (type) {
    case 'B': return 1;
    case 'I': return 2;
    case 'J':
    case 'E': return 4;
    default: return 8;
  }
}

double ReadScalar(const ScalarColumn& column, const uint8_t* row) {
  const uint8_t* at = row + column.offset;
  switch (column.type) {
    case 'B': return at[0];
    case 'I': return static_cast<int16_t>(ReadBig(at, 2));
    case 'J': return static_cast<int32_t>(ReadBig(at, 4));
    case 'E': return std::bit_cast<float>(static_cast<uint32_t>(ReadBig(at, 4)));
    case 'K': return static_cast<double>(static_cast<int64_t>(ReadBig(at, 8)));
    default: return std::bit_cast<double>(ReadBig(at, 8));
  }
}

enum class StreamKind : uint8_t { kCompressed, kGzipped, kUncompressed };

// The bytes of one tile, and which column they come from.
struct Stream {
  StreamKind kind = StreamKind::kCompressed;
  const uint8_t* data = nullptr;
  size_t bytes = 0;
};

Status FindStream(const TileImage& image, const uint8_t* data, size_t bytes, int64_t tile, Stream* stream) {
  const int64_t heapBytes = static_cast<int64_t>(bytes) - image.heapOffset;
  const uint8_t* row = data + tile * image.rowBytes;
  const TileColumn* columns[] = {&image.compressed, &image.gzipped, &image.uncompressed};
  const StreamKind kinds[] = {StreamKind::kCompressed, StreamKind::kGzipped, StreamKind::kUncompressed};
  for (int i = 0; i < 3; ++i) {
    if (columns[i]->offset < 0) continue;
    Descriptor d;
    Status status = ReadDescriptor(row + columns[i]->offset, columns[i]->wide, columns[i]->width * 8, heapBytes, &d);
    if (!status.ok()) {
      status.offset = row + columns[i]->offset - data;
      return status;
    }
    if (d.count == 0) continue;
    stream->kind = kinds[i];
    stream->data = data + image.heapOffset + d.offset;
    stream->bytes = static_cast<size_t>(d.count * columns[i]->width);
    return Ok();
  }
  return Fail(Code::kInput, "a tile has no data", row - data);
}

// Whether `pixels` pixels can come out of the stream at all.
bool IsPossible(const TileImage& image, const Stream& stream, int64_t pixels) {
  const int64_t n = static_cast<int64_t>(stream.bytes);
  const int64_t width = WidthOf(image);
  if (stream.kind == StreamKind::kUncompressed) return pixels <= n / width;
  if (stream.kind == StreamKind::kGzipped) return pixels <= n * kDeflateMaxRatio / width;
  switch (image.codec) {
    case TileCodec::kRice: {
      // A first pixel in full, then at least the 3, 4 or 5 bits that begin each block.
      const int64_t fieldBits = image.bytesPerPixel == 1 ? 3 : image.bytesPerPixel == 2 ? 4 : 5;
      const int64_t blocks = (pixels - 1) / image.blockSize + 1;
      return blocks <= (n * 8 - image.bytesPerPixel * 8) / fieldBits;
    }
    case TileCodec::kNone: return pixels <= n;
    default: return pixels <= n * kDeflateMaxRatio;
  }
}

Status CheckShape(const TileImage& image, size_t bytes, int64_t* pixels, int64_t* tiles) {
  if (!IsBitpix(image.bitpix)) {
    return Fail(Code::kInput, "ZBITPIX must be 8, 16, 32, 64, -32 or -64", -1, 0, image.bitpix);
  }
  if (image.naxis < 0 || image.naxis > kTileMaxAxes) {
    return Fail(Code::kInput, "more axes than a compressed image may have", -1, kTileMaxAxes, image.naxis);
  }
  *pixels = image.naxis == 0 ? 0 : 1;
  *tiles = *pixels;
  bool fits = true;
  for (int i = 0; i < image.naxis; ++i) {
    if (image.axes[i] < 0 || image.tile[i] < 1) {
      return Fail(Code::kInput, "ZNAXISn must not be negative and ZTILEn must be positive");
    }
    fits = fits && !__builtin_mul_overflow(*pixels, image.axes[i], pixels);
    fits = fits &&
           !__builtin_mul_overflow(*tiles, image.axes[i] == 0 ? 0 : (image.axes[i] - 1) / image.tile[i] + 1, tiles);
  }
  int64_t size = 0;
  if (!fits || __builtin_mul_overflow(*pixels, int64_t{8}, &size)) {
    return Fail(Code::kInput, "the size of the image overflows 64 bits");
  }
  if (*tiles > image.rows) {
    return Fail(Code::kInput, "the table has fewer rows than the image has tiles", -1, *tiles, image.rows);
  }
  if (image.rows < 0 || image.rowBytes < 0 || image.heapOffset < 0) return Fail(Code::kInput, "a size is negative");
  if (*tiles == 0) return Ok();
  if (image.rowBytes == 0 || image.rows > static_cast<int64_t>(bytes) / image.rowBytes ||
      static_cast<uint64_t>(image.heapOffset) > bytes) {
    return Fail(Code::kInput, "fewer bytes than the table's rows need", -1, image.rows * image.rowBytes,
                static_cast<int64_t>(bytes));
  }
  bool any = false;
  for (const TileColumn* column : {&image.compressed, &image.gzipped, &image.uncompressed}) {
    if (column->offset < 0) continue;
    any = true;
    if (column->offset > image.rowBytes - (column->wide ? 16 : 8)) {
      return Fail(Code::kInput, "a column reaches beyond its row");
    }
    if (column->width != 1 && column->width != 2 && column->width != 4 && column->width != 8) {
      return Fail(Code::kUsage, "an element has 1, 2, 4 or 8 bytes", -1, 0, column->width);
    }
  }
  if (!any) return Fail(Code::kInput, "the table has no column of compressed data");
  if (image.compressed.offset >= 0 && image.compressed.width != 1) {
    return Fail(Code::kInput, "COMPRESSED_DATA must be a column of bytes", -1, 1, image.compressed.width);
  }
  for (const ScalarColumn* column : {&image.scaleColumn, &image.zeroColumn, &image.blankColumn}) {
    if (column->offset >= 0 && column->offset > image.rowBytes - ScalarBytes(column->type)) {
      return Fail(Code::kInput, "a column reaches beyond its row");
    }
  }
  if (image.codec == TileCodec::kRice) {
    if (image.bytesPerPixel != 1 && image.bytesPerPixel != 2 && image.bytesPerPixel != 4) {
      return Fail(Code::kInput, "BYTEPIX of RICE_1 must be 1, 2 or 4", -1, 0, image.bytesPerPixel);
    }
    if (image.blockSize < 1 || image.blockSize > kRiceMaxBlock) {
      return Fail(Code::kInput, "BLOCKSIZE of RICE_1 is out of range", -1, kRiceMaxBlock, image.blockSize);
    }
  }
  return Ok();
}

Status RiceTo(const Stream& stream, int bytesPerPixel, int blockSize, size_t n, uint8_t* out) {
  switch (bytesPerPixel) {
    case 1: return RiceDecode8(stream.data, stream.bytes, reinterpret_cast<int8_t*>(out), n, blockSize);
    case 2: return RiceDecode16(stream.data, stream.bytes, reinterpret_cast<int16_t*>(out), n, blockSize);
    default: return RiceDecode32(stream.data, stream.bytes, reinterpret_cast<int32_t*>(out), n, blockSize);
  }
}

// Working memory for one tile: 8 bytes a pixel each, aligned for any element.
struct Scratch {
  std::unique_ptr<uint64_t[]> inflated, elements;
  uint8_t* Inflated() { return reinterpret_cast<uint8_t*>(inflated.get()); }
  uint8_t* Elements() { return reinterpret_cast<uint8_t*>(elements.get()); }
};

std::unique_ptr<uint64_t[]> Words(size_t n) { return std::unique_ptr<uint64_t[]>(new (std::nothrow) uint64_t[n]); }

// The stream's elements, native-endian, in scratch->elements; *elementBytes is their width.
Status DecodeStream(const TileImage& image, const Stream& stream, size_t n, Scratch* scratch, int* elementBytes) {
  uint8_t* elements = scratch->Elements();
  if (stream.kind == StreamKind::kCompressed && image.codec == TileCodec::kRice) {
    *elementBytes = image.bytesPerPixel;
    return RiceTo(stream, image.bytesPerPixel, image.blockSize, n, elements);
  }
  const bool raw = stream.kind == StreamKind::kUncompressed ||
                   (stream.kind == StreamKind::kCompressed && image.codec == TileCodec::kNone);
  const uint8_t* big = stream.data;
  size_t bytes = stream.bytes;
  if (!raw) {
    const Status status = GzipInflate(stream.data, stream.bytes, scratch->Inflated(), n * 8, &bytes);
    if (!status.ok()) return status;
    big = scratch->Inflated();
  }
  // The width of the elements is nowhere written: it follows from how many there must be.
  const size_t width = bytes / n;
  if (width * n != bytes || (width != 1 && width != 2 && width != 4 && width != 8)) {
    return Fail(Code::kInput, "a stream holds another number of pixels than its tile", -1,
                static_cast<int64_t>(n) * WidthOf(image), static_cast<int64_t>(bytes));
  }
  *elementBytes = static_cast<int>(width);
  if (stream.kind == StreamKind::kCompressed && image.codec == TileCodec::kGzip2) {
    UnshuffleElements(big, n, *elementBytes, elements);
    return Ok();
  }
  return SwapElements(big, bytes, n, *elementBytes, false, elements, n * width);
}

template <class From, class To>
bool Convert(const uint8_t* in, size_t n, uint8_t* out) {
  for (size_t i = 0; i < n; ++i) {
    From from;
    std::memcpy(&from, in + i * sizeof from, sizeof from);
    const int64_t value = static_cast<int64_t>(from);
    if (value < static_cast<int64_t>(std::numeric_limits<To>::min()) ||
        value > static_cast<int64_t>(std::numeric_limits<To>::max())) {
      return false;
    }
    const To to = static_cast<To>(value);
    std::memcpy(out + i * sizeof to, &to, sizeof to);
  }
  return true;
}

template <class From>
bool ConvertFrom(const uint8_t* in, size_t n, int width, uint8_t* out) {
  switch (width) {
    case 1: return Convert<From, uint8_t>(in, n, out);
    case 2: return Convert<From, int16_t>(in, n, out);
    case 4: return Convert<From, int32_t>(in, n, out);
    default: return Convert<From, int64_t>(in, n, out);
  }
}

// Stored integers of one width to those of another; bytes are unsigned, the others signed.
bool ConvertIntegers(const uint8_t* in, size_t n, int from, int to, uint8_t* out) {
  if (from == to) {
    std::memcpy(out, in, n * static_cast<size_t>(to));
    return true;
  }
  switch (from) {
    case 1: return ConvertFrom<uint8_t>(in, n, to, out);
    case 2: return ConvertFrom<int16_t>(in, n, to, out);
    case 4: return ConvertFrom<int32_t>(in, n, to, out);
    default: return ConvertFrom<int64_t>(in, n, to, out);
  }
}

void FlipSigns(uint8_t* elements, size_t n, int width) {
  for (size_t i = static_cast<size_t>(width) - 1; i < n * static_cast<size_t>(width); i += static_cast<size_t>(width)) {
    elements[i] ^= 0x80;
  }
}

// The tile's pixels, native-endian and as wide as the image's, in `pixels`.
Status DecodeTile(const TileImage& image, const uint8_t* data, size_t bytes, int64_t tile, size_t n, Scratch* scratch,
                  uint8_t* pixels) {
  Stream stream;
  Status status = FindStream(image, data, bytes, tile, &stream);
  if (!status.ok()) return status;
  if (!IsPossible(image, stream, static_cast<int64_t>(n))) {
    return Fail(Code::kInput, "a tile is larger than its stream can hold", -1, static_cast<int64_t>(n),
                static_cast<int64_t>(stream.bytes));
  }
  int elementBytes = 0;
  status = DecodeStream(image, stream, n, scratch, &elementBytes);
  if (!status.ok()) return status;
  const int width = WidthOf(image);
  const uint8_t* elements = scratch->Elements();
  if (image.bitpix > 0) {
    if (!ConvertIntegers(elements, n, elementBytes, width, pixels)) {
      return Fail(Code::kInput, "a compressed pixel is outside the range of ZBITPIX");
    }
    if (image.flipSign) FlipSigns(pixels, n, width);
    return Ok();
  }

  const bool wide = width == 8;
  const uint8_t* row = data + tile * image.rowBytes;
  const bool quantized = image.scaleColumn.offset >= 0 || image.hasScale;
  double scale = 1, zero = 0;
  if (image.scaleColumn.offset >= 0) {
    scale = ReadScalar(image.scaleColumn, row);
    zero = image.zeroColumn.offset >= 0 ? ReadScalar(image.zeroColumn, row) : image.zero;
    if (image.bscale != 1 || image.bzero != 0) {
      scale = scale * image.bscale;
      zero = zero * image.bscale + image.bzero;
    }
  } else if (image.hasScale) {
    scale = image.scale;
    zero = image.zeroColumn.offset >= 0 ? ReadScalar(image.zeroColumn, row) : image.zero;
  }
  if (scale == 1 && zero == 0) {
    scale = image.bscale;
    zero = image.bzero;
  }

  const bool fallback = stream.kind != StreamKind::kCompressed;  // this tile was not quantised
  if (fallback || !quantized || image.lossless) {
    if (stream.kind == StreamKind::kCompressed && image.codec == TileCodec::kRice) {
      return Fail(Code::kInput, "a floating-point image in RICE_1 must have ZSCALE and ZZERO");
    }
    if (elementBytes != 4 && elementBytes != 8) {
      return Fail(Code::kInput, "floating-point pixels have 4 or 8 bytes", -1, width, elementBytes);
    }
    if (fallback) {
      scale = 1;
      zero = 0;
    }
    if (elementBytes == width && scale == 1 && zero == 0) {
      std::memcpy(pixels, elements, n * static_cast<size_t>(width));
      return Ok();
    }
    return ScaleElements(elements, n * static_cast<size_t>(elementBytes), n, -8 * elementBytes, scale, zero, false, 0,
                         wide, pixels, n * static_cast<size_t>(width));
  }

  Quantization q;
  q.scale = scale;
  q.zero = zero;
  q.dither = image.dither;
  q.row = tile + image.ditherSeed - 1;
  if (image.blankColumn.offset >= 0) {
    q.hasBlank = true;
    // cfitsio reads it as a 32-bit integer.
    const double blank = ReadScalar(image.blankColumn, row);
    if (!(blank >= -2147483648.0 && blank <= 2147483647.0)) return Fail(Code::kInput, "ZBLANK is out of range");
    q.blank = static_cast<int32_t>(blank);
  } else if (image.hasBlank) {
    q.hasBlank = true;
    q.blank = static_cast<int32_t>(image.blank);
  }
  return Unquantize(elements, n, elementBytes, q, wide, pixels, n * static_cast<size_t>(width));
}

// Copies a tile's pixels, line by line, to where they belong.
void Place(const TileImage& image, const TilePlace& place, const uint8_t* pixels, uint8_t* out) {
  const size_t width = static_cast<size_t>(WidthOf(image));
  const size_t line = static_cast<size_t>(place.size[0]) * width;
  int64_t index[kTileMaxAxes] = {};
  for (int64_t done = 0; done < place.pixels; done += place.size[0]) {
    int64_t at = 0;
    for (int i = image.naxis - 1; i >= 0; --i) at = at * image.axes[i] + place.first[i] + index[i];
    std::memcpy(out + static_cast<size_t>(at) * width, pixels, line);
    pixels += line;
    for (int i = 1; i < image.naxis; ++i) {
      if (++index[i] < place.size[i]) break;
      index[i] = 0;
    }
  }
}

// Rows of 32-bit or 16-bit integers in Rice: the usual case, and the one that is decoded many rows at a time.
bool IsRiceRows(const TileImage& image) {
  if (image.codec != TileCodec::kRice || image.bitpix != image.bytesPerPixel * 8 || image.bitpix < 16) return false;
  if (image.gzipped.offset >= 0 || image.uncompressed.offset >= 0) return false;
  for (int i = 0; i < image.naxis; ++i) {
    if (image.tile[i] < (i == 0 ? image.axes[0] : 1) || (i > 0 && image.tile[i] != 1)) return false;
  }
  return true;
}

Status DecodeRiceRows(const TileImage& image, const uint8_t* data, size_t bytes, int64_t tiles, uint8_t* out) {
  const size_t n = static_cast<size_t>(image.axes[0]);
  const size_t rowBytes = n * static_cast<size_t>(WidthOf(image));
  RiceTile batch[kBatch];
  for (int64_t first = 0; first < tiles; first += static_cast<int64_t>(kBatch)) {
    const size_t count = tiles - first < static_cast<int64_t>(kBatch) ? static_cast<size_t>(tiles - first) : kBatch;
    for (size_t i = 0; i < count; ++i) {
      Stream stream;
      const Status status = FindStream(image, data, bytes, first + static_cast<int64_t>(i), &stream);
      if (!status.ok()) return status;
      batch[i] = {stream.data, stream.bytes, image.bytesPerPixel};
    }
    uint8_t* rows = out + static_cast<size_t>(first) * rowBytes;
    size_t failed = 0;
    Status status =
        image.bitpix == 32
            ? RiceBatchDecode32({batch, count}, image.blockSize, reinterpret_cast<int32_t*>(rows), n, n, &failed)
            : RiceBatchDecode16({batch, count}, image.blockSize, reinterpret_cast<uint16_t*>(rows), n, n, &failed);
    if (!status.ok()) {
      status.offset = (first + static_cast<int64_t>(failed)) * image.rowBytes;
      return status;
    }
    if (image.flipSign) FlipSigns(rows, n * count, WidthOf(image));
  }
  return Ok();
}

}  // namespace

Status CheckTileImage(const TileImage& image, const uint8_t* data, size_t bytes, int64_t* pixels) {
  int64_t tiles = 0;
  Status status = CheckShape(image, bytes, pixels, &tiles);
  if (!status.ok() || *pixels == 0) return status;
  const int64_t heapBytes = static_cast<int64_t>(bytes) - image.heapOffset;
  int64_t claimed = 0;
  for (int64_t tile = 0; tile < tiles; ++tile) {
    Stream stream;
    status = FindStream(image, data, bytes, tile, &stream);
    if (!status.ok()) return status;
    const int64_t n = PlaceOf(image, tile).pixels;
    if (!IsPossible(image, stream, n)) {
      return Fail(Code::kInput, "a tile is larger than its stream can hold (expected its pixels, received its bytes)",
                  tile * image.rowBytes, n, static_cast<int64_t>(stream.bytes));
    }
    claimed += static_cast<int64_t>(stream.bytes);  // each at most heapBytes, and the sum is looked at every time
    if (claimed > heapBytes) {
      return Fail(Code::kInput, "the tiles claim more bytes than the heap holds", tile * image.rowBytes, heapBytes,
                  claimed);
    }
  }
  return Ok();
}

Status DecodeTileImage(const TileImage& image, const uint8_t* data, size_t bytes, uint8_t* out, size_t outBytes) {
  int64_t pixels = 0;
  Status status = CheckTileImage(image, data, bytes, &pixels);
  if (!status.ok()) return status;
  const size_t width = static_cast<size_t>(WidthOf(image));
  if (static_cast<uint64_t>(pixels) > outBytes / width) {
    return Fail(Code::kUsage, "the output is shorter than the image", -1, pixels,
                static_cast<int64_t>(outBytes / width));
  }
  if (pixels == 0) return Ok();
  int64_t tiles = 1;
  for (int i = 0; i < image.naxis; ++i) tiles *= (image.axes[i] - 1) / image.tile[i] + 1;
  // Vectors of the outputs' types are written straight into them where they are aligned.
  if (IsRiceRows(image) && reinterpret_cast<uintptr_t>(out) % width == 0) {
    return DecodeRiceRows(image, data, bytes, tiles, out);
  }

  const size_t largest = static_cast<size_t>(PlaceOf(image, 0).pixels);  // the first tile is never a cut one
  Scratch scratch;
  const bool inflates = image.codec != TileCodec::kRice || image.gzipped.offset >= 0;
  scratch.elements = Words(largest);
  scratch.inflated = inflates ? Words(largest) : nullptr;
  const std::unique_ptr<uint64_t[]> tilePixels = Words(largest);
  if (!scratch.elements || !tilePixels || (inflates && !scratch.inflated)) {
    return Fail(Code::kRetriable, "no memory for a tile", -1, static_cast<int64_t>(largest) * 8, 0);
  }
  uint8_t* target = reinterpret_cast<uint8_t*>(tilePixels.get());
  for (int64_t tile = 0; tile < tiles; ++tile) {
    const TilePlace place = PlaceOf(image, tile);
    status = DecodeTile(image, data, bytes, tile, static_cast<size_t>(place.pixels), &scratch, target);
    if (!status.ok()) {
      status.offset = tile * image.rowBytes;
      return status;
    }
    Place(image, place, target, out);
  }
  return Ok();
}

size_t EncodedRowBound(TileCodec codec, int64_t rowPixels, int width, int blockSize) {
  const size_t n = static_cast<size_t>(rowPixels);
  return codec == TileCodec::kRice ? RiceMaxBytes(n, width, blockSize) : GzipBound(n * static_cast<size_t>(width));
}

Status EncodeRows(TileCodec codec, const uint8_t* in, size_t inBytes, int64_t rows, int64_t rowPixels, int width,
                  bool flipSign, int blockSize, int level, uint8_t* scratch, size_t scratchBytes, int64_t* lengths,
                  uint8_t* heap, size_t heapBytes, size_t* written) {
  *written = 0;
  if (width != 1 && width != 2 && width != 4 && width != 8) {
    return Fail(Code::kUsage, "an element has 1, 2, 4 or 8 bytes", -1, 0, width);
  }
  if (codec != TileCodec::kRice && codec != TileCodec::kGzip2) {
    return Fail(Code::kUsage, "images are written with RICE_1 or GZIP_2");
  }
  if (codec == TileCodec::kRice && width == 8) return Fail(Code::kUsage, "RICE_1 has no 64-bit integers");
  int64_t rowBytes = 0, total = 0;
  if (rows < 0 || rowPixels < 0 || __builtin_mul_overflow(rowPixels, int64_t{width}, &rowBytes) ||
      __builtin_mul_overflow(rows, rowBytes, &total) || static_cast<uint64_t>(total) > inBytes) {
    return Fail(Code::kUsage, "the array is shorter than its rows");
  }
  const size_t size = static_cast<size_t>(rowBytes), n = static_cast<size_t>(rowPixels);
  if (scratchBytes / 2 < size) return Fail(Code::kUsage, "the working memory is too small");
  uint8_t* stored = scratch;
  uint8_t* shuffled = scratch + size;
  for (int64_t row = 0; row < rows; ++row) {
    std::memcpy(stored, in + static_cast<size_t>(row) * size, size);
    if (flipSign) FlipSigns(stored, n, width);
    uint8_t* out = heap + *written;
    const size_t room = heapBytes - *written;
    size_t got = 0;
    Status status;
    if (codec == TileCodec::kGzip2) {
      ShuffleElements(stored, n, width, shuffled);
      status = GzipDeflate(shuffled, size, level, out, room, &got);
    } else if (width == 1) {
      status = RiceEncode8(reinterpret_cast<int8_t*>(stored), n, blockSize, out, room, &got);
    } else if (width == 2) {
      status = RiceEncode16(reinterpret_cast<int16_t*>(stored), n, blockSize, out, room, &got);
    } else {
      status = RiceEncode32(reinterpret_cast<int32_t*>(stored), n, blockSize, out, room, &got);
    }
    if (!status.ok()) return status;
    lengths[row] = static_cast<int64_t>(got);
    *written += got;
  }
  return Ok();
}

}  // namespace rampline
