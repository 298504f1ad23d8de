#include "native/codec/gzip.h"

#include <libdeflate.h>

#include <memory>

namespace rampline {
namespace {

struct FreeInflater {
  void operator()(libdeflate_decompressor* p) const { libdeflate_free_decompressor(p); }
};
struct FreeDeflater {
  void operator()(libdeflate_compressor* p) const { libdeflate_free_compressor(p); }
};

// One for each thread: making one costs more than inflating a small tile.
libdeflate_decompressor* Inflater() {
  thread_local std::unique_ptr<libdeflate_decompressor, FreeInflater> inflater(libdeflate_alloc_decompressor());
  return inflater.get();
}

Status FromResult(libdeflate_result result, size_t outBytes) {
  switch (result) {
    case LIBDEFLATE_SUCCESS: return Ok();
    case LIBDEFLATE_INSUFFICIENT_SPACE:
      return Fail(Code::kInput, "a gzip stream holds more than its tile", -1, static_cast<int64_t>(outBytes), -1);
    default: return Fail(Code::kInput, "a gzip stream is damaged");
  }
}

}  // namespace

Status GzipInflate(const uint8_t* in, size_t n, uint8_t* out, size_t outBytes, size_t* written) {
  *written = 0;
  libdeflate_decompressor* inflater = Inflater();
  if (inflater == nullptr) return Fail(Code::kRetriable, "no memory for the inflater");
  return FromResult(libdeflate_gzip_decompress(inflater, in, n, out, outBytes, written), outBytes);
}

Status GzipClaim(const uint8_t* in, size_t n, int64_t* claimed) {
  if (n < 18 || in[0] != 0x1f || in[1] != 0x8b) return Fail(Code::kInput, "not a gzip file");
  *claimed = static_cast<int64_t>(in[n - 4]) | static_cast<int64_t>(in[n - 3]) << 8 |
             static_cast<int64_t>(in[n - 2]) << 16 | static_cast<int64_t>(in[n - 1]) << 24;
  return Ok();
}

Status GzipInflateFile(const uint8_t* in, size_t n, uint8_t* out, size_t outBytes, size_t* written, bool* complete) {
  *written = 0;
  *complete = true;
  libdeflate_decompressor* inflater = Inflater();
  if (inflater == nullptr) return Fail(Code::kRetriable, "no memory for the inflater");
  size_t at = 0;
  while (n - at >= 18 && in[at] == 0x1f && in[at + 1] == 0x8b) {
    size_t used = 0, got = 0;
    const libdeflate_result result =
        libdeflate_gzip_decompress_ex(inflater, in + at, n - at, out + *written, outBytes - *written, &used, &got);
    if (result == LIBDEFLATE_INSUFFICIENT_SPACE) {
      *complete = false;
      return Ok();
    }
    if (result != LIBDEFLATE_SUCCESS || used == 0) {
      return Fail(Code::kInput, "the gzip file is damaged", static_cast<int64_t>(at));
    }
    at += used;
    *written += got;
  }
  if (at == 0) return Fail(Code::kInput, "not a gzip file", 0);
  return Ok();  // what follows the last member is padding, as gzip(1) has it
}

size_t GzipBound(size_t n) { return libdeflate_gzip_compress_bound(nullptr, n); }

Status GzipDeflate(const uint8_t* in, size_t n, int level, uint8_t* out, size_t outBytes, size_t* written) {
  *written = 0;
  thread_local std::unique_ptr<libdeflate_compressor, FreeDeflater> deflater;
  thread_local int deflaterLevel = 0;
  if (level < 1 || level > 12) return Fail(Code::kUsage, "a deflate level lies between 1 and 12", -1, 0, level);
  if (deflater == nullptr || deflaterLevel != level) {
    deflater.reset(libdeflate_alloc_compressor(level));
    deflaterLevel = level;
  }
  if (deflater == nullptr) return Fail(Code::kRetriable, "no memory for the deflater");
  *written = libdeflate_gzip_compress(deflater.get(), in, n, out, outBytes);
  return *written == 0 ? Fail(Code::kUsage, "the output is shorter than the gzip stream") : Ok();
}

void ShuffleElements(const uint8_t* in, size_t count, int width, uint8_t* out) {
  for (int k = 0; k < width; ++k) {
    const uint8_t* from = in + (width - 1 - k);
    for (size_t i = 0; i < count; ++i) *out++ = from[i * static_cast<size_t>(width)];
  }
}

void UnshuffleElements(const uint8_t* in, size_t count, int width, uint8_t* out) {
  for (int k = 0; k < width; ++k) {
    uint8_t* to = out + (width - 1 - k);
    for (size_t i = 0; i < count; ++i) to[i * static_cast<size_t>(width)] = *in++;
  }
}

}  // namespace rampline
