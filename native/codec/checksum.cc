#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/codec/checksum.cc"
#include "native/codec/checksum.h"

#include <hwy/foreach_target.h>  // IWYU pragma: keep
#include <hwy/highway.h>

#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The plain 64-bit sum of the big-endian 32-bit words in the leading multiple of a vector; *done is its length. 2^32 words
// could overflow it, so the caller hands over less than 2^32 bytes at a time.
uint64_t SumWords(const uint8_t* in, size_t n, size_t* done) {
#if HWY_TARGET == HWY_SCALAR  // no vectors to shuffle within; the caller sums it all
  (void)in;
  (void)n;
  *done = 0;
  return 0;
#else
  const hn::ScalableTag<uint8_t> d8;
  const hn::ScalableTag<uint64_t> d64;
  HWY_ALIGN static constexpr uint8_t kReverse[16] = {3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12};
  const auto reverse = hn::LoadDup128(d8, kReverse);
  const auto low = hn::Set(d64, 0xFFFFFFFFu);
  const size_t lanes = hn::Lanes(d8);
  auto even0 = hn::Zero(d64), odd0 = hn::Zero(d64), even1 = hn::Zero(d64), odd1 = hn::Zero(d64);
  size_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    const auto a = hn::BitCast(d64, hn::TableLookupBytes(hn::LoadU(d8, in + i), reverse));
    const auto b = hn::BitCast(d64, hn::TableLookupBytes(hn::LoadU(d8, in + i + lanes), reverse));
    even0 = hn::Add(even0, hn::And(a, low));
    odd0 = hn::Add(odd0, hn::ShiftRight<32>(a));
    even1 = hn::Add(even1, hn::And(b, low));
    odd1 = hn::Add(odd1, hn::ShiftRight<32>(b));
  }
  *done = i;
  return hn::GetLane(hn::SumOfLanes(d64, hn::Add(hn::Add(even0, odd0), hn::Add(even1, odd1))));
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline {
namespace {

HWY_EXPORT(SumWords);

constexpr size_t kPiece = size_t{1} << 30;

uint32_t Fold(uint64_t sum) {
  while (sum >> 32) sum = (sum & 0xFFFFFFFFu) + (sum >> 32);
  return static_cast<uint32_t>(sum);
}

// Characters that must not appear: the punctuation between the digits and the letters (appendix J).
bool IsExcluded(int c) { return (c >= 0x3a && c <= 0x40) || (c >= 0x5b && c <= 0x60); }

}  // namespace

uint32_t ChecksumCombine(uint32_t a, uint32_t b) { return Fold(uint64_t{a} + b); }

uint32_t ChecksumAdd(uint32_t state, const uint8_t* bytes, size_t n, uint64_t offset) {
  // A piece is summed as if it began at a word. Moving it k bytes into a word divides its value by 2^(8k), and division
  // by a power of two modulo 2^32 - 1 is a rotation to the right.
  const int rotation = static_cast<int>(offset % 4) * 8;
  uint32_t sum = 0;
  while (n != 0) {
    const size_t piece = n < kPiece ? n : kPiece;  // a multiple of 4 unless it is the last
    size_t done = 0;
    uint64_t words = HWY_DYNAMIC_DISPATCH(SumWords)(bytes, piece, &done);
    for (; done + 4 <= piece; done += 4) {
      words += (uint32_t{bytes[done]} << 24) | (uint32_t{bytes[done + 1]} << 16) | (uint32_t{bytes[done + 2]} << 8) |
               uint32_t{bytes[done + 3]};
    }
    uint32_t last = 0;
    for (int shift = 24; done < piece; ++done, shift -= 8) last |= uint32_t{bytes[done]} << shift;
    sum = ChecksumCombine(sum, Fold(words + last));
    bytes += piece;
    n -= piece;
  }
  if (rotation != 0) sum = (sum >> rotation) | (sum << (32 - rotation));
  return ChecksumCombine(state, sum);
}

void ChecksumEncode(uint32_t value, bool complement, char out[16]) {
  if (complement) value = ~value;
  char ascii[16];
  for (int i = 0; i < 4; ++i) {
    const int byte = static_cast<int>((value >> (24 - 8 * i)) & 0xFF);
    int part[4];
    for (int j = 0; j < 4; ++j) part[j] = byte / 4 + '0';
    part[0] += byte % 4;
    for (bool again = true; again;) {
      again = false;
      for (int j = 0; j < 4; j += 2) {
        if (IsExcluded(part[j]) || IsExcluded(part[j + 1])) {
          ++part[j];
          --part[j + 1];
          again = true;
        }
      }
    }
    for (int j = 0; j < 4; ++j) ascii[4 * j + i] = static_cast<char>(part[j]);
  }
  for (int i = 0; i < 16; ++i) out[i] = ascii[(i + 15) % 16];
}

uint32_t ChecksumDecode(const char text[16], bool complement) {
  uint64_t sum = 0;
  for (int j = 0; j < 4; ++j) {
    uint32_t word = 0;
    for (int i = 0; i < 4; ++i) {
      const uint8_t c = static_cast<uint8_t>(text[(4 * j + i + 1) % 16]);
      word = (word << 8) | static_cast<uint8_t>(c - '0');
    }
    sum += word;
  }
  const uint32_t value = Fold(sum);
  return complement ? ~value : value;
}

}  // namespace rampline
#endif  // HWY_ONCE
