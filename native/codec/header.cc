#include "native/codec/header.h"

#include <charconv>
#include <cmath>
#include <cstring>

namespace rampline {
namespace {

constexpr int kRecord = static_cast<int>(kCardBytes);

bool IsDigit(uint8_t c) { return c >= '0' && c <= '9'; }

int SkipBlanks(const uint8_t* record, int at) {
  while (at < kRecord && record[at] == ' ') ++at;
  return at;
}

int TrimBlanks(const uint8_t* record, int begin, int end) {
  while (end > begin && record[end - 1] == ' ') --end;
  return end;
}

// [+-]digits; *tooLarge when the digits are more than 64 bits hold.
bool ParseInteger(const uint8_t* text, int n, int64_t* value, bool* tooLarge) {
  const char* begin = reinterpret_cast<const char*>(text);
  const char* end = begin + n;
  if (n > 1 && *begin == '+' && IsDigit(static_cast<uint8_t>(begin[1]))) ++begin;  // from_chars takes no plus sign
  const auto [stop, error] = std::from_chars(begin, end, *value);
  *tooLarge = error == std::errc::result_out_of_range;
  return stop == end && (error == std::errc() || *tooLarge) && begin != end;
}

// FITS reals may have the exponent letter D (section 4.2.4). Locale plays no part in from_chars.
bool ParseReal(const uint8_t* text, int n, double* value) {
  char buffer[kCardBytes];
  if (n <= 0 || n > kRecord) return false;
  for (int i = 0; i < n; ++i) {
    const uint8_t c = text[i];
    if (!IsDigit(c) && c != '+' && c != '-' && c != '.' && c != 'E' && c != 'e' && c != 'D' && c != 'd') return false;
    buffer[i] = c == 'D' || c == 'd' ? 'e' : static_cast<char>(c);
  }
  const char* begin = buffer;
  if (n > 1 && *begin == '+' && buffer[1] != '-') ++begin;
  const auto [stop, error] = std::from_chars(begin, buffer + n, *value);
  return error == std::errc() && stop == buffer + n;
}

// A string that starts with the quote at `at`; returns the position behind the closing quote.
int ParseString(const uint8_t* record, int at, Card* card) {
  int end = at + 1;
  bool closed = false;
  while (end < kRecord) {
    if (record[end] == '\'') {
      if (end + 1 < kRecord && record[end + 1] == '\'') {
        end += 2;
        continue;
      }
      closed = true;
      break;
    }
    ++end;
  }
  if (end > kRecord) end = kRecord;
  if (!closed) card->flags |= kCardUnclosed;
  card->valueBegin = static_cast<uint8_t>(at + 1);
  // Leading blanks of a string are significant, trailing ones are not (section 4.2.1.1).
  card->valueEnd = static_cast<uint8_t>(TrimBlanks(record, at + 1, end));
  return closed ? end + 1 : kRecord;
}

// "(re, im)" from `at`; returns the position behind the ')', or -1.
int ParseComplex(const uint8_t* record, int at, Card* card) {
  int close = at;
  while (close < kRecord && record[close] != ')') ++close;
  int comma = at;
  while (comma < close && record[comma] != ',') ++comma;
  if (close == kRecord || comma == close) return -1;
  const int re = SkipBlanks(record, at + 1), im = SkipBlanks(record, comma + 1);
  if (re > comma || im > close) return -1;
  if (!ParseReal(record + re, TrimBlanks(record, re, comma) - re, &card->number) ||
      !ParseReal(record + im, TrimBlanks(record, im, close) - im, &card->imaginary)) {
    return -1;
  }
  card->kind = CardKind::kComplex;
  return close + 1;
}

void ParseValue(const uint8_t* record, int at, Card* card) {
  at = SkipBlanks(record, at);
  card->valueBegin = card->valueEnd = static_cast<uint8_t>(at);
  int after = at;
  if (at == kRecord || record[at] == '/') {
    card->kind = CardKind::kUndefined;
  } else if (record[at] == '\'') {
    card->kind = CardKind::kString;
    after = ParseString(record, at, card);
  } else {
    after = record[at] == '(' ? ParseComplex(record, at, card) : -1;
    if (after < 0) {
      after = at;
      while (after < kRecord && record[after] != ' ' && record[after] != '/') ++after;
      const uint8_t* text = record + at;
      const int n = after - at;
      bool tooLarge = false;
      if (n == 1 && (*text == 'T' || *text == 'F')) {
        card->kind = CardKind::kLogical;
        card->number = *text == 'T';
      } else if (ParseInteger(text, n, &card->integer, &tooLarge)) {
        card->kind = CardKind::kInteger;
        if (tooLarge) {
          card->flags |= kCardTooLarge;
          card->integer = 0;
          ParseReal(text, n, &card->number);
        } else {
          card->number = static_cast<double>(card->integer);
        }
      } else if (ParseReal(text, n, &card->number)) {
        card->kind = CardKind::kReal;
      } else {
        // Text that is no value, a date without quotes for instance: all of it up to the comment.
        card->kind = CardKind::kInvalid;
        card->number = 0;
        while (after < kRecord && record[after] != '/') ++after;
      }
    }
    card->valueEnd = static_cast<uint8_t>(TrimBlanks(record, at, after));
  }
  const int slash = SkipBlanks(record, after);
  if (slash < kRecord && record[slash] == '/') {
    const int begin = slash + 1 < kRecord && record[slash + 1] == ' ' ? slash + 2 : slash + 1;
    card->commentBegin = static_cast<uint8_t>(begin);
    card->commentEnd = static_cast<uint8_t>(TrimBlanks(record, begin, kRecord));
  }
}

bool KeyIs(const uint8_t* record, const Card& card, const char* name) {
  const size_t n = static_cast<size_t>(card.keyEnd - card.keyBegin);
  return std::strlen(name) == n && std::memcmp(record + card.keyBegin, name, n) == 0;
}

bool StringIs(const uint8_t* record, const Card& card, const char* text) {
  const size_t n = static_cast<size_t>(card.valueEnd - card.valueBegin);
  return card.kind == CardKind::kString && std::strlen(text) == n &&
         std::memcmp(record + card.valueBegin, text, n) == 0;
}

// A mandatory integer keyword: the first card of that name counts, as later duplicates are tolerated.
struct Wanted {
  bool seen = false;
  int64_t value = 0;
};

Status TakeInteger(const Card& card, int64_t offset, int64_t min, int64_t max, const char* message, Wanted* wanted) {
  if (wanted->seen) return Ok();  // the first one counts
  // Old writers put a decimal point behind counts. A double holds whole numbers up to 2^53.
  int64_t value = card.integer;
  bool whole = card.kind == CardKind::kInteger && !(card.flags & kCardTooLarge);
  if (card.kind == CardKind::kReal && std::abs(card.number) <= 0x1p53 && std::floor(card.number) == card.number) {
    value = static_cast<int64_t>(card.number);
    whole = true;
  }
  if (!whole || value < min || value > max) return Fail(Code::kInput, message, offset);
  wanted->seen = true;
  wanted->value = value;
  return Ok();
}

bool Multiply(int64_t* product, int64_t factor) { return !__builtin_mul_overflow(*product, factor, product); }

}  // namespace

Card ParseCard(const uint8_t* record) {
  Card card;
  for (int i = 0; i < kRecord; ++i) {
    if (record[i] < 0x20 || record[i] > 0x7e) card.flags |= kCardNonAscii;
  }
  card.keyEnd = static_cast<uint8_t>(TrimBlanks(record, 0, 8));
  if (std::memcmp(record, "END     ", 8) == 0) {
    card.kind = CardKind::kEnd;
    return card;
  }
  if (std::memcmp(record, "CONTINUE  ", 10) == 0) {
    const int quote = SkipBlanks(record, 10);
    if (quote < kRecord && record[quote] == '\'') {
      ParseValue(record, 10, &card);
      card.kind = CardKind::kContinue;
      return card;
    }
  }
  const bool commentary = std::memcmp(record, "COMMENT ", 8) == 0 || std::memcmp(record, "HISTORY ", 8) == 0 ||
                          std::memcmp(record, "        ", 8) == 0;
  if (!commentary && record[8] == '=' && record[9] == ' ') {
    ParseValue(record, 10, &card);
    return card;
  }
  if (std::memcmp(record, "HIERARCH ", 9) == 0) {
    int equals = 9;
    while (equals < kRecord && record[equals] != '=') ++equals;
    if (equals < kRecord) {
      card.flags |= kCardHierarch;
      card.keyBegin = static_cast<uint8_t>(SkipBlanks(record, 9));
      card.keyEnd = static_cast<uint8_t>(TrimBlanks(record, card.keyBegin, equals));
      ParseValue(record, equals + 1, &card);
      return card;
    }
  }
  card.kind = CardKind::kCommentary;
  card.commentBegin = 8;
  card.commentEnd = static_cast<uint8_t>(TrimBlanks(record, 8, kRecord));
  return card;
}

Status ScanHeader(const uint8_t* in, size_t n, int64_t available, bool first, bool tolerateTruncated,
                  const HeaderLimits& limits, Card* cards, size_t capacity, HduShape* out, bool* complete) {
  *complete = false;
  *out = HduShape();
  if (first && (n < 6 || std::memcmp(in, "SIMPLE", 6) != 0)) {
    return Fail(Code::kInput, "not a FITS file: it does not begin with the keyword SIMPLE", 0);
  }
  const int64_t records = static_cast<int64_t>(n) / kCardBytes;
  Wanted bitpix, naxis, pcount, gcount, tfields, axes[kMaxAxes];
  bool groups = false;
  // PCOUNT and GCOUNT mean nothing in a primary header without random groups, so a bad one is an error only where used.
  Status counts;
  int64_t end = -1;
  for (int64_t i = 0; i < records; ++i) {
    const uint8_t* record = in + i * kCardBytes;
    const int64_t offset = i * kCardBytes;
    const Card card = ParseCard(record);
    if (i == 0) {
      if (first && !KeyIs(record, card, "SIMPLE")) {
        return Fail(Code::kInput, "not a FITS file: it does not begin with the keyword SIMPLE", offset);
      }
      if (!first && !KeyIs(record, card, "XTENSION")) {
        return Fail(Code::kInput, "an extension must begin with the keyword XTENSION", offset);
      }
      if (first) {
        out->kind = HduKind::kPrimary;
      } else if (StringIs(record, card, "IMAGE") || StringIs(record, card, "IUEIMAGE")) {
        out->kind = HduKind::kImage;
      } else if (StringIs(record, card, "BINTABLE") || StringIs(record, card, "A3DTABLE")) {
        out->kind = HduKind::kBinTable;
      } else if (StringIs(record, card, "TABLE")) {
        out->kind = HduKind::kAsciiTable;
      }
    }
    if (card.kind == CardKind::kEnd) {
      end = i;
      break;
    }
    if (i >= limits.cards) {
      return Fail(Code::kInput, "more cards in one header than the limit allows", offset, limits.cards, i + 1);
    }
    if (static_cast<size_t>(i) < capacity) cards[i] = card;

    Status status;
    if (card.flags & kCardHierarch) continue;
    if (KeyIs(record, card, "BITPIX")) {
      status = TakeInteger(card, offset, -64, 64, "BITPIX must be 8, 16, 32, 64, -32 or -64", &bitpix);
    } else if (KeyIs(record, card, "NAXIS")) {
      status = TakeInteger(card, offset, 0, kMaxAxes, "NAXIS must be an integer from 0 to 999", &naxis);
    } else if (KeyIs(record, card, "PCOUNT")) {
      const Status taken = TakeInteger(card, offset, 0, INT64_MAX, "PCOUNT must be a non-negative integer", &pcount);
      if (counts.ok()) counts = taken;
    } else if (KeyIs(record, card, "GCOUNT")) {
      const Status taken = TakeInteger(card, offset, 0, INT64_MAX, "GCOUNT must be a non-negative integer", &gcount);
      if (counts.ok()) counts = taken;
    } else if (KeyIs(record, card, "TFIELDS")) {
      status = TakeInteger(card, offset, 0, 999, "TFIELDS must be an integer from 0 to 999", &tfields);
    } else if (KeyIs(record, card, "GROUPS")) {
      groups = groups || (card.kind == CardKind::kLogical && card.number == 1);
    } else if (std::memcmp(record, "NAXIS", 5) == 0 && record[5] >= '1' && record[5] <= '9' && record[8] == '=') {
      int64_t axis = 0;
      bool tooLarge = false;
      if (ParseInteger(record + 5, card.keyEnd - 5, &axis, &tooLarge) && axis <= kMaxAxes) {
        status = TakeInteger(card, offset, 0, INT64_MAX, "NAXISn must be a non-negative integer", &axes[axis - 1]);
      }
    }
    if (!status.ok()) return status;
  }
  if (end < 0) {
    if (records > limits.cards) {
      return Fail(Code::kInput, "more cards in one header than the limit allows", limits.cards * kCardBytes,
                  limits.cards, records);
    }
    return Ok();
  }
  *complete = true;

  out->cards = end;
  out->headerBytes = ((end + 1) * kCardBytes + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
  if (!bitpix.seen) return Fail(Code::kInput, "the mandatory keyword BITPIX is missing", end * kCardBytes);
  if (!naxis.seen) return Fail(Code::kInput, "the mandatory keyword NAXIS is missing", end * kCardBytes);
  const int64_t b = bitpix.value;
  if (b != 8 && b != 16 && b != 32 && b != 64 && b != -32 && b != -64) {
    return Fail(Code::kInput, "BITPIX must be 8, 16, 32, 64, -32 or -64", -1, 0, b);
  }
  if (naxis.value > limits.axes) {
    return Fail(Code::kInput, "more axes than the limit allows", -1, limits.axes, naxis.value);
  }
  out->bitpix = static_cast<int>(b);
  out->naxis = static_cast<int>(naxis.value);
  out->tfields = static_cast<int>(tfields.value);
  for (int i = 0; i < out->naxis; ++i) {
    if (!axes[i].seen) return Fail(Code::kInput, "a NAXISn keyword is missing (expected: its n)", -1, i + 1, 0);
    out->axes[i] = axes[i].value;
  }
  const bool randomGroups = first && groups && out->naxis >= 1 && out->axes[0] == 0;
  if (randomGroups) out->kind = HduKind::kGroups;
  if (!first || randomGroups) {
    if (!counts.ok()) return counts;
    out->pcount = pcount.value;
    out->gcount = gcount.seen ? gcount.value : 1;
  }
  if (out->kind == HduKind::kBinTable || out->kind == HduKind::kAsciiTable) {
    if (b != 8 || out->naxis != 2) {
      return Fail(Code::kInput, "a table must have BITPIX 8 and NAXIS 2 (received: its BITPIX)", -1, 8, b);
    }
    if (!tfields.seen) return Fail(Code::kInput, "the mandatory keyword TFIELDS is missing", end * kCardBytes);
  }

  // FITS 4.0, equation 2 (and section 6.1.1 for random groups, whose first axis of 0 does not count).
  int64_t bytes = out->naxis == 0 ? 0 : 1;
  bool fits = true;
  for (int i = randomGroups ? 1 : 0; i < out->naxis; ++i) fits = fits && Multiply(&bytes, out->axes[i]);
  fits = fits && !__builtin_add_overflow(bytes, out->pcount, &bytes);
  fits = fits && Multiply(&bytes, out->gcount) && Multiply(&bytes, (b < 0 ? -b : b) / 8);
  if (!fits) return Fail(Code::kInput, "the size of the data overflows 64 bits");
  out->dataBytes = bytes;
  if (bytes > limits.bytes) return Fail(Code::kInput, "more data bytes than the limit allows", -1, limits.bytes, bytes);
  const int64_t present = available > out->headerBytes ? available - out->headerBytes : 0;
  out->dataPresent = bytes < present ? bytes : present;
  if (bytes > present && !tolerateTruncated) {
    return Fail(Code::kInput, "the header claims more data bytes than the file holds", out->headerBytes, bytes,
                present);
  }
  return Ok();
}

}  // namespace rampline
