#include "native/codec/ramp.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <mutex>
#include <utility>

#include "native/codec/checksum.h"
#include "native/codec/rice.h"

namespace rampline {
namespace {

// Rows that are read from the file at once. Eight rows of 48 images are about 0.6 MB of compressed bytes, which the
// second-level cache holds; more rows make fewer system calls and more cache misses.
constexpr int64_t kRowsAtOnce = 8;
// One pread fetches the tiles of several rows when they lie nearly behind each other; a file with tiles all over the heap
// is read tile by tile.
constexpr int64_t kMaxWaste = 1 << 16;
// A Rice tile of n pixels never needs more than this: each block is a code plus, at worst, raw pixels; unary codes that
// are longer exist only in streams that no encoder wrote, and those may use the rest.
constexpr int64_t kMaxTileBytes = int64_t{1} << 26;

constexpr uint16_t kSignBit = 0x8000;  // unsigned 16-bit images are stored less 32768 (BZERO)

struct Tile {
  int64_t offset = 0;  // in the file
  int64_t bytes = 0;
};

Status ReadAt(int fd, int64_t offset, int64_t bytes, uint8_t* out, int32_t hdu) {
  while (bytes > 0) {
    const ssize_t got = pread(fd, out, static_cast<size_t>(bytes), offset);
    if (got < 0 && errno == EINTR) continue;
    Status status;
    if (got < 0) status = Fail(Code::kStorage, "the file cannot be read", offset);
    if (got == 0) status = Fail(Code::kInput, "the file ends early", offset, bytes, 0);
    if (got <= 0) {
      status.hdu = hdu;
      return status;
    }
    offset += got;
    out += got;
    bytes -= got;
  }
  return Ok();
}

Status At(Status status, int32_t hdu) {
  status.hdu = hdu;
  return status;
}

uint64_t BigEndian(const uint8_t* p, int bytes) {
  uint64_t value = 0;
  for (int i = 0; i < bytes; i++) value = value << 8 | p[i];
  return value;
}

class RampSource final : public RowSource {
 public:
  explicit RampSource(const RampLayout& layout) : layout_(layout), tiles_(layout.images.size()) {}

  int64_t planes() const override {
    return static_cast<int64_t>(layout_.images.size()) - (layout_.differences ? 1 : 0);
  }
  int64_t rows() const override { return layout_.rows; }
  int64_t cols() const override { return layout_.cols; }
  std::unique_ptr<RowReader> MakeReader() override;
  std::vector<uint32_t> DataSums() const override;

  Status Open();
  // Whether the bytes of this group of rows are still to be summed; true once for each group.
  bool TakeForSumming(int64_t row);
  // Adds the sum of stored bytes of an image.
  void AddToSum(size_t image, uint32_t sum);
  // Whether the tiles of the image fill its heap in the order of the rows, so that groups of rows cover every byte once.
  bool InOrder(size_t image) const;

  bool compressed() const { return layout_.images[0].compressed; }
  const RampLayout& layout() const { return layout_; }
  const std::vector<Tile>& tiles(size_t image) const { return tiles_[image]; }

 private:
  Status CheckImage(size_t index) const;
  Status ReadDescriptors(size_t index);

