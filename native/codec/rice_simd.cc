// The fast loops of the Rice coder, compiled for each CPU target.
//
// Decoding a code is a chain: count the zeros, shift them and the rest of the code away, count again. One tile cannot
// keep a processor busy, so many are decoded side by side: with AVX-512 (vplzcntq, vprolvq) sixteen in two vectors of
// 64-bit windows, otherwise two in scalar registers.
//
// A window is the next 64 bits of a tile, top bit first. From one window S codes are taken without looking whether they
// fit; `used`, the bits taken, tells afterwards. When it exceeds the window the S codes of that lane are done again by
// the careful reader. S follows from the largest bit count fs among the lanes: noise needs about fs + 2.2 bits a code.
#include "native/codec/rice_lanes.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/codec/rice_simd.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <type_traits>

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// --- Scalar: rows of one tile, or of kAbreast tiles at a time.

// Three, for register names and the length of the chain balance there.
inline constexpr size_t kAbreast = 3;

HWY_INLINE uint64_t CountZeros(uint64_t word) {
#if HWY_ARCH_X86_64 && (HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3)
  // Highway takes a machine for AVX2 only when it has LZCNT, but does not let the compiler know.
  uint64_t zeros;
  asm("lzcnt %1, %0" : "=r"(zeros) : "r"(word) : "cc");
  return zeros;
#else
  return static_cast<uint64_t>(std::countl_zero(word));
#endif
}

HWY_INLINE uint64_t LoadWord(uint64_t at) {
  uint64_t word;
  std::memcpy(&word, reinterpret_cast<const void*>(at), 8);
  if constexpr (std::endian::native == std::endian::little) word = __builtin_bswap64(word);
  return word;
}

// Moves the lane's position to a byte, ready for a run. False at the end of the tile.
HWY_INLINE bool Ready(RiceBatch& batch, size_t lane) {
  batch.at[lane] += batch.bit[lane] >> 3;
  batch.bit[lane] &= 7;
  return HWY_LIKELY(batch.at[lane] <= batch.limit[lane]) || RiceAttend(batch, lane);
}

// The positions and bit counts of the tiles of a run, in registers.
template <size_t kTiles>
struct Cursors {
  uint64_t at[kTiles], bit[kTiles], fs[kTiles];
  uint32_t* codes[kTiles];
};

// S codes done again with care, since they did not fit the window. Whether the tile ended inside is asked at the end of
// the row.
HWY_NOINLINE void Redo(RiceBatch& batch, size_t lane, uint64_t& at, uint64_t& bit, uint64_t start, uint64_t fs,
                       size_t n, uint32_t* codes) {
  batch.at[lane] = at;
  static_cast<void>(RiceCodes(batch, lane, start, fs, n, codes));
  for (size_t i = 0; i < n; i++) codes[i] += uint32_t{1} << fs;
  at = batch.at[lane];
  bit = batch.bit[lane];
}

// Raises codes by 1 << fs (the leading one is kept: cheaper to take off in the vector loop of Undo).
template <size_t kTiles, size_t S>
HWY_INLINE void ScalarGroup(RiceBatch& batch, const size_t* lanes, Cursors<kTiles>& c) {
  uint64_t window[kTiles], used[kTiles], start[kTiles];
  for (size_t k = 0; k < kTiles; k++) {
    c.at[k] += c.bit[k] >> 3;
    start[k] = used[k] = c.bit[k] & 7;
    window[k] = LoadWord(c.at[k]) << start[k];
  }
#pragma GCC unroll 8
  for (size_t i = 0; i < S; i++) {
#pragma GCC unroll 8
    for (size_t k = 0; k < kTiles; k++) {
      const uint64_t zeros = CountZeros(window[k]);
      const uint64_t length = zeros + c.fs[k] + 1;
      c.codes[k][i] = static_cast<uint32_t>((window[k] >> ((0 - length) & 63)) + (zeros << (c.fs[k] & 63)));
      window[k] <<= length & 63;
      used[k] += length;
    }
  }
  for (size_t k = 0; k < kTiles; k++) {
    c.bit[k] = used[k];
    if (HWY_UNLIKELY(used[k] > 64)) Redo(batch, lanes[k], c.at[k], c.bit[k], start[k], c.fs[k], S, c.codes[k]);
    c.codes[k] += S;
  }
}

template <size_t kTiles>
HWY_INLINE void ScalarRun(RiceBatch& batch, const size_t* lanes, const uint64_t* fs, size_t n,
                          uint32_t (*codes)[kRun]) {
  Cursors<kTiles> c;
  uint64_t largest = 0;
  for (size_t k = 0; k < kTiles; k++) {
    c.at[k] = batch.at[lanes[k]];
    c.bit[k] = batch.bit[lanes[k]];
    c.fs[k] = fs[k];
    c.codes[k] = codes[k];
    largest = std::max(largest, fs[k]);
  }
  if (largest <= 3) {
    for (; n >= 8; n -= 8) ScalarGroup<kTiles, 8>(batch, lanes, c);
  } else if (largest <= 6) {
    for (; n >= 6; n -= 6) ScalarGroup<kTiles, 6>(batch, lanes, c);
  }
  if (largest <= 9) {
    for (; n >= 4; n -= 4) ScalarGroup<kTiles, 4>(batch, lanes, c);
  }
  for (; n >= 2; n -= 2) ScalarGroup<kTiles, 2>(batch, lanes, c);
  if (n >= 1) ScalarGroup<kTiles, 1>(batch, lanes, c);
  for (size_t k = 0; k < kTiles; k++) {
    batch.at[lanes[k]] = c.at[k];
    batch.bit[lanes[k]] = c.bit[k];
  }
}

