// Turns a fuzzer's bytes into a tile-compressed image: a few bytes of geometry and switches, the rest is the table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "native/codec/tile.h"

namespace rampline::fuzz {

inline constexpr size_t kTileParameters = 16;

// Geometry is kept small where size is not the point: every byte of the input should reach a decoder soon.
inline bool ReadTileInput(const uint8_t* in, size_t n, TileCodec codec, bool quantized, TileImage* image) {
  if (n < kTileParameters) return false;
  static constexpr int kBitpix[] = {8, 16, 32, 64, -32, -64};
  static constexpr int kBytepix[] = {1, 2, 4};
  static constexpr int kWidths[] = {1, 2, 4, 8};
  image->codec = codec;
  image->bitpix = quantized ? kBitpix[4 + in[0] % 2] : kBitpix[in[0] % 6];
  image->naxis = in[1] % 4;
  for (int i = 0; i < image->naxis; ++i) {
    image->axes[i] = i == 0 ? (in[2] | (in[3] & 3) << 8) : in[2 + i] % 16;
    image->tile[i] = i == 0 ? (in[5] & 128 ? image->axes[0] + (in[5] & 1) : 1 + in[5] % 64) : 1 + in[5 + i] % 8;
  }
  image->flipSign = in[8] & 1;
  image->compressed.wide = in[8] & 2;
  image->lossless = in[8] & 4;
  image->compressed.offset = 0;
  int64_t row = image->compressed.wide ? 16 : 8;
  if (in[8] & 8) {
    image->gzipped = {row, false, kWidths[in[9] % 4]};
    row += 8;
  }
  if (in[8] & 16) {
    image->uncompressed = {row, false, kWidths[in[9] / 4 % 4]};
    row += 8;
  }
  if (quantized) {
    image->hasScale = in[8] & 32;
    image->scale = 0.25 * in[10];
    image->zero = in[11] - 128.0;
    if (in[8] & 64) {
      image->scaleColumn = {row, 'E'};
      image->zeroColumn = {row + 4, 'D'};
      row += 12;
    }
    if (in[8] & 128) {
      image->blankColumn = {row, "BIJK"[in[9] / 16 % 4]};
      row += 8;
    }
    image->hasBlank = in[9] & 64;
    image->blank = -2147483647;
    image->bscale = in[9] & 128 ? 2 : 1;
    image->dither = static_cast<Dither>(in[12] % 3);
    image->ditherSeed = 1 + (in[13] | in[14] << 8) % kRandomCount;
  }
  image->bytesPerPixel = kBytepix[in[12] / 4 % 3];
  image->blockSize = in[15];
  image->rowBytes = row + (in[12] >> 7);
  const int64_t bytes = static_cast<int64_t>(n - kTileParameters);
  image->rows = in[4] % 32;
  image->heapOffset = image->rows * image->rowBytes;
  if (image->heapOffset > bytes) image->rows = bytes / image->rowBytes;
  if (in[12] & 64) image->heapOffset += in[13];
  return true;
}

// Decodes into a buffer of exactly the image's size, so that the sanitizer sees every byte beyond it.
inline int RunTile(const uint8_t* in, size_t n, TileCodec codec, bool quantized) {
  TileImage image;
  if (!ReadTileInput(in, n, codec, quantized, &image)) return 0;
  const uint8_t* data = in + kTileParameters;
  const size_t bytes = n - kTileParameters;
  int64_t pixels = 0;
  if (!CheckTileImage(image, data, bytes, &pixels).ok()) return 0;
  if (pixels > 1 << 18) return 0;  // time, not safety
  const size_t size =
      static_cast<size_t>(pixels) * static_cast<size_t>(image.bitpix < 0 ? -image.bitpix : image.bitpix) / 8;
  const std::unique_ptr<uint8_t[]> out(new uint8_t[size]);
  (void)DecodeTileImage(image, data, bytes, out.get(), size).ok();
  return 0;
}

}  // namespace rampline::fuzz