  RampLayout layout_;
  std::vector<std::vector<Tile>> tiles_;  // of compressed images, one for each row
  std::mutex mutex_;
  std::vector<uint32_t> sums_;   // of each image
  std::vector<uint8_t> summed_;  // of each group of rows
  bool summable_ = true;
};

Status RampSource::CheckImage(size_t index) const {
  const RampImage& image = layout_.images[index];
  const bool first = layout_.differences && index == 1;
  const int needed = layout_.differences && !first ? 4 : 2;
  if (image.dataOffset < 0 || image.dataBytes < 0 || image.dataOffset > layout_.fileBytes ||
      image.dataBytes > layout_.fileBytes - image.dataOffset) {
    return Fail(Code::kInput, "an image lies outside the file", image.dataOffset, image.dataBytes,
                layout_.fileBytes - image.dataOffset);
  }
  if (image.bytesPerPixel != needed) {
    return Fail(Code::kInput, "an image has not the bytes per pixel of its place", image.dataOffset, needed,
                image.bytesPerPixel);
  }
  int64_t bytes = 0;
  if (!image.compressed) {
    if (__builtin_mul_overflow(layout_.rows * layout_.cols, int64_t{image.bytesPerPixel}, &bytes) ||
        bytes > image.dataBytes) {
      return Fail(Code::kInput, "an image is smaller than its rows and columns", image.dataOffset, bytes,
                  image.dataBytes);
    }
    return Ok();
  }
  const int64_t pair = image.wideDescriptor ? 16 : 8;
  if (image.blockSize < 1 || image.blockSize > (1 << 16))
    return Fail(Code::kInput, "an impossible Rice block size", image.dataOffset, 32, image.blockSize);
  if (image.descriptor < 0 || image.tableRowBytes < pair || image.descriptor > image.tableRowBytes - pair ||
      __builtin_mul_overflow(image.tableRowBytes, layout_.rows, &bytes) || bytes > image.dataBytes) {
    return Fail(Code::kInput, "a table of tiles is smaller than its rows", image.dataOffset, bytes, image.dataBytes);
  }
  if (image.heapOffset < bytes || image.heapOffset > image.dataBytes) {
    return Fail(Code::kInput, "a heap of tiles lies outside its data", image.dataOffset, bytes, image.heapOffset);
  }
  return Ok();
}

Status RampSource::ReadDescriptors(size_t index) {
  const RampImage& image = layout_.images[index];
  const int64_t bytes = image.tableRowBytes * layout_.rows;
  std::vector<uint8_t> table(static_cast<size_t>(bytes));
  if (Status s = ReadAt(layout_.fd, image.dataOffset, bytes, table.data(), image.hdu); !s.ok()) return s;
  sums_[index] = ChecksumAdd(0, table.data(), table.size(), 0);
  const int64_t heap = image.dataOffset + image.heapOffset;
  const int64_t heapBytes = image.dataBytes - image.heapOffset;
  const int size = image.wideDescriptor ? 8 : 4;
  tiles_[index].resize(static_cast<size_t>(layout_.rows));
  for (int64_t row = 0; row < layout_.rows; row++) {
    const uint8_t* p = table.data() + row * image.tableRowBytes + image.descriptor;
    const auto count = static_cast<int64_t>(BigEndian(p, size));
    const auto offset = static_cast<int64_t>(BigEndian(p + size, size));
    if (count < 1 || offset < 0 || count > heapBytes || offset > heapBytes - count || count > kMaxTileBytes) {
      return Fail(Code::kInput, "a tile lies outside its heap", image.dataOffset + row * image.tableRowBytes, heapBytes,
                  count);
    }
    tiles_[index][static_cast<size_t>(row)] = {heap + offset, count};
  }
  return Ok();
}

Status RampSource::Open() {
  // Row and column limits keep every product of them far inside 64 bits.
  constexpr int64_t kMaxSide = int64_t{1} << 24;
  if (layout_.rows < 1 || layout_.cols < 1 || layout_.rows > kMaxSide || layout_.cols > kMaxSide) {
    return Fail(Code::kInput, "a read must have between 1 and 2^24 rows and columns");
  }
  if (layout_.images.empty() || (layout_.differences && layout_.images.size() < 2)) {
    return Fail(Code::kInput, "a ramp file needs at least one read");
  }
  sums_.assign(layout_.images.size(), 0);
  summed_.assign(static_cast<size_t>((layout_.rows + kRowsAtOnce - 1) / kRowsAtOnce), 0);
  for (size_t i = 0; i < layout_.images.size(); i++) {
    const int32_t hdu = layout_.images[i].hdu;
    if (layout_.images[i].compressed != layout_.images[0].compressed ||
        layout_.images[i].blockSize != layout_.images[0].blockSize) {
      return At(
          Fail(Code::kInput, "the images of a ramp file are not all stored in one way", layout_.images[i].dataOffset),
          hdu);
    }
    if (Status s = CheckImage(i); !s.ok()) return At(s, hdu);
    if (layout_.images[i].compressed) {
      if (Status s = ReadDescriptors(i); !s.ok()) return At(s, hdu);
    }
    summable_ = summable_ && InOrder(i);
  }
  return Ok();
}

bool RampSource::InOrder(size_t index) const {
  const RampImage& image = layout_.images[index];
  if (!image.compressed) return image.dataBytes == layout_.rows * layout_.cols * image.bytesPerPixel;
  int64_t next = image.dataOffset + image.heapOffset;
  for (const Tile& tile : tiles_[index]) {
    if (tile.offset != next) return false;
    next += tile.bytes;
  }
  // A gap before the heap or bytes behind it would not be summed.
  return image.heapOffset == image.tableRowBytes * layout_.rows && next == image.dataOffset + image.dataBytes;
}

bool RampSource::TakeForSumming(int64_t row) {
  if (!summable_) return false;
  const std::lock_guard lock(mutex_);
  return std::exchange(summed_[static_cast<size_t>(row / kRowsAtOnce)], uint8_t{1}) == 0;
}

void RampSource::AddToSum(size_t image, uint32_t sum) {
  const std::lock_guard lock(mutex_);
  sums_[image] = ChecksumCombine(sums_[image], sum);
}

std::vector<uint32_t> RampSource::DataSums() const {
  const bool all = std::all_of(summed_.begin(), summed_.end(), [](uint8_t done) { return done != 0; });
  return summable_ && all ? sums_ : std::vector<uint32_t>();
}

class RampReader final : public RowReader {
 public:
  explicit RampReader(RampSource& source)
      : source_(source), rowBytes_(source.layout().images.size()), tiles_(source.layout().images.size()) {
    if (!source.compressed()) lines_.resize(source.layout().images.size() * static_cast<size_t>(source.cols()));
  }

