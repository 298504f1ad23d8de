// The codec against cfitsio 4.2, on tiles that cfitsio wrote: thousands for each algorithm, every pixel type, tile shape
// and dither, compared bit for bit; and the pieces below it on their own.
#include <doctest/doctest.h>
#include <fitsio.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "native/codec/checksum.h"
#include "native/codec/gzip.h"
#include "native/codec/header.h"
#include "native/codec/quantize.h"
#include "native/codec/scale.h"
#include "native/codec/swap.h"
#include "native/codec/table.h"
#include "native/codec/tile.h"
#include "native/core/cpu.h"
#include "native/core/guarded.h"
#include "test/native/harness.h"

namespace rampline {
namespace {

using harness::Random;

// A file of cfitsio's in memory.
struct MemoryFile {
  void* buffer = nullptr;
  size_t size = 0;
  fitsfile* file = nullptr;
  int status = 0;
  MemoryFile() {
    // Large enough never to grow, and zeroed: cfitsio leaves descriptors of NOCOMPRESS tiles as it found the memory.
    size = 2 << 20;
    buffer = std::calloc(size, 1);
    fits_create_memfile(&file, &buffer, &size, 1 << 20, std::realloc, &status);
  }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile() {
    int ignored = 0;
    if (file != nullptr) fits_close_file(file, &ignored);
    std::free(buffer);
  }
  const uint8_t* bytes() const { return static_cast<const uint8_t*>(buffer); }
};

template <class T>
bool Key(fitsfile* file, const std::string& name, int type, T* value) {
  int status = 0;
  fits_read_key(file, type, const_cast<char*>(name.c_str()), value, nullptr, &status);
  return status == 0;
}

// The layout of the compressed image in the current HDU, as src/fits/tiles.ts reads it from a header.
TileImage LayoutOf(fitsfile* file, const uint8_t** data, size_t* bytes, const uint8_t* start) {
  TileImage image;
  char text[80] = "";
  Key(file, "ZCMPTYPE", TSTRING, text);
  const std::string name = text;
  image.codec = name == "GZIP_1"   ? TileCodec::kGzip1
                : name == "GZIP_2" ? TileCodec::kGzip2
                : name[0] == 'R'   ? TileCodec::kRice
                                   : TileCodec::kNone;
  Key(file, "ZBITPIX", TINT, &image.bitpix);
  Key(file, "ZNAXIS", TINT, &image.naxis);
  for (int i = 0; i < image.naxis; ++i) {
    long long n = 0;
    Key(file, "ZNAXIS" + std::to_string(i + 1), TLONGLONG, &n);
    image.axes[i] = n;
    Key(file, "ZTILE" + std::to_string(i + 1), TLONGLONG, &n);
    image.tile[i] = n;
  }
  long long rows = 0, rowBytes = 0;
  Key(file, "NAXIS1", TLONGLONG, &rowBytes);
  Key(file, "NAXIS2", TLONGLONG, &rows);
  image.rows = rows;
  image.rowBytes = rowBytes;
  long long theap = rows * rowBytes;
  Key(file, "THEAP", TLONGLONG, &theap);
  image.heapOffset = theap;
  int fields = 0;
  Key(file, "TFIELDS", TINT, &fields);
  int64_t offset = 0;
  for (int i = 1; i <= fields; ++i) {
    char type[80] = "", form[80] = "";
    Key(file, "TTYPE" + std::to_string(i), TSTRING, type);
    Key(file, "TFORM" + std::to_string(i), TSTRING, form);
    const std::string f = form;
    const size_t at = f.find_first_not_of("0123456789");
    const char letter = f[at];
    const bool array = letter == 'P' || letter == 'Q';
    const char element = array ? f[at + 1] : letter;
    const int width = element == 'B' ? 1 : element == 'I' ? 2 : element == 'J' || element == 'E' ? 4 : 8;
    const std::string column = type;
    const TileColumn arrays{offset, letter == 'Q', width};
    const ScalarColumn number{offset, letter};
    if (column == "COMPRESSED_DATA") image.compressed = arrays;
    if (column == "GZIP_COMPRESSED_DATA") image.gzipped = arrays;
    if (column == "UNCOMPRESSED_DATA") image.uncompressed = arrays;
    if (column == "ZSCALE") image.scaleColumn = number;
    if (column == "ZZERO") image.zeroColumn = number;
    if (column == "ZBLANK") image.blankColumn = number;
    offset += letter == 'P' ? 8 : letter == 'Q' ? 16 : width;
  }
  for (int i = 1; i < 9; ++i) {
    char zname[80] = "";
    int value = 0;
    if (!Key(file, "ZNAME" + std::to_string(i), TSTRING, zname)) break;
    Key(file, "ZVAL" + std::to_string(i), TINT, &value);
    if (std::string(zname) == "BLOCKSIZE") image.blockSize = value;
    if (std::string(zname) == "BYTEPIX") image.bytesPerPixel = value;
  }
  char quantize[80] = "";
  Key(file, "ZQUANTIZ", TSTRING, quantize);
  const std::string q = quantize;
  image.lossless = q == "NONE";
  image.dither = q == "SUBTRACTIVE_DITHER_1"   ? Dither::kSubtractive1
                 : q == "SUBTRACTIVE_DITHER_2" ? Dither::kSubtractive2
                                               : Dither::kNone;
  long long seed = 1, blank = 0;
  Key(file, "ZDITHER0", TLONGLONG, &seed);
  image.ditherSeed = seed;
  image.hasBlank = Key(file, "ZBLANK", TLONGLONG, &blank);
  image.blank = blank;
  image.hasScale = Key(file, "ZSCALE", TDOUBLE, &image.scale);
  image.hasZero = Key(file, "ZZERO", TDOUBLE, &image.zero);
  double bzero = 0;
  Key(file, "BZERO", TDOUBLE, &bzero);
  image.flipSign = image.bitpix > 0 && bzero != 0;
  LONGLONG head = 0, first = 0, end = 0;
  int status = 0;
  fits_get_hduaddrll(file, &head, &first, &end, &status);
  long long pcount = 0;
  Key(file, "PCOUNT", TLONGLONG, &pcount);
  *data = start + first;
  *bytes = static_cast<size_t>(rows * rowBytes + pcount);
  return image;
}

struct Kind {
  int bitpix;    // what cfitsio is told to make
  int datatype;  // of the pixels in memory
  size_t bytes;
};
constexpr Kind kKinds[] = {{BYTE_IMG, TBYTE, 1},  {SHORT_IMG, TSHORT, 2}, {USHORT_IMG, TUSHORT, 2}, {LONG_IMG, TINT, 4},
                           {ULONG_IMG, TUINT, 4}, {FLOAT_IMG, TFLOAT, 4}, {DOUBLE_IMG, TDOUBLE, 8}};

// Pixels that exercise a coder: a smooth field with noise of some amplitude, spikes, constant stretches, extremes, zeros
// and (floating point) NaN.
std::vector<uint8_t> Pixels(const Kind& kind, size_t n, Random* random) {
  std::vector<uint8_t> bytes(n * kind.bytes);
  const double amplitude = std::pow(2.0, random->Between(0, kind.bytes == 1 ? 6 : kind.bytes == 2 ? 13 : 22));
  const double slope = random->Between(-1, 1);
  const bool constant = random->Chance(0.05), extreme = random->Chance(0.1), nans = random->Chance(0.3);
  for (size_t i = 0; i < n; ++i) {
    double v = slope * static_cast<double>(i % 97) + amplitude * (constant ? 0.5 : random->Noise() * 0.3);
    if (random->Chance(0.01)) v *= 50;
    if (random->Chance(0.02)) v = 0;
    uint8_t* at = bytes.data() + i * kind.bytes;
    const auto put = [&](auto zero) {
      using T = decltype(zero);
      T value;
      if constexpr (std::is_integral_v<T>) {
        const double low = static_cast<double>(std::numeric_limits<T>::min());
        const double high = static_cast<double>(std::numeric_limits<T>::max());
        if (std::is_unsigned_v<T>) v = std::abs(v);
        value = v <= low    ? std::numeric_limits<T>::min()
                : v >= high ? std::numeric_limits<T>::max()
                            : static_cast<T>(v);
        if (extreme && random->Chance(0.3)) value = static_cast<T>(random->Next());
      } else {
        value = static_cast<T>(v);
        if (nans && random->Chance(0.02)) value = std::numeric_limits<T>::quiet_NaN();
      }
      std::memcpy(at, &value, sizeof value);
    };
    switch (kind.datatype) {
      case TBYTE: put(uint8_t{}); break;
      case TSHORT: put(int16_t{}); break;
      case TUSHORT: put(uint16_t{}); break;
      case TINT: put(int32_t{}); break;
      case TUINT: put(uint32_t{}); break;
      case TFLOAT: put(float{}); break;
      default: put(double{}); break;
    }
  }
  return bytes;
}

// Equal bits, any NaN equal to any NaN. Returns the first pixel that differs, or -1.
int64_t FirstDifference(const Kind& kind, const std::vector<uint8_t>& a, const std::vector<uint8_t>& b) {
  for (size_t i = 0; i < a.size(); i += kind.bytes) {
    if (std::memcmp(a.data() + i, b.data() + i, kind.bytes) == 0) continue;
    if (kind.datatype == TFLOAT || kind.datatype == TDOUBLE) {
      double x = 0, y = 0;
      if (kind.bytes == 4) {
        float f = 0, g = 0;
        std::memcpy(&f, a.data() + i, 4);
        std::memcpy(&g, b.data() + i, 4);
        x = static_cast<double>(f);
        y = static_cast<double>(g);
      } else {
        std::memcpy(&x, a.data() + i, 8);
        std::memcpy(&y, b.data() + i, 8);
      }
      if (std::isnan(x) && std::isnan(y)) continue;
    }
    return static_cast<int64_t>(i / kind.bytes);
  }
  return -1;
}

// Writes compressed images with cfitsio until `wanted` tiles were compared. Returns how many were.
int64_t CompareTiles(int compression, int64_t wanted, uint64_t seed) {
  Random random(seed);
  int64_t tiles = 0;
  int refused = 0;
  for (int round = 0; tiles < wanted && round < 4000; ++round) {
    // cfitsio 4.2 writes and reads NOCOMPRESS for these three only.
    const Kind kind = compression == NOCOMPRESS ? kKinds[1 + 2 * random.Below(3)] : kKinds[random.Below(7)];
    const bool real = kind.bitpix < 0;
    const int naxis = 1 + static_cast<int>(random.Below(3));
    long axes[3] = {1, 1, 1}, tile[3] = {1, 1, 1};
    int64_t n = 1, count = 1;
    for (int i = 0; i < naxis; ++i) {
      axes[i] = static_cast<long>(1 + random.Below(i == 0 ? 200 : 14));
      tile[i] = random.Chance(0.3) ? axes[i] : static_cast<long>(1 + random.Below(axes[i]));
      if (i == 0 && random.Chance(0.5)) tile[i] = axes[i];
      n *= axes[i];
      count *= (axes[i] - 1) / tile[i] + 1;
    }
    MemoryFile file;
    int* status = &file.status;
    fits_set_compression_type(file.file, compression, status);
    fits_set_tile_dim(file.file, naxis, tile, status);
    const int quantize = static_cast<int>(random.Below(4));
    if (real) {
      if (compression == RICE_1 || quantize != 0) {
        const int dithers[] = {NO_DITHER, NO_DITHER, SUBTRACTIVE_DITHER_1, SUBTRACTIVE_DITHER_2};
        fits_set_quantize_level(file.file, static_cast<float>(random.Between(1, 16)), status);
        fits_set_quantize_dither(file.file, dithers[quantize], status);
        fits_set_dither_seed(file.file, static_cast<int>(1 + random.Below(10000)), status);
      } else {
        fits_set_quantize_level(file.file, 9999.f, status);  // cfitsio's NO_QUANTIZE: lossless
      }
    }
    // cfitsio's NOCOMPRESS cannot be written directly, only copied from a plain image.
    const std::unique_ptr<MemoryFile> plain(compression == NOCOMPRESS ? new MemoryFile : nullptr);
    fitsfile* target = plain ? plain->file : file.file;
    fits_create_img(target, kind.bitpix, naxis, axes, status);
    std::vector<uint8_t> pixels = Pixels(kind, static_cast<size_t>(n), &random);
    float fnan = std::numeric_limits<float>::quiet_NaN();
    double dnan = std::numeric_limits<double>::quiet_NaN();
    void* null = kind.datatype == TFLOAT ? static_cast<void*>(&fnan) : static_cast<void*>(&dnan);
    if (real) {
      fits_write_imgnull(target, kind.datatype, 1, n, pixels.data(), null, status);
    } else {
      fits_write_img(target, kind.datatype, 1, n, pixels.data(), status);
    }
    if (plain) fits_img_compress(plain->file, file.file, status);
    fits_flush_file(file.file, status);
    // cfitsio refuses a few combinations (tiles too small to quantise with some options): not ours to judge.
    if (file.status != 0) {
      refused++;
      continue;
    }
    int any = 0;
    std::vector<uint8_t> theirs(pixels.size());
    fits_read_img(file.file, kind.datatype, 1, n, real ? null : nullptr, theirs.data(), &any, status);
    if (file.status != 0) {
      refused++;
      continue;
    }

    const uint8_t* data = nullptr;
    size_t bytes = 0;
    const TileImage image = LayoutOf(file.file, &data, &bytes, file.bytes());
    INFO("round ", round, ", BITPIX ", image.bitpix, ", ", naxis, " axes ", axes[0], "x", axes[1], "x", axes[2],
         ", tile ", tile[0], "x", tile[1], "x", tile[2], ", dither ", static_cast<int>(image.dither));
    // The table's bytes end at a page that cannot be read, the image's at one that cannot be written.
    GuardedBuffer in(bytes, true), out(theirs.size(), true);
    std::memcpy(in.data(), data, bytes);
    const Status decoded = DecodeTileImage(image, static_cast<const uint8_t*>(in.data()), bytes,
                                           static_cast<uint8_t*>(out.data()), theirs.size());
    INFO("status: ", std::string(decoded.message), " ", decoded.expected, " ", decoded.received);
    REQUIRE(decoded.ok());
    const std::vector<uint8_t> ours(static_cast<uint8_t*>(out.data()),
                                    static_cast<uint8_t*>(out.data()) + theirs.size());
    REQUIRE(FirstDifference(kind, ours, theirs) == -1);
    if (!real) REQUIRE(FirstDifference(kind, ours, pixels) == -1);
    tiles += count;
  }
  MESSAGE(tiles, " tiles; cfitsio refused ", refused, " images");
  return tiles;
}

TEST_CASE("RICE_1: 10000 tiles equal cfitsio's") { CHECK(CompareTiles(RICE_1, 10000, 1) >= 10000); }
TEST_CASE("GZIP_1: 10000 tiles equal cfitsio's") { CHECK(CompareTiles(GZIP_1, 10000, 2) >= 10000); }
TEST_CASE("GZIP_2: 10000 tiles equal cfitsio's") { CHECK(CompareTiles(GZIP_2, 10000, 3) >= 10000); }
TEST_CASE("NOCOMPRESS: 10000 tiles equal cfitsio's") { CHECK(CompareTiles(NOCOMPRESS, 10000, 4) >= 10000); }

TEST_CASE("a damaged tile is an error or other pixels, never a crash") {
  Random random(5);
  for (const int compression : {RICE_1, GZIP_1, GZIP_2}) {
    MemoryFile file;
    long axes[2] = {64, 8};
    fits_set_compression_type(file.file, compression, &file.status);
    fits_create_img(file.file, SHORT_IMG, 2, axes, &file.status);
    std::vector<uint8_t> pixels = Pixels(kKinds[1], 512, &random);
    fits_write_img(file.file, TSHORT, 1, 512, pixels.data(), &file.status);
    fits_flush_file(file.file, &file.status);
    REQUIRE(file.status == 0);
    const uint8_t* data = nullptr;
    size_t bytes = 0;
    const TileImage image = LayoutOf(file.file, &data, &bytes, file.bytes());
    GuardedBuffer in(bytes, true), out(1024, true);
    uint8_t* copy = static_cast<uint8_t*>(in.data());
    for (int i = 0; i < 2000; ++i) {
      std::memcpy(copy, data, bytes);
      for (int k = 0; k <= random.Below(3); ++k) {
        copy[random.Below(static_cast<int64_t>(bytes))] = static_cast<uint8_t>(random.Next());
      }
      (void)DecodeTileImage(image, copy, bytes, static_cast<uint8_t*>(out.data()), 1024).ok();
    }
    // A tile that is larger than its stream can hold, and one more row than there are descriptors.
    TileImage large = image;
    large.axes[0] = large.tile[0] = int64_t{1} << 40;
    int64_t count = 0;
    CHECK(CheckTileImage(large, data, bytes, &count).code == Code::kInput);
    large.axes[0] = large.axes[1] = large.tile[0] = large.tile[1] = int64_t{1} << 40;
    CHECK(CheckTileImage(large, data, bytes, &count).code == Code::kInput);
    TileImage tall = image;
    tall.axes[1] = 9;
    CHECK(CheckTileImage(tall, data, bytes, &count).code == Code::kInput);
  }
}

TEST_CASE("swap reverses bytes and signs on every target, for every length and width") {
  Random random(6);
  for (const std::string& target : AvailableTargets()) {
    REQUIRE(LimitTarget(target));
    for (const int width : {1, 2, 4, 8}) {
      for (size_t count = 0; count < 70; ++count) {
        const size_t bytes = count * static_cast<size_t>(width);
        GuardedBuffer in(bytes, true), out(bytes, true), back(bytes, true);
        uint8_t* a = static_cast<uint8_t*>(in.data());
        uint8_t* b = static_cast<uint8_t*>(out.data());
        uint8_t* c = static_cast<uint8_t*>(back.data());
        for (size_t i = 0; i < bytes; ++i) a[i] = static_cast<uint8_t>(random.Next());
        REQUIRE(SwapElements(a, bytes, count, width, true, b, bytes).ok());
        for (size_t i = 0; i < count; ++i) {
          for (int k = 0; k < width; ++k) {
            const uint8_t expected =
                a[i * static_cast<size_t>(width) + static_cast<size_t>(width - 1 - k)] ^ (k == width - 1 ? 0x80 : 0);
            REQUIRE(b[i * static_cast<size_t>(width) + static_cast<size_t>(k)] == expected);
          }
        }
        REQUIRE(StoreBigEndian(b, bytes, count, width, true, c, bytes).ok());
        REQUIRE((bytes == 0 || std::memcmp(a, c, bytes) == 0));
      }
    }
  }
  LimitTarget("");
}

TEST_CASE("checksums: in any pieces, on every target, as cfitsio counts them") {
  Random random(7);
  std::vector<uint8_t> bytes(2880 * 3);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random.Next());
  uint64_t plain = 0;
  for (size_t i = 0; i < bytes.size(); i += 4) {
    plain += (uint32_t{bytes[i]} << 24) | (uint32_t{bytes[i + 1]} << 16) | (uint32_t{bytes[i + 2]} << 8) | bytes[i + 3];
  }
  while (plain >> 32) plain = (plain & 0xFFFFFFFFu) + (plain >> 32);
  for (const std::string& target : AvailableTargets()) {
    REQUIRE(LimitTarget(target));
    CHECK(ChecksumAdd(0, bytes.data(), bytes.size(), 0) == plain);
    for (int i = 0; i < 200; ++i) {
      uint32_t sum = 0;
      for (size_t at = 0; at < bytes.size();) {
        const size_t n = std::min(bytes.size() - at, static_cast<size_t>(1 + random.Below(700)));
        sum = ChecksumAdd(sum, bytes.data() + at, n, at);
        at += n;
      }
      REQUIRE(sum == plain);
    }
  }
  LimitTarget("");
  for (int i = 0; i < 1000; ++i) {
    const uint32_t value = static_cast<uint32_t>(random.Next());
    char ours[17] = "", theirs[17] = "";
    for (const bool complement : {false, true}) {
      ChecksumEncode(value, complement, ours);
      fits_encode_chksum(value, complement, theirs);
      REQUIRE(std::string(ours) == std::string(theirs));
      REQUIRE(ChecksumDecode(ours, complement) == value);
    }
  }
}

TEST_CASE("the random sequence ends as the standard says") {
  const float* sequence = RandomSequence();
  CHECK(sequence[kRandomCount - 1] == static_cast<float>(1043618065.0 / 2147483647.0));
}

TEST_CASE("gzip files: members, padding, damage, claims") {
  std::vector<uint8_t> text(100000);
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<uint8_t>(i / 7);
  std::vector<uint8_t> packed(GzipBound(text.size()));
  size_t n = 0;
  REQUIRE(GzipDeflate(text.data(), text.size(), 6, packed.data(), packed.size(), &n).ok());
  packed.resize(n);
  std::vector<uint8_t> two = packed;
  two.insert(two.end(), packed.begin(), packed.end());
  two.resize(two.size() + 512);  // zeros, as tape blocks leave them
  std::vector<uint8_t> out(200000);
  size_t written = 0;
  bool complete = false;
  REQUIRE(GzipInflateFile(two.data(), two.size(), out.data(), out.size(), &written, &complete).ok());
  CHECK(complete);
  CHECK(written == 200000);
  CHECK(std::memcmp(out.data() + 100000, text.data(), 100000) == 0);
  REQUIRE(GzipInflateFile(two.data(), two.size(), out.data(), 150000, &written, &complete).ok());
  CHECK_FALSE(complete);
  packed[packed.size() / 2] ^= 0x10;
  CHECK(GzipInflateFile(packed.data(), packed.size(), out.data(), out.size(), &written, &complete).code ==
        Code::kInput);
  int64_t claimed = 0;
  CHECK(GzipClaim(text.data(), text.size(), &claimed).code == Code::kInput);
}

TEST_CASE("descriptors outside the heap are refused") {
  uint8_t data[24] = {};
  HeapColumn column{data, sizeof data, 1, 8, 0, false, 8, 32};
  int64_t offsets[2];
  data[3] = 4;  // four elements of four bytes at offset 0: the whole heap of 16 bytes
  CHECK(MeasureHeapColumn(column, offsets, 2).ok());
  CHECK(offsets[1] == 4);
  data[3] = 5;
  CHECK(MeasureHeapColumn(column, offsets, 2).code == Code::kInput);
  data[3] = 1;
  data[7] = 13;
  CHECK(MeasureHeapColumn(column, offsets, 2).code == Code::kInput);
  data[0] = 0x80;
  CHECK(MeasureHeapColumn(column, offsets, 2).code == Code::kInput);
}

}  // namespace
}  // namespace rampline
