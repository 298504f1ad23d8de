// Tile-compressed images (FITS 4.0, section 10): a binary table whose rows are the tiles of an image.
#pragma once

#include <cstddef>
#include <cstdint>

#include "native/codec/quantize.h"
#include "native/core/status.h"

namespace rampline {

inline constexpr int kTileMaxAxes = 32;

enum class TileCodec : uint8_t { kRice = 0, kGzip1 = 1, kGzip2 = 2, kNone = 3 };

// A column of array descriptors; offset -1 where the table has none.
struct TileColumn {
  int64_t offset = -1;  // bytes from the row's start
  bool wide = false;    // Q instead of P
  int width = 1;        // bytes of an element
};

// A column of one number in each row.
struct ScalarColumn {
  int64_t offset = -1;
  char type = 'D';  // B, I, J, K, E or D
};

struct TileImage {
  TileCodec codec = TileCodec::kRice;
  int bitpix = 16;  // ZBITPIX
  int naxis = 0;
  int64_t axes[kTileMaxAxes] = {}, tile[kTileMaxAxes] = {};  // ZNAXISn, ZTILEn
  int64_t rows = 0, rowBytes = 0, heapOffset = 0;            // of the table
  TileColumn compressed, gzipped, uncompressed;
  ScalarColumn scaleColumn, zeroColumn, blankColumn;
  bool hasScale = false, hasZero = false, hasBlank = false;  // the keywords ZSCALE, ZZERO, ZBLANK
  double scale = 1, zero = 0;
  int64_t blank = 0;
  Dither dither = Dither::kNone;
  int64_t ditherSeed = 1;        // ZDITHER0
  bool lossless = false;         // ZQUANTIZ = 'NONE'
  int blockSize = 32;            // of Rice
  int bytesPerPixel = 4;         // of Rice
  double bscale = 1, bzero = 0;  // of floating-point images: combined with the tile's as cfitsio does it
  bool flipSign = false;         // integers: the unsigned convention
};

// Whether the image that the header describes can be in the bytes that are there: geometry within 64 bits, a row for every
// tile, descriptors within the heap and not claiming more than it holds, and no tile larger than its stream can inflate to.
// *pixels is the number of pixels. Nothing is allocated. kInput otherwise.
Status CheckTileImage(const TileImage& image, const uint8_t* data, size_t bytes, int64_t* pixels);

// Decodes all tiles to native-endian pixels: |bitpix| / 8 bytes each, integers with the unsigned convention applied,
// floating-point ones physical (NaN where blank). `data` is the table's data: rows, gap, heap. kInput when a stream is
// damaged or its size is not that of its tile; offset is then the byte of its row. Memory: 24 bytes for each pixel
// of a tile, and none of it where the tiles are rows of 16 or 32-bit integers in Rice.
Status DecodeTileImage(const TileImage& image, const uint8_t* data, size_t bytes, uint8_t* out, size_t outBytes);

// Room that EncodeRows may need for each row.
size_t EncodedRowBound(TileCodec codec, int64_t rowPixels, int width, int blockSize);

// Compresses an image whose tiles are its rows, losslessly: Rice for integers of 1, 2 or 4 bytes, GZIP_2 for elements of
// 1, 2, 4 or 8 bytes. `in` is native-endian; flipSign takes the unsigned convention back. lengths[i] and the streams one
// after another in `heap` are the result. `scratch` has at least rowPixels * width bytes twice.
Status EncodeRows(TileCodec codec, const uint8_t* in, size_t inBytes, int64_t rows, int64_t rowPixels, int width,
                  bool flipSign, int blockSize, int level, uint8_t* scratch, size_t scratchBytes, int64_t* lengths,
                  uint8_t* heap, size_t heapBytes, size_t* written);

}  // namespace rampline