  Status Read(int64_t row, int64_t cols, uint16_t* out, int64_t planeStride) override;

 private:
  Status Load(int64_t row);
  Status LoadImage(size_t index, int64_t from, int64_t to, size_t* used, bool sum);
  Status Fetch(size_t index, int64_t offset, int64_t bytes, size_t at, bool sum);
  void ReadPlain(size_t index, int64_t row, size_t cols, int32_t* out) const;
  Status ReadCompressed(int64_t row, size_t cols, uint16_t* out, int64_t planeStride);
  void Reserve(size_t bytes);

  RampSource& source_;
  int64_t from_ = 0, to_ = 0;                  // rows that are loaded
  std::vector<uint8_t> bytes_;                 // their bytes, image by image
  std::vector<std::vector<size_t>> rowBytes_;  // offsets into bytes_ of the tile or line of each loaded row
  std::vector<RiceTile> tiles_;                // compressed files: one row of every image
  RiceLanes lanes_;
  std::vector<int32_t> lines_;  // plain files: one row of every image
};

void RampReader::Reserve(size_t bytes) {
  if (bytes > bytes_.size()) bytes_.resize(bytes + bytes / 4);
}

// Reads bytes of an image to `at` in bytes_, and adds them to the image's checksum while they are in the cache.
Status RampReader::Fetch(size_t index, int64_t offset, int64_t bytes, size_t at, bool sum) {
  const RampImage& image = source_.layout().images[index];
  const Status status = ReadAt(source_.layout().fd, offset, bytes, bytes_.data() + at, image.hdu);
  if (status.ok() && sum) {
    const auto within = static_cast<uint64_t>(offset - image.dataOffset);
    source_.AddToSum(index, ChecksumAdd(0, bytes_.data() + at, static_cast<size_t>(bytes), within));
  }
  return status;
}

Status RampReader::LoadImage(size_t index, int64_t from, int64_t to, size_t* used, bool sum) {
  const RampLayout& layout = source_.layout();
  const RampImage& image = layout.images[index];
  std::vector<size_t>& starts = rowBytes_[index];
  starts.resize(static_cast<size_t>(to - from));
  if (!image.compressed) {
    const int64_t line = layout.cols * image.bytesPerPixel;
    Reserve(*used + static_cast<size_t>((to - from) * line));
    for (int64_t row = from; row < to; row++)
      starts[static_cast<size_t>(row - from)] = *used + static_cast<size_t>((row - from) * line);
    const Status s = Fetch(index, image.dataOffset + from * line, (to - from) * line, *used, sum);
    *used += static_cast<size_t>((to - from) * line);
    return s;
  }
  const std::vector<Tile>& tiles = source_.tiles(index);
  int64_t low = std::numeric_limits<int64_t>::max();
  int64_t high = 0, total = 0;
  for (int64_t row = from; row < to; row++) {
    const Tile& tile = tiles[static_cast<size_t>(row)];
    low = std::min(low, tile.offset);
    high = std::max(high, tile.offset + tile.bytes);
    total += tile.bytes;
  }
  if (high - low <= total + kMaxWaste) {
    Reserve(*used + static_cast<size_t>(high - low));
    for (int64_t row = from; row < to; row++) {
      starts[static_cast<size_t>(row - from)] =
          *used + static_cast<size_t>(tiles[static_cast<size_t>(row)].offset - low);
    }
    const Status s = Fetch(index, low, high - low, *used, sum);
    *used += static_cast<size_t>(high - low);
    return s;
  }
  Reserve(*used + static_cast<size_t>(total));
  for (int64_t row = from; row < to; row++) {
    const Tile& tile = tiles[static_cast<size_t>(row)];
    starts[static_cast<size_t>(row - from)] = *used;
    if (Status s = Fetch(index, tile.offset, tile.bytes, *used, sum); !s.ok()) return s;
    *used += static_cast<size_t>(tile.bytes);
  }
  return Ok();
}

Status RampReader::Load(int64_t row) {
  const int64_t from = row / kRowsAtOnce * kRowsAtOnce;
  const int64_t to = std::min(from + kRowsAtOnce, source_.rows());
  from_ = to_ = 0;  // nothing is loaded until all of it is
  const bool sum = source_.TakeForSumming(from);
  size_t used = 0;
  for (size_t i = 0; i < rowBytes_.size(); i++) {
    if (Status s = LoadImage(i, from, to, &used, sum); !s.ok()) return s;
  }
  from_ = from;
  to_ = to;
  return Ok();
}

void RampReader::ReadPlain(size_t index, int64_t row, size_t cols, int32_t* out) const {
  const RampLayout& layout = source_.layout();
  const uint8_t* in = bytes_.data() + rowBytes_[index][static_cast<size_t>(row - from_)];
  if (layout.images[index].bytesPerPixel == 2) {
    for (size_t x = 0; x < cols; x++) out[x] = static_cast<int16_t>(in[2 * x] << 8 | in[2 * x + 1]);
  } else {
    for (size_t x = 0; x < cols; x++) out[x] = static_cast<int32_t>(BigEndian(in + 4 * x, 4));
  }
}

Status RampReader::ReadCompressed(int64_t row, size_t cols, uint16_t* out, int64_t planeStride) {
  const RampLayout& layout = source_.layout();
  for (size_t i = 0; i < tiles_.size(); i++) {
    tiles_[i].data = bytes_.data() + rowBytes_[i][static_cast<size_t>(row - from_)];
    tiles_[i].bytes = static_cast<size_t>(source_.tiles(i)[static_cast<size_t>(row)].bytes);
    tiles_[i].bytepix = layout.images[i].bytesPerPixel;
  }
  const auto stride = static_cast<size_t>(planeStride);
  Status status = lanes_.Begin(tiles_, layout.images[0].blockSize);
  if (status.ok()) {
    status = layout.differences ? lanes_.DecodeReads(out, stride, cols, kSignBit) : lanes_.Decode16(out, stride, cols);
  }
  if (!status.ok()) {
    const size_t failed = std::min(lanes_.failedTile(), tiles_.size() - 1);
    status.offset = source_.tiles(failed)[static_cast<size_t>(row)].offset + std::max<int64_t>(status.offset, 0);
    status.hdu = layout.images[failed].hdu;
    return status;
  }
  if (!layout.differences) {
    for (size_t k = 0; k < tiles_.size(); k++) {
      uint16_t* read = out + k * stride;
      for (size_t x = 0; x < cols; x++) read[x] ^= kSignBit;
    }
  }
  return status;
}

Status RampReader::Read(int64_t row, int64_t wanted, uint16_t* out, int64_t planeStride) {
  const auto cols = static_cast<size_t>(wanted);
  if (row < from_ || row >= to_) {
    if (Status s = Load(row); !s.ok()) return s;
  }
  if (source_.compressed()) return ReadCompressed(row, cols, out, planeStride);
  const RampLayout& layout = source_.layout();
  for (size_t i = 0; i < layout.images.size(); i++) ReadPlain(i, row, cols, lines_.data() + i * cols);
  const size_t first = layout.differences ? 1 : 0;
  for (size_t k = first; k < layout.images.size(); k++) {
    uint16_t* read = out + static_cast<int64_t>(k - first) * planeStride;
    const int32_t* line = lines_.data() + k * cols;
    if (k == first || !layout.differences) {
      for (size_t x = 0; x < cols; x++) read[x] = static_cast<uint16_t>(static_cast<uint32_t>(line[x]) ^ kSignBit);
    } else {
      // Modulo 2^16, as the sums of valid differences never leave 16 bits.
      const uint16_t* before = read - planeStride;
      for (size_t x = 0; x < cols; x++) {
        read[x] = static_cast<uint16_t>(before[x] + static_cast<uint32_t>(lines_[x]) + static_cast<uint32_t>(line[x]));
      }
    }
  }
  return Ok();
}

std::unique_ptr<RowReader> RampSource::MakeReader() { return std::make_unique<RampReader>(*this); }

}  // namespace

Status OpenRamp(const RampLayout& layout, std::shared_ptr<RowSource>* source) {
  auto ramp = std::make_shared<RampSource>(layout);
  if (Status s = ramp->Open(); !s.ok()) return s;
  *source = std::move(ramp);
  return Ok();
}

}  // namespace rampline
