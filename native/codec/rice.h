// The Rice coder of FITS tile compression (RICE_1): Rice, Yeh and Miller 1993; White, Greenfield, Pence and Tody, "Tiled
// image convention" (FITS Standard 4.0, section 10.4.1).
//
// A tile is a bit stream, most significant bit first: the first pixel in full (8 * bytepix bits), then blocks of
// `blockSize` pixels. A block starts with a field of 3, 4 or 5 bits (bytepix 1, 2, 4):
//   0            every pixel equals the one before the block
//   1 .. fsmax   pixels are codes of fs = field - 1 low bits: q zeros, a one, fs bits; code = (q << fs) | bits
//   fsmax + 1    pixels are codes of 8 * bytepix bits (fsmax is 6, 14, 25)
// A code is the difference from the pixel before, folded: 2d for d >= 0, -2d - 1 for d < 0. Sums wrap at the word size.
// The first difference is zero, because the first pixel is also the first of the first block.
//
// Decoders never read or write outside the two buffers they are given, whatever the bytes, and take time bounded by
// bytes + pixels. A stream that ends too early, or a field beyond fsmax + 1, is Code::kInput with the offset of the byte
// where the decoder stood. Bytes left over after the last pixel are accepted, as cfitsio accepts them (it writes
// warnings to its message stack and returns success); zero pixels need no bytes at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "native/core/status.h"

namespace rampline {

// Any block size from 1 to this is decoded and encoded. FITS files hold 16 or 32.
inline constexpr int kRiceMaxBlock = 1 << 20;

// One tile: `n` pixels from `inBytes` bytes. Signed types; the unsigned ones share the bits.
Status RiceDecode32(const uint8_t* in, size_t inBytes, int32_t* out, size_t n, int blockSize);
Status RiceDecode16(const uint8_t* in, size_t inBytes, int16_t* out, size_t n, int blockSize);
Status RiceDecode8(const uint8_t* in, size_t inBytes, int8_t* out, size_t n, int blockSize);

// An upper limit of what RiceEncode writes for `n` pixels of `bytepix` bytes.
size_t RiceMaxBytes(size_t n, int bytepix, int blockSize);
// Byte for byte what cfitsio's fits_rcomp, fits_rcomp_short and fits_rcomp_byte write. `*written` is 0 after an error.
// Code::kUsage when the output is too small or the block size is out of range. Reads n pixels, writes <= outCapacity.
Status RiceEncode32(const int32_t* in, size_t n, int blockSize, uint8_t* out, size_t outCapacity, size_t* written);
Status RiceEncode16(const int16_t* in, size_t n, int blockSize, uint8_t* out, size_t outCapacity, size_t* written);
Status RiceEncode8(const int8_t* in, size_t n, int blockSize, uint8_t* out, size_t outCapacity, size_t* written);

struct RiceTile {
  const uint8_t* data = nullptr;
  size_t bytes = 0;
  int bytepix = 4;  // 1, 2 or 4; tiles of different word sizes may be decoded together
};

struct RiceBatch;  // the state of up to 64 tiles, native/codec/rice_lanes.h

// Decodes many tiles of equal length side by side, a stretch of pixels at a time. With AVX-512 the tiles are the lanes
// of vectors; elsewhere two tiles are interleaved in scalar registers to hide the latency of one. Same pixels everywhere.
// One object for each thread; it keeps its memory (about 30 kB for each 64 tiles) from tile set to tile set.
class RiceLanes {
 public:
  RiceLanes();
  ~RiceLanes();
  RiceLanes(RiceLanes&&) noexcept;
  RiceLanes& operator=(RiceLanes&&) noexcept;

  // Starts at the first pixel of `tiles`, whose bytes must live until the last call of Decode*.
  Status Begin(std::span<const RiceTile> tiles, int blockSize);

  // Each of these writes the next `count` pixels of every tile t to out[t * stride + x], 0 <= x < count, and leaves the
  // rest of the row as it was. `count` must be a multiple of the block size but for the last call of a tile set.
  // Values are the low 32 or 16 bits of the pixels; a tile of 2 or 1 bytes is sign extended by Decode32 only.
  // After an error the contents of the rows are undefined and failedTile() names the tile.
  Status Decode32(int32_t* out, size_t stride, size_t count);
  Status Decode16(uint16_t* out, size_t stride, size_t count);

  // The source of an up-the-ramp cube stored as differences: tile 0 holds the average difference of consecutive reads,
  // tile 1 the first read, tile 2 + k the difference of reads k + 1 and k less the average. Writes for each read k in
  // 0 .. tiles - 2 the uint16 row out[k * stride + x]:
  //   read 0 = tile 1 ^ firstXor,   read k = read k-1 + tile 0 + tile k+1   (modulo 65536)
  // firstXor is 0x8000 where the first read is stored as signed 16-bit words with BZERO 32768, else 0.
  Status DecodeReads(uint16_t* out, size_t stride, size_t count, uint16_t firstXor);

  size_t tiles() const { return tiles_; }
  size_t failedTile() const { return failedTile_; }

 private:
  template <class Decode>
  Status Run(size_t count, Decode decode);

  std::vector<std::unique_ptr<RiceBatch>> batches_;
  std::vector<uint32_t> chunk_;
  std::vector<uint16_t> average_;
  size_t tiles_ = 0, failedTile_ = 0;
  int blockSize_ = 32;
};

// All `n` pixels of all tiles at once: RiceLanes with one call. `failedTile` may be null.
Status RiceBatchDecode32(std::span<const RiceTile> tiles, int blockSize, int32_t* out, size_t stride, size_t n,
                         size_t* failedTile);
Status RiceBatchDecode16(std::span<const RiceTile> tiles, int blockSize, uint16_t* out, size_t stride, size_t n,
                         size_t* failedTile);

}  // namespace rampline
