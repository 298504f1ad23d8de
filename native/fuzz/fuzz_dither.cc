// Quantised floating-point tiles: scales, blanks and dithers from hostile columns. The first byte chooses the codec.
#include "native/fuzz/tile_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  return rampline::fuzz::RunTile(data + 1, size - 1, static_cast<rampline::TileCodec>(data[0] % 4), true);
}
