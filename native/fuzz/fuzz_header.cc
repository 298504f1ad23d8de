// A file's headers, one HDU after another as the reader takes them, with small limits; then the checksum of all bytes in
// two pieces must be that of one.
#include <cstdlib>
#include <memory>

#include "native/codec/checksum.h"
#include "native/codec/header.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace rampline;
  HeaderLimits limits;
  limits.cards = 300;
  size_t at = 0;
  for (int hdu = 0; at < size && hdu < 50; ++hdu) {
    const size_t left = size - at;
    // A copy of exactly the bytes that are left, so that the sanitizer sees every byte beyond them.
    const std::unique_ptr<uint8_t[]> piece(new uint8_t[left]);
    for (size_t i = 0; i < left; ++i) piece[i] = data[at + i];
    const std::unique_ptr<Card[]> cards(new Card[left / kCardBytes + 1]);
    HduShape shape;
    bool complete = false;
    const Status status = ScanHeader(piece.get(), left, static_cast<int64_t>(left), hdu == 0, (left & 1) != 0, limits,
                                     cards.get(), left / kCardBytes, &shape, &complete);
    if (!status.ok() || !complete) break;
    // What the reader relies on.
    if (shape.headerBytes <= 0 || shape.headerBytes % kBlockBytes != 0 || shape.dataBytes < 0 ||
        shape.dataPresent > shape.dataBytes || shape.dataPresent > static_cast<int64_t>(left) ||
        shape.cards > limits.cards) {
      std::abort();
    }
    for (int64_t i = 0; i < shape.cards; ++i) {
      const Card& c = cards[static_cast<size_t>(i)];
      if (c.keyBegin > c.keyEnd || c.keyEnd > 80 || c.valueBegin > c.valueEnd || c.valueEnd > 80 ||
          c.commentBegin > c.commentEnd || c.commentEnd > 80) {
        std::abort();
      }
    }
    const int64_t step = shape.headerBytes + (shape.dataPresent + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
    if (step >= static_cast<int64_t>(left)) break;
    at += static_cast<size_t>(step);
  }
  const size_t cut = size == 0 ? 0 : data[0] % (size + 1);
  const uint32_t whole = ChecksumAdd(0, data, size, 0);
  const uint32_t pieces = ChecksumCombine(ChecksumAdd(0, data, cut, 0), ChecksumAdd(0, data + cut, size - cut, cut));
  if (whole % 0xFFFFFFFFu != pieces % 0xFFFFFFFFu) std::abort();
  char text[16];
  ChecksumEncode(whole, true, text);
  if (ChecksumDecode(text, true) % 0xFFFFFFFFu != whole % 0xFFFFFFFFu) std::abort();
  return 0;
}