// Codes less `raised` become pixels: unfolded, then summed along the row. Returns the last.
template <class T>
HWY_INLINE uint32_t Undo(const uint32_t* codes, size_t n, uint32_t raised, uint32_t last, T* out) {
  alignas(16) uint32_t pixels[kRun];
#if HWY_TARGET == HWY_SCALAR
  // Four words at a time in the compilers' own vectors, which any machine has in some form.
  using Four = uint32_t __attribute__((vector_size(16)));
  Four before = {last, last, last, last};
  for (size_t i = 0; i < n; i += 4) {
    Four code;
    std::memcpy(&code, codes + i, 16);
    code -= raised;
    Four sum = (code >> 1) ^ (0 - (code & 1));
    sum += __builtin_shufflevector(sum, Four{}, 4, 0, 1, 2);
    sum += __builtin_shufflevector(sum, Four{}, 4, 4, 0, 1);
    sum += before;
    before = __builtin_shufflevector(sum, sum, 3, 3, 3, 3);
    std::memcpy(pixels + i, &sum, 16);
  }
#else
  const hn::Full128<uint32_t> d;
  auto before = hn::Set(d, last);
  const auto one = hn::Set(d, 1);
  const auto offset = hn::Set(d, raised);
  for (size_t i = 0; i < n; i += 4) {
    const auto code = hn::Sub(hn::Load(d, codes + i), offset);
    auto sum = hn::Xor(hn::ShiftRight<1>(code), hn::Sub(hn::Zero(d), hn::And(code, one)));
    sum = hn::Add(sum, hn::ShiftLeftLanes<1>(d, sum));
    sum = hn::Add(sum, hn::ShiftLeftLanes<2>(d, sum));
    sum = hn::Add(sum, before);
    before = hn::Broadcast<3>(sum);
    hn::Store(sum, d, pixels + i);
  }
#endif
  for (size_t i = 0; i < n; i++) out[i] = static_cast<T>(pixels[i]);
  return n == 0 ? last : pixels[n - 1];
}

// The next `count` pixels of kTiles tiles. Returns the lane that failed.
//
// Codes are undone some runs after they were written: a vector load right after the narrow stores that it covers waits
// for all of them to reach the cache.
template <size_t kTiles, class T>
HWY_INLINE int Rows(RiceBatch& batch, const size_t* lanes, T* const* rows, size_t blockSize, size_t count) {
  constexpr size_t kRuns = 16;
  alignas(16) uint32_t codes[kRuns][kTiles][kRun];
  uint32_t raised[kRuns][kTiles];
  size_t length[kRuns], runs = 0, undone = 0;
  const auto undo = [&] {
    for (size_t k = 0; k < kTiles; k++) {
      uint32_t last = batch.last[lanes[k]];
      T* out = rows[k] + undone;
      for (size_t i = 0; i < runs; i++) {
        last = Undo(codes[i][k], length[i], raised[i][k], last, out);
        out += length[i];
      }
      batch.last[lanes[k]] = last;
    }
    for (size_t i = 0; i < runs; i++) undone += length[i];
    runs = 0;
  };
  for (size_t x = 0; x < count; x += blockSize) {
    const size_t n = std::min(blockSize, count - x);
    uint64_t fs[kTiles];
    bool plain = true;
    for (size_t k = 0; k < kTiles; k++) {
      const size_t lane = lanes[k];
      if (!Ready(batch, lane)) return static_cast<int>(lane);
      __builtin_prefetch(reinterpret_cast<const void*>(batch.at[lane] + 256));
      const uint64_t word = LoadWord(batch.at[lane]) << batch.bit[lane];
      fs[k] = (word >> (64 - batch.field[lane])) - 1;  // wraps to the largest number for a constant block
      if (HWY_UNLIKELY(fs[k] >= batch.raw[lane])) {
        plain = false;
        if (fs[k] > batch.raw[lane] && fs[k] != ~uint64_t{0}) return static_cast<int>(lane);
      }
      batch.bit[lane] += batch.field[lane];
    }
    for (size_t i = 0; i < n; i += kRun) {
      const size_t m = std::min(kRun, n - i);
      if (HWY_LIKELY(plain)) {
        for (size_t k = 0; k < kTiles && i > 0; k++) {
          if (!Ready(batch, lanes[k])) return static_cast<int>(lanes[k]);
        }
        ScalarRun<kTiles>(batch, lanes, fs, m, codes[runs]);
        for (size_t k = 0; k < kTiles; k++) raised[runs][k] = uint32_t{1} << fs[k];
      } else {
        for (size_t k = 0; k < kTiles; k++) {
          const size_t lane = lanes[k];
          raised[runs][k] = 0;
          if (fs[k] == ~uint64_t{0}) {
            std::fill_n(codes[runs][k], kRun, 0u);
          } else if (fs[k] == batch.raw[lane]) {
            if (!RiceRawCodes(batch, lane, m, codes[runs][k])) return static_cast<int>(lane);
          } else {
            if (!Ready(batch, lane)) return static_cast<int>(lane);
            ScalarRun<1>(batch, &lane, fs + k, m, codes[runs] + k);
            raised[runs][k] = uint32_t{1} << fs[k];
          }
        }
      }
      length[runs++] = m;
      if (runs == kRuns) undo();
    }
  }
  undo();
  for (size_t k = 0; k < kTiles; k++) {
    if (!RiceWithin(batch, lanes[k])) return static_cast<int>(lanes[k]);
  }
  return kRiceNoFailure;
}

