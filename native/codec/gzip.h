// gzip streams: of tiles, whose inflated size is known beforehand, and of whole files, whose size is not (RFC 1952).
#pragma once

#include <cstddef>
#include <cstdint>

#include "native/core/status.h"

namespace rampline {

// Deflate cannot reach more than 1032 bytes out of one (a 258-byte match in two bits), so a stream that promises more lies.
inline constexpr int64_t kDeflateMaxRatio = 1032;

// Inflates the gzip stream in `in` into at most outBytes; *written is what it gave. kInput when the stream is damaged or
// holds more than outBytes.
Status GzipInflate(const uint8_t* in, size_t n, uint8_t* out, size_t outBytes, size_t* written);

// What the whole gzip file in `in` inflates to, by its trailer: exact for one member below 4 GiB, a lower bound otherwise.
// kInput when it is no gzip file.
Status GzipClaim(const uint8_t* in, size_t n, int64_t* claimed);

// Inflates a gzip file of one or more members. *complete is false, with status ok, when outBytes did not suffice.
Status GzipInflateFile(const uint8_t* in, size_t n, uint8_t* out, size_t outBytes, size_t* written, bool* complete);

// Room that GzipDeflate may need for n bytes.
size_t GzipBound(size_t n);

// One gzip stream of `in`; level 1 to 12 as libdeflate counts.
Status GzipDeflate(const uint8_t* in, size_t n, int level, uint8_t* out, size_t outBytes, size_t* written);

// GZIP_2 (FITS 4.0, section 10.4.2): the first bytes of all elements, then all second bytes, and so on. Both ways between
// native-endian elements and the big-endian shuffled stream; width 1, 2, 4 or 8; the arrays must not overlap.
void ShuffleElements(const uint8_t* in, size_t count, int width, uint8_t* out);
void UnshuffleElements(const uint8_t* in, size_t count, int width, uint8_t* out);

}  // namespace rampline
