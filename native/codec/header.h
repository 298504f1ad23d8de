// FITS headers on untrusted bytes (FITS standard 4.0, sections 3, 4 and 7). Nothing here allocates: the caller brings the
// room for the cards, and a header never decides how much memory somebody takes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "native/core/status.h"

namespace rampline {

inline constexpr int64_t kBlockBytes = 2880;  // FITS 4.0, section 3.1
inline constexpr int64_t kCardBytes = 80;     // FITS 4.0, section 3.2
inline constexpr int kMaxAxes = 999;          // FITS 4.0, section 4.4.1.1

enum class CardKind : uint8_t {
  kEnd = 0,
  kCommentary = 1,  // COMMENT, HISTORY, blank keyword, or a keyword without a value indicator
  kUndefined = 2,   // a value indicator and no value
  kLogical = 3,     // number is 1 or 0
  kInteger = 4,     // integer and number are set
  kReal = 5,        // number is set
  kComplex = 6,     // number and imaginary are set
  kString = 7,      // the text between the quotes, quotes still doubled
  kContinue = 8,    // the same, of a CONTINUE card
  kInvalid = 9,     // a value indicator and text that is no FITS value
};

inline constexpr uint8_t kCardNonAscii = 1;  // bytes outside 0x20..0x7e
inline constexpr uint8_t kCardUnclosed = 2;  // a string without its closing quote
inline constexpr uint8_t kCardHierarch = 4;  // ESO HIERARCH convention; the keyword is what stands before the '='
inline constexpr uint8_t kCardTooLarge = 8;  // an integer beyond 64 bits; only number is set

// One 80-byte record. The spans count bytes from the start of the record; keyword and strings have no trailing blanks.
struct Card {
  CardKind kind = CardKind::kCommentary;
  uint8_t flags = 0;
  uint8_t keyBegin = 0, keyEnd = 0;
  uint8_t valueBegin = 0, valueEnd = 0;
  uint8_t commentBegin = 0, commentEnd = 0;
  int64_t integer = 0;
  double number = 0, imaginary = 0;
};

// Reads the 80 bytes at `record`. Never fails: what is no FITS value becomes kInvalid.
Card ParseCard(const uint8_t* record);

enum class HduKind : uint8_t { kPrimary = 0, kImage = 1, kBinTable = 2, kAsciiTable = 3, kGroups = 4, kOther = 5 };

struct HeaderLimits {
  int64_t cards = 100'000;    // in one header: 8 MB of text; the longest headers of the archives hold a few thousand
  int64_t axes = 32;          // of one image
  int64_t bytes = INT64_MAX;  // of the data of one HDU
};

struct HduShape {
  HduKind kind = HduKind::kOther;
  int bitpix = 0;
  int naxis = 0;
  int64_t axes[kMaxAxes] = {};
  int64_t pcount = 0, gcount = 1;
  int tfields = 0;
  int64_t cards = 0;        // before END
  int64_t headerBytes = 0;  // a multiple of 2880
  int64_t dataBytes = 0;    // what the header claims, without padding
  int64_t dataPresent = 0;  // what the file holds of it; less than dataBytes only where truncation is tolerated
};

// Scans the header that starts at `in` (n bytes are at hand, `available` bytes lie between the header's start and the end
// of the file, both counted from the header's first byte). `first` says that it is the primary header.
//
// *complete is false, with status ok, when END does not lie within n bytes; the caller comes back with more. Up to
// `capacity` cards are written to `cards` (may be null with capacity 0).
//
// Errors (kInput): not a FITS header, a mandatory keyword that is missing or out of range, a size that overflows 64 bits,
// exceeds a limit, or (unless tolerateTruncated) exceeds the bytes present. Offsets count from the header's start.
Status ScanHeader(const uint8_t* in, size_t n, int64_t available, bool first, bool tolerateTruncated,
                  const HeaderLimits& limits, Card* cards, size_t capacity, HduShape* out, bool* complete);

}  // namespace rampline