// rowOf(tile) is where the tile's pixels go.
template <class T, class RowOf>
HWY_INLINE int AllRows(RiceBatch& batch, size_t blockSize, size_t count, RowOf rowOf) {
  size_t tile = 0;
  for (; tile + kAbreast <= batch.tiles; tile += kAbreast) {
    size_t lanes[kAbreast];
    T* rows[kAbreast];
    for (size_t k = 0; k < kAbreast; k++) {
      lanes[k] = tile + k;
      rows[k] = rowOf(tile + k);
    }
    if (const int failed = Rows<kAbreast>(batch, lanes, rows, blockSize, count); failed >= 0) return failed;
  }
  for (; tile < batch.tiles; tile++) {
    T* const row = rowOf(tile);
    if (const int failed = Rows<1>(batch, &tile, &row, blockSize, count); failed >= 0) return failed;
  }
  return kRiceNoFailure;
}

// 2-byte and 1-byte tiles carry their sign into int32 rows.
HWY_INLINE void Extend(int bytepix, int32_t* row, size_t n) {
  if (bytepix == 2) {
    for (size_t i = 0; i < n; i++) row[i] = static_cast<int16_t>(row[i]);
  } else if (bytepix == 1) {
    for (size_t i = 0; i < n; i++) row[i] = static_cast<int8_t>(row[i]);
  }
}

#if HWY_TARGET == HWY_AVX3

// --- AVX-512: lanes are tiles. Chunks of pixels are laid out [pixel][lane], or, where 16 bits are enough,
// [pair of pixels][lane][2]; they are turned into rows from the first-level cache.

using D64 = hn::Full512<uint64_t>;
using D32 = hn::Full512<uint32_t>;
using V64 = hn::Vec<D64>;
using V32 = hn::Vec<D32>;

// Every AVX-512 processor but the first Xeon Phi pairs F, BW, DQ and VL (which Highway asks for) with CD.
HWY_INLINE V64 LeadingZeros(V64 v) {
  V64 zeros;
  asm("vplzcntq %1, %0" : "=v"(zeros.raw) : "v"(v.raw));
  return zeros;
}
HWY_INLINE V64 Rotate(V64 v, V64 left) { return V64{_mm512_rolv_epi64(v.raw, left.raw)}; }

HWY_INLINE uint64_t Bits(hn::Mask<D64> mask) { return mask.raw; }

HWY_INLINE V64 Big(V64 v) {
  const hn::Repartition<uint8_t, D64> d8;
  alignas(16) static constexpr uint8_t kOrder[16] = {7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8};
  return hn::BitCast(D64(), hn::TableLookupBytes(hn::BitCast(d8, v), hn::LoadDup128(d8, kOrder)));
}

// 16 bytes from each of 8 addresses. Plain loads are faster than gathers: 16 bytes serve two windows, and gathers are
// slow on AMD's processors and on those Intel ones that are patched against "Downfall".
HWY_INLINE void LoadWindows(const uint64_t* at, V64& hi, V64& lo) {
  const auto load = [&](int lane) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(at[lane])); };
  const auto four = [&](int lane) {
    const __m256i a = _mm256_inserti128_si256(_mm256_castsi128_si256(load(lane)), load(lane + 2), 1);
    const __m256i b = _mm256_inserti128_si256(_mm256_castsi128_si256(load(lane + 4)), load(lane + 6), 1);
    return V64{_mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1)};
  };
  const V64 even = four(0), odd = four(1);
  hi = Big(hn::InterleaveLower(D64(), even, odd));
  lo = Big(hn::InterleaveUpper(D64(), even, odd));
}

template <bool kPairs>
HWY_INLINE void PutPixel(uint32_t* chunk, size_t lanes, size_t x, size_t lane, uint32_t pixel) {
  if (kPairs) {
    reinterpret_cast<uint16_t*>(chunk)[(x / 2 * lanes + lane) * 2 + (x & 1)] = static_cast<uint16_t>(pixel);
  } else {
    chunk[x * lanes + lane] = pixel;
  }
}

// Where a group of codes takes its bits from.
enum class From {
  kHeader,  // the window that the block's header was read from
  kMemory,  // a fresh window: the first 64 of 128 bits
  kRest,    // the 64 bits behind the ones that the group before used
};

