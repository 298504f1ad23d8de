#include "native/codec/rice.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "native/codec/rice_lanes.h"

namespace rampline {
namespace {

constexpr const char* kEndsEarly = "the Rice stream ends before its last pixel";
constexpr const char* kBadField = "a block of the Rice stream has a bit count beyond the format's";

// Up to 64 bits from `bit` of [at, end), left aligned; zeros behind the end.
uint64_t Peek(uint64_t at, uint64_t end, uint64_t bit) {
  const uint64_t first = at + (bit >> 3);
  uint64_t word = 0;
  if (first < end) {
    uint8_t bytes[8] = {};
    std::memcpy(bytes, reinterpret_cast<const uint8_t*>(first), std::min<uint64_t>(8, end - first));
    for (uint8_t byte : bytes) word = word << 8 | byte;
  }
  return word << (bit & 7);
}

// From the lane's `at` to its end. The low bits of a last code may have carried `at` past the end.
uint64_t BitsFromAt(const RiceBatch& batch, size_t lane) {
  return batch.at[lane] < batch.end[lane] ? (batch.end[lane] - batch.at[lane]) * 8 : 0;
}

uint64_t BitsLeft(const RiceBatch& batch, size_t lane, uint64_t bit) {
  const uint64_t bits = BitsFromAt(batch, lane);
  return bit < bits ? bits - bit : 0;
}

// Puts the lane at `bit` and makes it fit for the fast loops.
void Settle(RiceBatch& batch, size_t lane, uint64_t bit) {
  batch.at[lane] += bit >> 3;
  batch.bit[lane] = bit & 7;
  // A tile that has ended is noticed by the next call of RiceAttend; until then its spare zeros are safe to read.
  if (batch.at[lane] > batch.limit[lane]) static_cast<void>(RiceAttend(batch, lane));
  batch.hi[lane] = Peek(batch.at[lane], batch.end[lane], 0);
  batch.lo[lane] = Peek(batch.at[lane], batch.end[lane], 64);
}

}  // namespace

bool RiceBegin(RiceBatch& batch, size_t lane, const uint8_t* data, size_t bytes, int bytepix) {
  batch.bytepix[lane] = bytepix;
  batch.field[lane] = bytepix == 4 ? 5 : bytepix == 2 ? 4 : 3;
  batch.raw[lane] = bytepix == 4 ? 25 : bytepix == 2 ? 14 : 6;
  batch.origin[lane] = batch.at[lane] = reinterpret_cast<uint64_t>(data);
  batch.end[lane] = batch.at[lane] + bytes;
  batch.bit[lane] = 0;
  batch.moved[lane] = false;
  // 0 makes the first run attend to the lane, which moves a short tile at once.
  batch.limit[lane] = bytes >= kNeed ? batch.end[lane] - kNeed : 0;
  batch.last[lane] = 0;
  if (bytes < static_cast<size_t>(bytepix)) return false;
  for (int i = 0; i < bytepix; i++) batch.last[lane] = batch.last[lane] << 8 | data[i];
  batch.at[lane] += static_cast<uint64_t>(bytepix);
  return true;
}

bool RiceAttend(RiceBatch& batch, size_t lane) {
  if (batch.at[lane] > batch.end[lane]) return false;
  if (batch.moved[lane]) return true;
  const size_t left = batch.end[lane] - batch.at[lane];  // < kNeed, since at > limit
  uint8_t* spare = batch.spare[lane];
  if (left > 0) std::memcpy(spare, reinterpret_cast<const uint8_t*>(batch.at[lane]), left);
  std::memset(spare + left, 0, sizeof(batch.spare[lane]) - left);
  // In a heap the next row's tile mostly follows this one.
  for (size_t ahead = 0; ahead < 256; ahead += 64) {
    __builtin_prefetch(reinterpret_cast<const void*>(batch.end[lane] + ahead));
  }
  batch.origin[lane] += reinterpret_cast<uint64_t>(spare) - batch.at[lane];
  batch.at[lane] = reinterpret_cast<uint64_t>(spare);
  batch.end[lane] = batch.limit[lane] = batch.at[lane] + left;
  batch.moved[lane] = true;
  return true;
}

bool RiceCodes(RiceBatch& batch, size_t lane, uint64_t bit, uint64_t fs, size_t n, uint32_t* codes) {
  bool within = true;
  for (size_t i = 0; i < n; i++) {
    uint64_t zeros = 0;
    uint64_t word = Peek(batch.at[lane], batch.end[lane], bit);
    while (word >> 8 == 0 && BitsLeft(batch, lane, bit) > 56) {
      zeros += 56;
      bit += 56;
      word = Peek(batch.at[lane], batch.end[lane], bit);
    }
    const uint64_t more = static_cast<uint64_t>(std::countl_zero(word));
    if (more + 1 + fs > BitsLeft(batch, lane, bit)) {
      within = false;
      bit = std::max(bit, BitsFromAt(batch, lane) + 1);
      std::fill(codes + i, codes + n, 0u);
      break;
    }
    bit += more + 1;
    zeros += more;
    const uint64_t low = fs == 0 ? 0 : Peek(batch.at[lane], batch.end[lane], bit) >> (64 - fs);
    bit += fs;
    codes[i] = static_cast<uint32_t>(zeros << fs | low);
  }
  Settle(batch, lane, bit);
  return within;
}

bool RiceRawCodes(RiceBatch& batch, size_t lane, size_t n, uint32_t* codes) {
  const uint64_t width = 8 * static_cast<uint64_t>(batch.bytepix[lane]);
  uint64_t bit = batch.bit[lane];
  const bool within = n * width <= BitsLeft(batch, lane, bit);
  if (within) {
    for (size_t i = 0; i < n; i++, bit += width) {
      codes[i] = static_cast<uint32_t>(Peek(batch.at[lane], batch.end[lane], bit) >> (64 - width));
    }
  } else {
    std::fill(codes, codes + n, 0u);
    bit = std::max(bit, BitsFromAt(batch, lane) + 1);
  }
  Settle(batch, lane, bit);
  return within;
}

namespace {

Status LaneFailure(const RiceBatch& batch, size_t lane) {
  const bool ended = !RiceWithin(batch, lane) || batch.at[lane] > batch.end[lane];
  const uint64_t at = std::min(batch.at[lane] + batch.bit[lane] / 8, batch.end[lane]);
  const int64_t offset = static_cast<int64_t>(at - batch.origin[lane]);
  return Fail(Code::kInput, ended ? kEndsEarly : kBadField, offset);
}

Status CheckBlock(int blockSize) {
  if (blockSize < 1 || blockSize > kRiceMaxBlock) {
    return Fail(Code::kUsage, "the Rice block size must be between 1 and 2^20", -1, kRiceMaxBlock, blockSize);
  }
  return Ok();
}

template <class Rows>
Status DecodeOne(const uint8_t* in, size_t inBytes, int bytepix, size_t n, int blockSize, Rows rows) {
  if (Status status = CheckBlock(blockSize); !status.ok()) return status;
  if (n == 0) return Ok();
  RiceBatch batch;
  batch.tiles = 1;
  if (!RiceBegin(batch, 0, in, inBytes, bytepix)) {
    return Fail(Code::kInput, "the Rice stream is shorter than its first pixel", 0, bytepix,
                static_cast<int64_t>(inBytes));
  }
  if (rows(batch) != kRiceNoFailure) return LaneFailure(batch, 0);
  return Ok();
}

template <class T>
Status EncodeOne(const T* in, size_t n, int blockSize, uint8_t* out, size_t capacity, size_t* written) {
  *written = 0;
  if (Status status = CheckBlock(blockSize); !status.ok()) return status;
  if (n == 0) return Ok();
  const int64_t bytes = RiceEncodeFast(in, n, static_cast<size_t>(blockSize), out, capacity);
  if (bytes < 0) {
    return Fail(Code::kUsage, "the output of the Rice encoder is too small (see RiceMaxBytes)", -1,
                static_cast<int64_t>(RiceMaxBytes(n, sizeof(T), blockSize)), static_cast<int64_t>(capacity));
  }
  *written = static_cast<size_t>(bytes);
  return Ok();
}

}  // namespace

Status RiceDecode32(const uint8_t* in, size_t inBytes, int32_t* out, size_t n, int blockSize) {
  return DecodeOne(in, inBytes, 4, n, blockSize, [&](RiceBatch& batch) {
    return RiceRows32(batch, static_cast<size_t>(blockSize), n, nullptr, out, n);
  });
}
Status RiceDecode16(const uint8_t* in, size_t inBytes, int16_t* out, size_t n, int blockSize) {
  return DecodeOne(in, inBytes, 2, n, blockSize, [&](RiceBatch& batch) {
    return RiceRows16(batch, static_cast<size_t>(blockSize), n, nullptr, reinterpret_cast<uint16_t*>(out), n);
  });
}
Status RiceDecode8(const uint8_t* in, size_t inBytes, int8_t* out, size_t n, int blockSize) {
  return DecodeOne(in, inBytes, 1, n, blockSize, [&](RiceBatch& batch) {
    return RiceRows8(batch, static_cast<size_t>(blockSize), n, reinterpret_cast<uint8_t*>(out), n);
  });
}

size_t RiceMaxBytes(size_t n, int bytepix, int blockSize) {
  // fs is chosen so that the sum of the codes is below n * 2^(fs+1) + n/2 + 1; hence a block of n pixels takes at most
  // field + n * (fs + 1) + 2n + (n/2 + 1) / 2^fs bits, and with fs < fsmax never more than 8 * bytepix + 1 bits a pixel
  // plus one. fs = 0 gives 3.5 bits a pixel plus one.
  const size_t block = blockSize < 1 ? 1 : static_cast<size_t>(blockSize);
  const size_t blocks = n / block + 1;
  return static_cast<size_t>(bytepix) * (n + 1) + (n + 7) / 8 + blocks + 8;
}

Status RiceEncode32(const int32_t* in, size_t n, int blockSize, uint8_t* out, size_t outCapacity, size_t* written) {
  return EncodeOne(in, n, blockSize, out, outCapacity, written);
}
Status RiceEncode16(const int16_t* in, size_t n, int blockSize, uint8_t* out, size_t outCapacity, size_t* written) {
  return EncodeOne(in, n, blockSize, out, outCapacity, written);
}
Status RiceEncode8(const int8_t* in, size_t n, int blockSize, uint8_t* out, size_t outCapacity, size_t* written) {
  return EncodeOne(in, n, blockSize, out, outCapacity, written);
}

RiceLanes::RiceLanes() = default;
RiceLanes::~RiceLanes() = default;
RiceLanes::RiceLanes(RiceLanes&&) noexcept = default;
RiceLanes& RiceLanes::operator=(RiceLanes&&) noexcept = default;

Status RiceLanes::Begin(std::span<const RiceTile> tiles, int blockSize) {
  tiles_ = 0;
  failedTile_ = 0;
  if (Status status = CheckBlock(blockSize); !status.ok()) return status;
  blockSize_ = blockSize;
  // Batches of equal size, so that none is left with a few lanes.
  const size_t batches = (tiles.size() + kLanes - 1) / kLanes;
  if (batches == 0) return Ok();
  const size_t each = (tiles.size() + batches - 1) / batches;
  while (batches_.size() < batches) batches_.push_back(std::make_unique<RiceBatch>());
  batches_.resize(batches);
  chunk_.resize(kLanes * kChunk + 16);
  average_.resize(kChunk);
  for (size_t b = 0, first = 0; b < batches; b++, first += each) {
    RiceBatch& batch = *batches_[b];
    batch.tiles = std::min(each, tiles.size() - std::min(first, tiles.size()));
    const size_t lanes = (batch.tiles + 15) / 16 * 16;
    for (size_t lane = 0; lane < lanes; lane++) {
      const size_t number = first + (lane < batch.tiles ? lane : 0);
      const RiceTile& tile = tiles[number];
      if (tile.bytepix != 1 && tile.bytepix != 2 && tile.bytepix != 4) {
        failedTile_ = number;
        return Fail(Code::kUsage, "the bytes per pixel of a Rice tile must be 1, 2 or 4", -1, 4, tile.bytepix);
      }
      if (!RiceBegin(batch, lane, tile.data, tile.bytes, tile.bytepix)) {
        failedTile_ = number;
        return Fail(Code::kInput, "the Rice stream is shorter than its first pixel", 0, tile.bytepix,
                    static_cast<int64_t>(tile.bytes));
      }
      __builtin_prefetch(tile.data);
    }
  }
  tiles_ = tiles.size();
  return Ok();
}

template <class Decode>
Status RiceLanes::Run(size_t count, Decode decode) {
  // Chunks serve lanes that have to be turned into rows; rows of tiles are decoded from end to end, which is how the
  // processor's prefetchers like their bytes.
  const size_t block = static_cast<size_t>(blockSize_);
  const bool chunks = RiceUsesChunks(block);
  const size_t step = chunks ? kChunk : std::max<size_t>(count, 1);
  if (average_.size() < step) average_.resize(step);
  uint32_t* scratch = nullptr;
  if (chunks) {
    const uintptr_t start = reinterpret_cast<uintptr_t>(chunk_.data());
    scratch = reinterpret_cast<uint32_t*>((start + 63) / 64 * 64);
  }
  for (size_t x = 0; x < count; x += step) {
    size_t first = 0;
    for (const auto& batch : batches_) {
      const int lane = decode(*batch, first, x, std::min(step, count - x), scratch);
      if (lane != kRiceNoFailure) {
        failedTile_ = first + static_cast<size_t>(lane);
        return LaneFailure(*batch, static_cast<size_t>(lane));
      }
      first += batch->tiles;
    }
  }
  return Ok();
}

Status RiceLanes::Decode32(int32_t* out, size_t stride, size_t count) {
  if (tiles_ == 0) return Ok();
  return Run(count, [&](RiceBatch& batch, size_t first, size_t x, size_t n, uint32_t* scratch) {
    return RiceRows32(batch, static_cast<size_t>(blockSize_), n, scratch, out + first * stride + x, stride);
  });
}

Status RiceLanes::Decode16(uint16_t* out, size_t stride, size_t count) {
  if (tiles_ == 0) return Ok();
  return Run(count, [&](RiceBatch& batch, size_t first, size_t x, size_t n, uint32_t* scratch) {
    return RiceRows16(batch, static_cast<size_t>(blockSize_), n, scratch, out + first * stride + x, stride);
  });
}

Status RiceLanes::DecodeReads(uint16_t* out, size_t stride, size_t count, uint16_t firstXor) {
  if (tiles_ < 2) {
    return Fail(Code::kUsage, "reads need the tiles of the average difference and of the first read", -1, 2,
                static_cast<int64_t>(tiles_));
  }
  return Run(count, [&](RiceBatch& batch, size_t first, size_t x, size_t n, uint32_t* scratch) {
    const RiceReads reads{first, firstXor, average_.data()};
    return RiceReadRows(batch, static_cast<size_t>(blockSize_), n, scratch, reads, out + x, stride);
  });
}

Status RiceBatchDecode32(std::span<const RiceTile> tiles, int blockSize, int32_t* out, size_t stride, size_t n,
                         size_t* failedTile) {
  RiceLanes lanes;
  Status status = n == 0 ? CheckBlock(blockSize) : lanes.Begin(tiles, blockSize);
  if (status.ok()) status = lanes.Decode32(out, stride, n);
  if (failedTile != nullptr) *failedTile = lanes.failedTile();
  return status;
}

Status RiceBatchDecode16(std::span<const RiceTile> tiles, int blockSize, uint16_t* out, size_t stride, size_t n,
                         size_t* failedTile) {
  RiceLanes lanes;
  Status status = n == 0 ? CheckBlock(blockSize) : lanes.Begin(tiles, blockSize);
  if (status.ok()) status = lanes.Decode16(out, stride, n);
  if (failedTile != nullptr) *failedTile = lanes.failedTile();
  return status;
}

}  // namespace rampline
