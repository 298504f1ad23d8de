// What rice.cc (portable, careful) and rice_simd.cc (one copy for each CPU target, fast) share: the state of a batch of
// tiles and the functions that cross between them. Nothing else includes this.
//
// How the fast loops stay inside the tiles without a check for each pixel: they decode runs of at most kRun pixels, which
// move a lane by less than kNeed bytes, and start a run only while every lane has kNeed bytes left. A lane that comes
// closer to its end moves to a copy of its last bytes with zeros behind. Codes too long for one 64-bit window are found
// after the fact (the bits used exceed 64) and done again by the careful reader, which knows where the tile ends.
#pragma once

#include <cstddef>
#include <cstdint>

#include "native/core/status.h"

namespace rampline {

inline constexpr size_t kLanes = 64;  // tiles of a batch
inline constexpr size_t kRun = 32;    // pixels between two checks of the bounds
// A run loads at most one 16-byte window for each 4 pixels (two for each 64 bits at most), and reads 16 bytes ahead.
inline constexpr size_t kNeed = kRun / 4 * 16 + 32;
inline constexpr size_t kChunk = 256;  // pixels of all lanes at a time, so that they stay in the first-level cache

struct alignas(64) RiceBatch {
  uint64_t at[kLanes];              // address of a byte of the tile
  uint64_t bit[kLanes];             // the next bit, counted from there
  uint64_t limit[kLanes];           // a run may start up to this address
  uint64_t field[kLanes];           // bits of the field that starts a block: 5, 4, 3
  uint64_t raw[kLanes];             // fs that announces codes in full: 25, 14, 6
  uint64_t fs[kLanes];              // of the block in progress, as are the next five
  uint64_t fs1[kLanes];             // fs + 1, or 0 where the lane stands still
  uint64_t keep[kLanes];            // mask of the fs low bits
  uint64_t still[kLanes];           // top bit set where the lane stands still (a constant or raw block)
  uint64_t hi[kLanes], lo[kLanes];  // the 16 bytes from `at`
  uint32_t last[kLanes];            // the pixel before; its low 8 * bytepix bits count
  uint64_t end[kLanes];             // address behind the last byte
  uint64_t origin[kLanes];          // address that byte 0 of the tile would have
  int bytepix[kLanes];
  bool moved[kLanes];
  size_t tiles = 0;  // in use; the lanes up to the next multiple of 16 repeat tile 0
  uint8_t spare[kLanes][2 * kNeed];
};

// --- rice.cc: careful, one lane at a time. False when the tile ends before what was asked for.

bool RiceBegin(RiceBatch& batch, size_t lane, const uint8_t* data, size_t bytes, int bytepix);
// To be called when at > limit: moves the lane to its spare bytes, or says that the tile has ended.
bool RiceAttend(RiceBatch& batch, size_t lane);
// `n` codes with fs low bits each from the bit `bit`; leaves the lane behind them, attended, with a fresh window.
bool RiceCodes(RiceBatch& batch, size_t lane, uint64_t bit, uint64_t fs, size_t n, uint32_t* codes);
// `n` codes in full from the lane's next bit.
bool RiceRawCodes(RiceBatch& batch, size_t lane, size_t n, uint32_t* codes);
// True when the lane has not passed its last byte.
inline bool RiceWithin(const RiceBatch& batch, size_t lane) {
  return batch.at[lane] + (batch.bit[lane] + 7) / 8 <= batch.end[lane];
}

inline uint32_t RiceUnfold(uint32_t code) { return (code >> 1) ^ (0 - (code & 1)); }

// --- rice_simd.cc. The number of the lane that failed, or -1.

inline constexpr int kRiceNoFailure = -1;
// Whether the target of this machine decodes by lanes, so that it wants a scratch and at most kChunk pixels at a time.
bool RiceUsesChunks(size_t blockSize);
// Rows of the batch's tiles from their next pixel on. count <= kChunk, or any number where scratch is null.
int RiceRows32(RiceBatch& batch, size_t blockSize, size_t count, uint32_t* scratch, int32_t* out, size_t stride);
int RiceRows16(RiceBatch& batch, size_t blockSize, size_t count, uint32_t* scratch, uint16_t* out, size_t stride);
int RiceRows8(RiceBatch& batch, size_t blockSize, size_t count, uint8_t* out, size_t stride);

// Where a batch stands among the tiles of RiceLanes::DecodeReads.
struct RiceReads {
  size_t firstTile;  // number of the batch's tile 0
  uint16_t firstXor;
  uint16_t* average;  // count values: written by the batch with tile 0, read by the others
};
// `out` is the row of read 0.
int RiceReadRows(RiceBatch& batch, size_t blockSize, size_t count, uint32_t* scratch, const RiceReads& reads,
                 uint16_t* out, size_t stride);

// Encoders; the checks of the arguments are rice.cc's. Bytes written, or -1 when `capacity` is too small.
int64_t RiceEncodeFast(const int32_t* in, size_t n, size_t blockSize, uint8_t* out, size_t capacity);
int64_t RiceEncodeFast(const int16_t* in, size_t n, size_t blockSize, uint8_t* out, size_t capacity);
int64_t RiceEncodeFast(const int8_t* in, size_t n, size_t blockSize, uint8_t* out, size_t capacity);

}  // namespace rampline