// S codes of each of 16 lanes from `lane` on become the S pixels from chunk row x on.
template <bool kPairs, size_t S, From kFrom>
HWY_INLINE void Group(RiceBatch& batch, size_t lane, size_t lanes, uint32_t* chunk, size_t x) {
  const D64 d64;
  const D32 d32;
  const V64 all = hn::Set(d64, 64);
  V64 window[2], used[2], start[2], before[2], fs[2], fs1[2], keep[2];
  for (size_t v = 0; v < 2; v++) {
    const size_t l = lane + 8 * v;
    const V64 bit = hn::Load(d64, batch.bit + l);
    if (kFrom == From::kRest) {
      // A shift by 64 gives 0 here; a lane beyond its window reads 0, overflows, and is done again.
      const V64 hi = hn::Load(d64, batch.hi + l), lo = hn::Load(d64, batch.lo + l);
      window[v] = hn::Or(V64{_mm512_sllv_epi64(hi.raw, bit.raw)}, V64{_mm512_srlv_epi64(lo.raw, (all - bit).raw)});
      before[v] = bit;
      start[v] = hn::Zero(d64);
    } else if (kFrom == From::kHeader) {
      window[v] = Rotate(hn::Load(d64, batch.hi + l), bit);
      before[v] = hn::Zero(d64);
      start[v] = bit;
    } else {
      hn::Store(hn::Load(d64, batch.at + l) + hn::ShiftRight<3>(bit), d64, batch.at + l);
      V64 hi, lo;
      LoadWindows(batch.at + l, hi, lo);
      hn::Store(hi, d64, batch.hi + l);
      hn::Store(lo, d64, batch.lo + l);
      start[v] = hn::And(bit, hn::Set(d64, 7));
      window[v] = Rotate(hi, start[v]);
      before[v] = hn::Zero(d64);
    }
    // The top bit makes a code of no bits, and value 0, in the lanes that stand still.
    window[v] = hn::Or(window[v], hn::Load(d64, batch.still + l));
    used[v] = start[v];
    fs[v] = hn::Load(d64, batch.fs + l);
    fs1[v] = hn::Load(d64, batch.fs1 + l);
    keep[v] = hn::Load(d64, batch.keep + l);
  }
  const V32 first = hn::Load(d32, batch.last + lane);
  V32 last = first, even = first;
  HWY_UNROLL(8)
  for (size_t i = 0; i < S; i++) {
    V64 code[2];
    for (size_t v = 0; v < 2; v++) {
      const V64 zeros = LeadingZeros(window[v]);
      const V64 length = zeros + fs1[v];
      // Rotated instead of shifted: the fs low bits of the code are now the lowest of the window.
      window[v] = Rotate(window[v], length);
      used[v] = used[v] + length;
      code[v] = hn::OrAnd(V64{_mm512_sllv_epi64(zeros.raw, fs[v].raw)}, window[v], keep[v]);
    }
    const V32 folded = hn::ConcatEven(d32, hn::BitCast(d32, code[1]), hn::BitCast(d32, code[0]));
    const V32 sign = hn::Zero(d32) - hn::And(folded, hn::Set(d32, 1));
    last = last + hn::Xor(hn::ShiftRight<1>(folded), sign);
    if (!kPairs) {
      hn::Store(last, d32, chunk + (x + i) * lanes + lane);
    } else if (i % 2 == 0) {
      even = last;
    } else {
      const hn::Repartition<uint16_t, D32> d16;
      hn::Store(hn::BitCast(d32, hn::OddEven(hn::BitCast(d16, hn::ShiftLeft<16>(last)), hn::BitCast(d16, even))), d32,
                chunk + (x + i) / 2 * lanes + lane);
    }
  }
  const auto over0 = used[0] > all, over1 = used[1] > all;
  for (size_t v = 0; v < 2; v++) hn::Store(before[v] + used[v], d64, batch.bit + lane + 8 * v);
  hn::Store(last, d32, batch.last + lane);
  if (HWY_UNLIKELY(!hn::AllFalse(d64, hn::Or(over0, over1)))) {
    alignas(64) uint64_t bits[16];
    alignas(64) uint32_t pixels[16];
    for (size_t v = 0; v < 2; v++) hn::Store(before[v] + start[v], d64, bits + 8 * v);
    hn::Store(first, d32, pixels);
    uint32_t over = static_cast<uint32_t>(Bits(over0) | Bits(over1) << 8);
    for (; over != 0; over &= over - 1) {
      const size_t l = static_cast<size_t>(std::countr_zero(over));
      uint32_t codes[S];
      // Whether the tile ended inside is asked at the end of the chunk.
      static_cast<void>(RiceCodes(batch, lane + l, bits[l], batch.fs[lane + l], S, codes));
      uint32_t pixel = pixels[l];
      for (size_t i = 0; i < S; i++) {
        pixel += RiceUnfold(codes[i]);
        PutPixel<kPairs>(chunk, lanes, x + i, lane + l, pixel);
      }
      batch.last[lane + l] = pixel;
    }
  }
}

template <bool kPairs, size_t S, From kFrom>
HWY_INLINE void Groups(RiceBatch& batch, size_t lanes, uint32_t* chunk, size_t& x) {
  for (size_t lane = 0; lane < lanes; lane += 16) Group<kPairs, S, kFrom>(batch, lane, lanes, chunk, x);
  x += S;
}

// All pixels of a block but the last odd one, S at a time while they last.
template <bool kPairs, size_t S>
HWY_NOINLINE size_t Block(RiceBatch& batch, size_t lanes, uint32_t* chunk, size_t x, size_t n) {
  const size_t end = x + n;
  bool rest = true;
  if (n >= S)
    Groups<kPairs, S, From::kHeader>(batch, lanes, chunk, x);
  else if (n >= 2)
    Groups<kPairs, 2, From::kHeader>(batch, lanes, chunk, x);
  for (; x + S <= end; rest = !rest) {
    if (rest)
      Groups<kPairs, S, From::kRest>(batch, lanes, chunk, x);
    else
      Groups<kPairs, S, From::kMemory>(batch, lanes, chunk, x);
  }
  for (; x + 2 <= end; rest = !rest) {
    if (rest)
      Groups<kPairs, 2, From::kRest>(batch, lanes, chunk, x);
    else
      Groups<kPairs, 2, From::kMemory>(batch, lanes, chunk, x);
  }
  return x;
}

// Block headers of 8 lanes: the fields, the window behind them. Returns the largest fs of the lanes that move; sets the
// bits of `raw`, `bad` (of 8).
HWY_INLINE V64 Header(RiceBatch& batch, size_t lane, uint64_t& raw, uint64_t& bad) {
  const D64 d;
  const V64 one = hn::Set(d, 1);
  V64 hi, lo;
  LoadWindows(batch.at + lane, hi, lo);
  // The next block or two, or the start of the row behind: nearly fifty streams are too many for a processor to foresee.
  for (size_t l = 0; l < 8; l++) __builtin_prefetch(reinterpret_cast<const void*>(batch.at[lane + l] + 256));
  const V64 bit = hn::Load(d, batch.bit + lane), field = hn::Load(d, batch.field + lane);
  const V64 rawFs = hn::Load(d, batch.raw + lane);
  V64 fs = ((hi << bit) >> (hn::Set(d, 64) - field)) - one;
  const auto constant = fs == hn::Set(d, ~uint64_t{0});
  const auto full = fs == rawFs;
  const auto standing = hn::Or(constant, full);
  bad = Bits(hn::AndNot(standing, fs > rawFs));
  raw = Bits(full);
  fs = hn::IfThenZeroElse(standing, fs);
  hn::Store(hi, d, batch.hi + lane);
  hn::Store(lo, d, batch.lo + lane);
  hn::Store(bit + field, d, batch.bit + lane);
  hn::Store(fs, d, batch.fs + lane);
  hn::Store(hn::IfThenZeroElse(standing, fs + one), d, batch.fs1 + lane);
  hn::Store(hn::IfThenElseZero(standing, hn::Set(d, uint64_t{1} << 63)), d, batch.still + lane);
  hn::Store((one << fs) - one, d, batch.keep + lane);
  return fs;
}

