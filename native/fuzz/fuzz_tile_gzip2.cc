// Tile-compressed images, GZIP_2 streams.
#include "native/fuzz/tile_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return rampline::fuzz::RunTile(data, size, rampline::TileCodec::kGzip2, false);
}