// count <= kChunk pixels of all lanes into the chunk. blockSize <= kRun.
template <bool kPairs>
HWY_NOINLINE int Chunk(RiceBatch& batch, size_t blockSize, size_t count, uint32_t* chunk) {
  const D64 d;
  const size_t lanes = (batch.tiles + 15) / 16 * 16;
  for (size_t x = 0; x < count; x += blockSize) {
    const size_t n = std::min(blockSize, count - x);
    V64 largest = hn::Zero(d);
    uint64_t raw = 0, bad = 0;
    for (size_t lane = 0; lane < lanes; lane += 8) {
      const V64 bit = hn::Load(d, batch.bit + lane);
      const V64 at = hn::Load(d, batch.at + lane) + hn::ShiftRight<3>(bit);
      hn::Store(at, d, batch.at + lane);
      hn::Store(hn::And(bit, hn::Set(d, 7)), d, batch.bit + lane);
      uint64_t near = Bits(at > hn::Load(d, batch.limit + lane));
      for (; HWY_UNLIKELY(near != 0); near &= near - 1) {
        const size_t l = lane + static_cast<size_t>(std::countr_zero(near));
        if (!RiceAttend(batch, l)) return static_cast<int>(l < batch.tiles ? l : 0);
      }
    }
    for (size_t lane = 0; lane < lanes; lane += 8) {
      uint64_t raw8, bad8;
      largest = hn::Max(largest, Header(batch, lane, raw8, bad8));
      raw |= raw8 << lane;
      bad |= bad8 << lane;
    }
    if (HWY_UNLIKELY(bad != 0)) {
      const size_t l = static_cast<size_t>(std::countr_zero(bad));
      return static_cast<int>(l < batch.tiles ? l : 0);
    }
    const uint64_t fs = hn::GetLane(hn::MaxOfLanes(d, largest));
    alignas(64) uint32_t before[kLanes];
    if (HWY_UNLIKELY(raw != 0)) std::memcpy(before, batch.last, sizeof(before));
    size_t done;
    if (fs <= 3)
      done = Block<kPairs, 8>(batch, lanes, chunk, x, n);
    else if (fs <= 6)
      done = Block<kPairs, 6>(batch, lanes, chunk, x, n);
    else if (fs <= 9)
      done = Block<kPairs, 4>(batch, lanes, chunk, x, n);
    else
      done = Block<kPairs, 2>(batch, lanes, chunk, x, n);
    for (; done < x + n; done++) {
      for (size_t lane = 0; lane < lanes; lane++) {
        uint32_t code = 0;
        if (batch.still[lane] == 0) {
          static_cast<void>(RiceCodes(batch, lane, batch.bit[lane], batch.fs[lane], 1, &code));
        }
        batch.last[lane] += RiceUnfold(code);
        PutPixel<kPairs>(chunk, lanes, done, lane, batch.last[lane]);
      }
    }
    for (; HWY_UNLIKELY(raw != 0); raw &= raw - 1) {
      const size_t lane = static_cast<size_t>(std::countr_zero(raw));
      uint32_t codes[kRun];
      if (!RiceRawCodes(batch, lane, n, codes)) return static_cast<int>(lane < batch.tiles ? lane : 0);
      uint32_t pixel = before[lane];
      for (size_t i = 0; i < n; i++) {
        pixel += RiceUnfold(codes[i]);
        PutPixel<kPairs>(chunk, lanes, x + i, lane, pixel);
      }
      batch.last[lane] = pixel;
    }
  }
  for (size_t lane = 0; lane < batch.tiles; lane++) {
    if (!RiceWithin(batch, lane)) return static_cast<int>(lane);
  }
  return kRiceNoFailure;
}

// 16 rows of 16 words, `stride` apart, turned about.
HWY_INLINE void Transpose(const uint32_t* from, size_t stride, V32* to) {
  const D32 d;
  const D64 d64;
  V32 r[16], t[16];
  for (size_t i = 0; i < 16; i++) r[i] = hn::Load(d, from + i * stride);
  for (size_t i = 0; i < 16; i += 2) {
    t[i] = hn::InterleaveLower(d, r[i], r[i + 1]);
    t[i + 1] = hn::InterleaveUpper(d, r[i], r[i + 1]);
  }
  for (size_t i = 0; i < 16; i += 4) {
    for (size_t j = 0; j < 2; j++) {
      const V64 a = hn::BitCast(d64, t[i + j]), b = hn::BitCast(d64, t[i + 2 + j]);
      r[i + 2 * j] = hn::BitCast(d, hn::InterleaveLower(d64, a, b));
      r[i + 2 * j + 1] = hn::BitCast(d, hn::InterleaveUpper(d64, a, b));
    }
  }
  // r[4 * i + j], 128-bit part p: word j + 4 * p of the rows 4 * i to 4 * i + 3.
  for (size_t j = 0; j < 4; j++) {
    const __m512i a = _mm512_shuffle_i32x4(r[j].raw, r[4 + j].raw, 0x88);
    const __m512i b = _mm512_shuffle_i32x4(r[8 + j].raw, r[12 + j].raw, 0x88);
    const __m512i e = _mm512_shuffle_i32x4(r[j].raw, r[4 + j].raw, 0xDD);
    const __m512i f = _mm512_shuffle_i32x4(r[8 + j].raw, r[12 + j].raw, 0xDD);
    to[j] = V32{_mm512_shuffle_i32x4(a, b, 0x88)};
    to[j + 8] = V32{_mm512_shuffle_i32x4(a, b, 0xDD)};
    to[j + 4] = V32{_mm512_shuffle_i32x4(e, f, 0x88)};
    to[j + 12] = V32{_mm512_shuffle_i32x4(e, f, 0xDD)};
  }
}

template <class T>
HWY_INLINE void StorePixels(V32 pixels, T* row, size_t n) {
  if (HWY_LIKELY(n >= 64 / sizeof(T))) {
    hn::StoreU(pixels, D32(), reinterpret_cast<uint32_t*>(row));
  } else {
    alignas(64) uint32_t words[16];
    hn::Store(pixels, D32(), words);
    std::memcpy(row, words, n * sizeof(T));
  }
}

template <class T>
int LaneRows(RiceBatch& batch, size_t blockSize, size_t count, uint32_t* chunk, T* out, size_t stride) {
  constexpr bool kPairs = sizeof(T) == 2;
  constexpr size_t kWide = 64 / sizeof(T);
  const int failed = Chunk<kPairs>(batch, blockSize, count, chunk);
  if (failed >= 0) return failed;
  const size_t lanes = (batch.tiles + 15) / 16 * 16;
  for (size_t x = 0; x < count; x += kWide) {
    for (size_t lane = 0; lane < batch.tiles; lane += 16) {
      V32 rows[16];
      Transpose(chunk + x / (kPairs ? 2 : 1) * lanes + lane, lanes, rows);
      for (size_t l = 0; l < std::min<size_t>(16, batch.tiles - lane); l++) {
        StorePixels(rows[l], out + (lane + l) * stride + x, count - x);
      }
    }
  }
  return kRiceNoFailure;
}

// Worth it from a few tiles on.
HWY_INLINE bool UseLanes(const RiceBatch& batch, const uint32_t* chunk) { return chunk != nullptr && batch.tiles >= 4; }

#endif  // HWY_AVX3

bool UsesChunks([[maybe_unused]] size_t blockSize) {
#if HWY_TARGET == HWY_AVX3
  static const bool conflictDetection = __builtin_cpu_supports("avx512cd") != 0;
  return (blockSize == 16 || blockSize == 32) && conflictDetection;
#else
  return false;
#endif
}

int Rows32(RiceBatch& batch, size_t blockSize, size_t count, [[maybe_unused]] uint32_t* scratch, int32_t* out,
           size_t stride) {
  int failed = kRiceNoFailure;
#if HWY_TARGET == HWY_AVX3
  if (UseLanes(batch, scratch)) {
    failed = LaneRows(batch, blockSize, count, scratch, out, stride);
  } else
#endif
    failed = AllRows<int32_t>(batch, blockSize, count, [&](size_t tile) { return out + tile * stride; });
  if (failed < 0) {
    for (size_t tile = 0; tile < batch.tiles; tile++) Extend(batch.bytepix[tile], out + tile * stride, count);
  }
  return failed;
}

int Rows16(RiceBatch& batch, size_t blockSize, size_t count, [[maybe_unused]] uint32_t* scratch, uint16_t* out,
           size_t stride) {
#if HWY_TARGET == HWY_AVX3
  if (UseLanes(batch, scratch)) return LaneRows(batch, blockSize, count, scratch, out, stride);
#endif
  return AllRows<uint16_t>(batch, blockSize, count, [&](size_t tile) { return out + tile * stride; });
}

int Rows8(RiceBatch& batch, size_t blockSize, size_t count, uint8_t* out, size_t stride) {
  return AllRows<uint8_t>(batch, blockSize, count, [&](size_t tile) { return out + tile * stride; });
}

int ReadRows(RiceBatch& batch, size_t blockSize, size_t count, [[maybe_unused]] uint32_t* scratch,
             const RiceReads& reads, uint16_t* out, size_t stride) {
#if HWY_TARGET == HWY_AVX3
  if (UseLanes(batch, scratch)) {
    const int failed = Chunk<true>(batch, blockSize, count, scratch);
    if (failed >= 0) return failed;
    const hn::Repartition<uint16_t, D32> d16;
    const size_t lanes = (batch.tiles + 15) / 16 * 16;
    for (size_t x = 0; x < count; x += 32) {
      auto average = hn::Zero(d16), sum = average;
      if (reads.firstTile > 0) {
        const size_t bytes = 2 * std::min<size_t>(32, count - x);
        std::memcpy(&average, reads.average + x, bytes);
        std::memcpy(&sum, out + (reads.firstTile - 2) * stride + x, bytes);
      }
      for (size_t lane = 0; lane < batch.tiles; lane += 16) {
        V32 rows[16];
        Transpose(scratch + x / 2 * lanes + lane, lanes, rows);
        const size_t n = std::min<size_t>(16, batch.tiles - lane);
        for (size_t l = 0; l < n; l++) {
          const auto pixels = hn::BitCast(d16, rows[l]);
          const size_t tile = reads.firstTile + lane + l;
          if (HWY_UNLIKELY(tile < 2)) {
            if (tile == 0) {
              average = pixels;
              StorePixels(rows[l], reads.average + x, count - x);
              continue;
            }
            sum = hn::Xor(pixels, hn::Set(d16, reads.firstXor));
          } else {
            sum = sum + (average + pixels);
          }
          StorePixels(hn::BitCast(D32(), sum), out + (tile - 1) * stride + x, count - x);
        }
      }
    }
    return kRiceNoFailure;
  }
#endif
  const int failed = AllRows<uint16_t>(batch, blockSize, count, [&](size_t tile) {
    const size_t number = reads.firstTile + tile;
    return number == 0 ? reads.average : out + (number - 1) * stride;
  });
  if (failed >= 0) return failed;
  for (size_t tile = 0; tile < batch.tiles; tile++) {
    const size_t number = reads.firstTile + tile;
    if (number == 0) continue;
    uint16_t* HWY_RESTRICT row = out + (number - 1) * stride;
    const uint16_t* HWY_RESTRICT average = reads.average;
    if (number == 1) {
      for (size_t x = 0; x < count; x++) row[x] = static_cast<uint16_t>(row[x] ^ reads.firstXor);
    } else {
      const uint16_t* HWY_RESTRICT before = row - stride;
      for (size_t x = 0; x < count; x++) row[x] = static_cast<uint16_t>(row[x] + before[x] + average[x]);
    }
  }
  return kRiceNoFailure;
}

// --- The encoder.

// Bits, most significant first. `Fast` writes 8 bytes at a time and needs room for them; `Slow` checks each byte.
class BitWriter {
 public:
  BitWriter(uint8_t* out, size_t capacity) : out_(out), begin_(out), end_(out + capacity) {}

  // Bits that whole free bytes can take, besides the pending ones.
  HWY_INLINE uint64_t Room() const { return out_ == end_ ? 0 : static_cast<uint64_t>(end_ - out_) * 8 - used_; }

  // bits <= 56. Without a check of the room.
  HWY_INLINE void Fast(uint64_t value, uint64_t bits) {
    used_ += bits;
    held_ |= value << (64 - used_);
    uint64_t word = held_;
    if constexpr (std::endian::native == std::endian::little) word = __builtin_bswap64(word);
    std::memcpy(out_, &word, 8);
    out_ += used_ >> 3;
    held_ <<= used_ & ~uint64_t{7};
    used_ &= 7;
  }

  // False when there is no room.
  bool Slow(uint64_t value, uint64_t bits) {
    for (; bits > 0; bits--) {
      held_ |= (value >> (bits - 1) & 1) << (63 - used_);
      if (++used_ == 8 && !FlushByte()) return false;
    }
    return true;
  }
  bool Zeros(uint64_t bits) {
    for (; bits > 32; bits -= 32) {
      if (!Slow(0, 32)) return false;
    }
    return Slow(0, bits);
  }

  int64_t End() {
    if (used_ > 0 && !FlushByte()) return -1;
    return out_ - begin_;
  }

 private:
  bool FlushByte() {
    if (out_ == end_) return false;
    *out_++ = static_cast<uint8_t>(held_ >> 56);
    held_ = 0;
    used_ = 0;
    return true;
  }

  uint8_t *out_, *begin_, *end_;
  uint64_t held_ = 0, used_ = 0;  // pending bits, left aligned; fewer than 8 between calls
};

template <class T>
struct Format;
template <>
struct Format<int32_t> {
  static constexpr uint64_t kField = 5, kRawFs = 25, kBits = 32;
};
template <>
struct Format<int16_t> {
  static constexpr uint64_t kField = 4, kRawFs = 14, kBits = 16;
};
template <>
struct Format<int8_t> {
  static constexpr uint64_t kField = 3, kRawFs = 6, kBits = 8;
};

// Differences of n <= kRun pixels to the ones before them, in[-1] for the first, folded; returns their sum. The
// difference wraps at the word. One loop, and of fixed length where it can be: the compiler makes vectors of it.
template <class T>
HWY_INLINE uint64_t FoldSome(const T* in, size_t n, uint32_t* codes) {
  using U = std::make_unsigned_t<T>;
  std::conditional_t<sizeof(T) == 4, uint64_t, uint32_t> sum = 0;
  for (size_t i = 0; i < n; i++) {
    const T difference =
        static_cast<T>(static_cast<U>(static_cast<U>(in[i]) - static_cast<U>(in[static_cast<ptrdiff_t>(i) - 1])));
    codes[i] = static_cast<U>(static_cast<U>(static_cast<U>(difference) << 1) ^
                              static_cast<U>(difference >> (8 * sizeof(T) - 1)));
    sum += codes[i];
  }
  return sum;
}
template <class T>
HWY_INLINE uint64_t Fold(const T* in, size_t n, bool start, uint32_t* codes) {
  if (HWY_UNLIKELY(start)) {  // nothing lies before the first pixel of a tile; its difference is zero
    codes[0] = 0;
    return FoldSome(in + 1, n - 1, codes + 1);
  }
#if HWY_TARGET != HWY_SCALAR
  if constexpr (sizeof(T) == 4) {
    if (HWY_LIKELY(n == kRun)) {
      const hn::CappedTag<int32_t, 8> d;
      const hn::RebindToUnsigned<decltype(d)> du;
      const hn::Repartition<uint64_t, decltype(d)> d64;
      auto sum = hn::Zero(d64);
      for (size_t i = 0; i < kRun; i += hn::Lanes(d)) {
        const auto difference = hn::Sub(hn::LoadU(d, in + i), hn::LoadU(d, in + static_cast<ptrdiff_t>(i) - 1));
        const auto folded = hn::Xor(hn::ShiftLeft<1>(difference), hn::ShiftRight<31>(difference));
        hn::Store(hn::BitCast(du, folded), du, codes + i);
        const auto wide = hn::BitCast(d64, folded);
        sum = hn::Add(sum, hn::Add(hn::And(wide, hn::Set(d64, 0xFFFFFFFF)), hn::ShiftRight<32>(wide)));
      }
      return hn::GetLane(hn::SumOfLanes(d64, sum));
    }
  }
#endif
  return HWY_LIKELY(n == kRun) ? FoldSome(in, kRun, codes) : FoldSome(in, n, codes);
}

template <class T>
HWY_INLINE int64_t Encode(const T* in, size_t n, size_t blockSize, uint8_t* out, size_t capacity) {
  using F = Format<T>;
  using U = std::make_unsigned_t<T>;
  BitWriter writer(out, capacity);
  if (!writer.Slow(static_cast<U>(in[0]), F::kBits)) return -1;
  alignas(64) uint32_t codes[kRun];
  for (size_t x = 0; x < n; x += blockSize) {
    const size_t count = std::min(blockSize, n - x);
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i += kRun) {
      sum += Fold(in + x + i, std::min(kRun, count - i), x + i == 0, codes);
    }
    // The bit count of cfitsio's fits_rcomp: half the mean of the codes, less a rounding term, in double precision.
    double mean = (static_cast<double>(sum) - static_cast<double>(count / 2) - 1) / static_cast<double>(count);
    if (mean < 0) mean = 0;
    const uint64_t fs = static_cast<uint64_t>(std::bit_width(static_cast<uint32_t>(mean) >> 1));
    const bool raw = fs >= F::kRawFs, constant = sum == 0;
    const uint64_t bits = F::kField + (constant ? 0 : raw ? count * F::kBits : count * (fs + 1) + (sum >> fs));
    const bool room = bits + 72 <= writer.Room();  // and 8 bytes that Fast may write too many
    if (!writer.Slow(constant ? 0 : raw ? F::kRawFs + 1 : fs + 1, F::kField)) return -1;
    if (constant) continue;
    for (size_t i = 0; i < count; i += kRun) {
      const size_t m = std::min(kRun, count - i);
      if (count > kRun) Fold(in + x + i, m, x + i == 0, codes);
      if (raw) {
        for (size_t j = 0; j < m; j++) {
          if (room)
            writer.Fast(codes[j], F::kBits);
          else if (!writer.Slow(codes[j], F::kBits))
            return -1;
        }
        continue;
      }
      const uint64_t one = uint64_t{1} << fs;
      for (size_t j = 0; j < m;) {
        const uint64_t zeros = codes[j] >> fs;
        if (HWY_LIKELY(room && j + 2 <= m)) {
          const uint64_t zeros1 = codes[j + 1] >> fs;
          const uint64_t length = zeros + fs + 1, length1 = zeros1 + fs + 1;
          if (HWY_LIKELY(length + length1 <= 56)) {
            const uint64_t code = one | (codes[j] & (one - 1)), code1 = one | (codes[j + 1] & (one - 1));
            writer.Fast(code << length1 | code1, length + length1);
            j += 2;
            continue;
          }
        }
        if (!writer.Zeros(zeros) || !writer.Slow(one | (codes[j] & (one - 1)), fs + 1)) return -1;
        j++;
      }
    }
  }
  return writer.End();
}

int64_t Encode32(const int32_t* in, size_t n, size_t blockSize, uint8_t* out, size_t capacity) {
  return Encode(in, n, blockSize, out, capacity);
}
int64_t Encode16(const int16_t* in, size_t n, size_t blockSize, uint8_t* out, size_t capacity) {
  return Encode(in, n, blockSize, out, capacity);
}
int64_t Encode8(const int8_t* in, size_t n, size_t blockSize, uint8_t* out, size_t capacity) {
  return Encode(in, n, blockSize, out, capacity);
}

}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline {

HWY_EXPORT(UsesChunks);
HWY_EXPORT(Rows32);
HWY_EXPORT(Rows16);
HWY_EXPORT(Rows8);
HWY_EXPORT(ReadRows);
HWY_EXPORT(Encode32);
HWY_EXPORT(Encode16);
HWY_EXPORT(Encode8);

bool RiceUsesChunks(size_t blockSize) { return HWY_DYNAMIC_DISPATCH(UsesChunks)(blockSize); }
int RiceRows32(RiceBatch& batch, size_t blockSize, size_t count, uint32_t* scratch, int32_t* out, size_t stride) {
  return HWY_DYNAMIC_DISPATCH(Rows32)(batch, blockSize, count, scratch, out, stride);
}
int RiceRows16(RiceBatch& batch, size_t blockSize, size_t count, uint32_t* scratch, uint16_t* out, size_t stride) {
  return HWY_DYNAMIC_DISPATCH(Rows16)(batch, blockSize, count, scratch, out, stride);
}
int RiceRows8(RiceBatch& batch, size_t blockSize, size_t count, uint8_t* out, size_t stride) {
  return HWY_DYNAMIC_DISPATCH(Rows8)(batch, blockSize, count, out, stride);
}
int RiceReadRows(RiceBatch& batch, size_t blockSize, size_t count, uint32_t* scratch, const RiceReads& reads,
                 uint16_t* out, size_t stride) {
  return HWY_DYNAMIC_DISPATCH(ReadRows)(batch, blockSize, count, scratch, reads, out, stride);
}
int64_t RiceEncodeFast(const int32_t* in, size_t n, size_t blockSize, uint8_t* out, size_t capacity) {
  return HWY_DYNAMIC_DISPATCH(Encode32)(in, n, blockSize, out, capacity);
}
int64_t RiceEncodeFast(const int16_t* in, size_t n, size_t blockSize, uint8_t* out, size_t capacity) {
  return HWY_DYNAMIC_DISPATCH(Encode16)(in, n, blockSize, out, capacity);
}
int64_t RiceEncodeFast(const int8_t* in, size_t n, size_t blockSize, uint8_t* out, size_t capacity) {
  return HWY_DYNAMIC_DISPATCH(Encode8)(in, n, blockSize, out, capacity);
}

}  // namespace rampline
#endif
