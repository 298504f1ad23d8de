// Rice codec against cfitsio, in one run: CPU time of one core, the least of several interleaved rounds.
//
//   bench_rice [rows=256] [reads=47 | file=EXPOSURE.apz from=0] [rounds=5] [target=NAME]
//
// The data are a synthetic exposure in the layout of .apz files: per row the average difference of consecutive reads and
// the residuals of each difference (BYTEPIX 4), and the first read (BYTEPIX 2); Poisson flux of Gaussian traces, read
// noise of 9 DN, a cosmic ray in 1 % of the pixels; or rows of a given .apz file. Every decoded pixel is compared before
// anything is timed.
#include "native/codec/rice.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "native/core/cpu.h"

extern "C" {
int fits_rcomp(int a[], int nx, unsigned char* c, int clen, int nblock);
int fits_rcomp_short(short a[], int nx, unsigned char* c, int clen, int nblock);
int fits_rdecomp(unsigned char* c, int clen, unsigned int array[], int nx, int nblock);
int fits_rdecomp_short(unsigned char* c, int clen, unsigned short array[], int nx, int nblock);
}

namespace {

constexpr size_t kCols = 2560;
constexpr int kBlock = 32;

double CpuSeconds() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

struct Exposure {
  size_t rows, reads;
  std::vector<uint16_t> cube;   // [read][row][x]
  std::vector<int32_t> words;   // [tile][row][x]: average, then reads - 1 residuals
  std::vector<int16_t> halves;  // [tile][row][x]: the same residuals as 16-bit words
  std::vector<int16_t> first;   // [row][x]
  std::vector<uint8_t> heap;    // all compressed tiles
  struct Ref {
    size_t at, bytes;
  };
  std::vector<Ref> word, half, firstRef;  // [tile][row], [tile][row], [row]
};

// The residuals as 16-bit words, to the end of the heap.
void EncodeHalves(Exposure& e) {
  std::vector<uint8_t> tile(kCols * 8);
  for (size_t r = 0; r < e.reads * e.rows; r++) {
    const int bytes =
        fits_rcomp_short(e.halves.data() + r * kCols, kCols, tile.data(), static_cast<int>(tile.size()), kBlock);
    e.half.push_back({e.heap.size(), static_cast<size_t>(bytes)});
    e.heap.insert(e.heap.end(), tile.begin(), tile.begin() + bytes);
  }
}

Exposure Simulate(size_t rows, size_t reads) {
  Exposure e{rows, reads, {}, {}, {}, {}, {}, {}, {}, {}};
  std::mt19937_64 random(42);
  std::normal_distribution<float> normal;
  std::uniform_real_distribution<float> uniform;
  const size_t plane = rows * kCols;
  e.cube.resize(reads * plane);
  std::vector<float> bright(rows / 6 + 2);
  for (float& b : bright) b = std::pow(10.f, 0.3f + 0.45f * normal(random));
  for (size_t y = 0; y < rows; y++) {
    for (size_t x = 0; x < kCols; x++) {
      float profile = 0;
      for (size_t t = 0; t < bright.size(); t++) {
        const float from = static_cast<float>(y) - 6.f - 6.75f * static_cast<float>(t);
        if (std::abs(from) < 6) profile += bright[t] * std::exp(-0.5f * from * from);
      }
      const float line = std::pow(std::abs(std::sin(static_cast<float>(x) / 37.f)), 20.f);
      const float rate = std::min(1000.f, 0.05f + (x < 2048 ? profile * (20 * line + 4) : 0.f));
      const float pedestal = 9000 + 60 * normal(random);
      const size_t hit = uniform(random) < 0.01f ? 1 + static_cast<size_t>(uniform(random) * (reads - 1)) : reads;
      const float charge = 50 - 800 * std::log(1 - uniform(random));
      float sum = 0;
      for (size_t k = 0; k < reads; k++) {
        sum += std::max(0.f, rate + std::sqrt(rate) * normal(random)) + (k == hit ? charge : 0.f);
        const float value = std::round(pedestal + sum / 1.9f + 9 * normal(random));
        e.cube[k * plane + y * kCols + x] = static_cast<uint16_t>(std::min(65535.f, std::max(0.f, value)));
      }
    }
  }
  e.words.resize(reads * plane);
  e.first.resize(plane);
  for (size_t i = 0; i < plane; i++) {
    const int32_t all = e.cube[(reads - 1) * plane + i] - e.cube[i];
    const int32_t average =
        static_cast<int32_t>(std::lround(static_cast<double>(all) / static_cast<double>(reads - 1)));
    e.words[i] = average;
    for (size_t k = 1; k < reads; k++) {
      e.words[k * plane + i] = e.cube[k * plane + i] - e.cube[(k - 1) * plane + i] - average;
    }
    e.first[i] = static_cast<int16_t>(e.cube[i] ^ 0x8000);
  }
  e.halves.assign(e.words.begin(), e.words.end());
  std::vector<uint8_t> tile(kCols * 8);
  const auto add = [&](int bytes) {
    e.heap.insert(e.heap.end(), tile.begin(), tile.begin() + bytes);
    return Exposure::Ref{e.heap.size() - static_cast<size_t>(bytes), static_cast<size_t>(bytes)};
  };
  for (size_t r = 0; r < reads * rows; r++) {
    e.word.push_back(
        add(fits_rcomp(e.words.data() + r * kCols, kCols, tile.data(), static_cast<int>(tile.size()), kBlock)));
  }
  for (size_t y = 0; y < rows; y++) {
    e.firstRef.push_back(
        add(fits_rcomp_short(e.first.data() + y * kCols, kCols, tile.data(), static_cast<int>(tile.size()), kBlock)));
  }
  EncodeHalves(e);
  return e;
}

// `rows` rows from `from` on of an .apz file that is trusted to be one: 2560 columns, row tiles, BYTEPIX 4 but for the
// first read's 2. Its tiles are taken as they are; the 16-bit residuals are encoded anew.
Exposure FromFile(const std::string& path, size_t from, size_t rows) {
  std::vector<uint8_t> bytes;
  if (std::FILE* file = std::fopen(path.c_str(), "rb"); file != nullptr) {
    std::fseek(file, 0, SEEK_END);
    bytes.resize(static_cast<size_t>(std::ftell(file)));
    std::rewind(file);
    bytes.resize(std::fread(bytes.data(), 1, bytes.size(), file));
    std::fclose(file);
  }
  const auto number = [&](size_t at) {
    size_t n = 0;
    for (size_t i = 0; i < 4; i++) n = n << 8 | bytes[at + i];
    return n;
  };
  Exposure e{rows, 0, {}, {}, {}, {}, {}, {}, {}, {}};
  for (size_t at = 0; at < bytes.size();) {
    size_t axis1 = 0, axis2 = 0, heap = 0;
    bool end = false;
    for (; !end && at + 2880 <= bytes.size(); at += 2880) {
      for (size_t card = at; card < at + 2880; card += 80) {
        const std::string text(bytes.begin() + static_cast<ptrdiff_t>(card),
                               bytes.begin() + static_cast<ptrdiff_t>(card + 80));
        const auto value = [&] { return std::strtoul(text.c_str() + 10, nullptr, 10); };
        if (text.rfind("NAXIS1  =", 0) == 0) axis1 = value();
        if (text.rfind("NAXIS2  =", 0) == 0) axis2 = value();
        if (text.rfind("PCOUNT  =", 0) == 0) heap = value();
        if (text.rfind("END  ", 0) == 0) end = true;
      }
    }
    for (size_t y = 0; axis2 >= from + rows && y < rows; y++) {
      const size_t descriptor = at + (from + y) * axis1;
      const Exposure::Ref ref{at + axis1 * axis2 + number(descriptor + 4), number(descriptor)};
      if (e.reads == 1) {
        e.firstRef.push_back(ref);
      } else {
        e.word.push_back(ref);
      }
    }
    if (axis2 >= from + rows) e.reads++;
    at += (axis1 * axis2 + heap + 2879) / 2880 * 2880;
  }
  if (e.reads < 3 || e.firstRef.size() != rows) {
    std::fprintf(stderr, "bench_rice: %s is not an .apz file with so many rows\n", path.c_str());
    std::exit(1);
  }
  e.reads--;  // one image is the average
  const size_t plane = rows * kCols;
  e.words.resize(e.reads * plane);
  e.first.resize(plane);
  e.cube.resize(e.reads * plane);
  for (size_t r = 0; r < e.word.size(); r++) {
    fits_rdecomp(bytes.data() + e.word[r].at, static_cast<int>(e.word[r].bytes),
                 reinterpret_cast<unsigned*>(e.words.data() + r * kCols), kCols, kBlock);
  }
  for (size_t y = 0; y < rows; y++) {
    fits_rdecomp_short(bytes.data() + e.firstRef[y].at, static_cast<int>(e.firstRef[y].bytes),
                       reinterpret_cast<unsigned short*>(e.first.data() + y * kCols), kCols, kBlock);
  }
  for (size_t i = 0; i < plane; i++) {
    e.cube[i] = static_cast<uint16_t>(e.first[i] ^ 0x8000);
    for (size_t k = 1; k < e.reads; k++) {
      e.cube[k * plane + i] = static_cast<uint16_t>(e.cube[(k - 1) * plane + i] + e.words[i] + e.words[k * plane + i]);
    }
  }
  e.heap = std::move(bytes);
  e.halves.assign(e.words.begin(), e.words.end());
  EncodeHalves(e);
  return e;
}

struct Case {
  std::string name;
  double pixels;
  int rival;  // index of the case it is compared with
  std::function<void()> run;
  double best = 1e9;
};

void Check(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "bench_rice: wrong pixels: %s\n", what);
  std::exit(1);
}

}  // namespace

int main(int argc, char** argv) {
  using namespace rampline;
  size_t rows = 256, reads = 47;
  int rounds = 5;
  std::string only, path;
  size_t from = 0;
  for (int i = 1; i < argc; i++) {
    const std::string arg = argv[i];
    if (arg.rfind("rows=", 0) == 0)
      rows = std::strtoul(arg.c_str() + 5, nullptr, 10);
    else if (arg.rfind("reads=", 0) == 0)
      reads = std::strtoul(arg.c_str() + 6, nullptr, 10);
    else if (arg.rfind("rounds=", 0) == 0)
      rounds = std::atoi(arg.c_str() + 7);
    else if (arg.rfind("target=", 0) == 0)
      only = arg.substr(7);
    else if (arg.rfind("file=", 0) == 0)
      path = arg.substr(5);
    else if (arg.rfind("from=", 0) == 0)
      from = std::strtoul(arg.c_str() + 5, nullptr, 10);
    else
      return std::fprintf(
                 stderr,
                 "usage: bench_rice [rows=N] [reads=N | file=EXPOSURE.apz from=ROW] [rounds=N] [target=NAME]\n"),
             2;
  }
  Exposure e = path.empty() ? Simulate(rows, reads) : FromFile(path, from, rows);
  reads = e.reads;
  const double pixels = static_cast<double>(reads * rows * kCols);
  double bits = 0;
  for (const auto& ref : e.word) bits += 8 * static_cast<double>(ref.bytes);
  std::printf("%zu rows x %zu x %zu reads, %.2f bits a pixel\n", rows, kCols, reads, bits / pixels);

  std::vector<int32_t> wide(reads * (kCols + 16));
  std::vector<uint16_t> narrow((reads + 1) * (kCols + 32));
  std::vector<uint8_t> bytes(RiceMaxBytes(kCols, 4, kBlock));
  const size_t stride = kCols + 32;  // an odd number of cache lines, as for `wide`, or rows crowd into few cache sets
  std::vector<RiceTile> tiles;
  RiceLanes lanes;
  const auto tile = [&](const Exposure::Ref& ref, int bytepix) {
    return RiceTile{e.heap.data() + ref.at, ref.bytes, bytepix};
  };
  const auto rowTiles = [&](const std::vector<Exposure::Ref>& refs, int bytepix, size_t y) {
    tiles.clear();
    for (size_t k = 0; k < reads; k++) tiles.push_back(tile(refs[k * rows + y], bytepix));
  };
  const auto batch32 = [&](size_t y) {
    rowTiles(e.word, 4, y);
    return lanes.Begin(tiles, kBlock).ok() && lanes.Decode32(wide.data(), kCols + 16, kCols).ok();
  };
  const auto batch16 = [&](size_t y) {
    rowTiles(e.half, 2, y);
    return lanes.Begin(tiles, kBlock).ok() && lanes.Decode16(narrow.data(), stride, kCols).ok();
  };
  const auto readRows = [&](size_t y) {
    tiles.clear();
    tiles.push_back(tile(e.word[y], 4));
    tiles.push_back(tile(e.firstRef[y], 2));
    for (size_t k = 1; k < reads; k++) tiles.push_back(tile(e.word[k * rows + y], 4));
    return lanes.Begin(tiles, kBlock).ok() && lanes.DecodeReads(narrow.data(), stride, kCols, 0x8000).ok();
  };

  for (const std::string& target : AvailableTargets()) {
    if (!only.empty() && target != only) continue;
    LimitTarget(target);
    for (size_t y = 0; y < rows; y++) {
      Check(batch32(y), "32-bit batch");
      for (size_t k = 0; k < reads; k++) {
        Check(std::memcmp(wide.data() + k * (kCols + 16), e.words.data() + (k * rows + y) * kCols, 4 * kCols) == 0,
              "32-bit");
      }
      Check(batch16(y), "16-bit batch");
      for (size_t k = 0; k < reads; k++) {
        Check(std::memcmp(narrow.data() + k * stride, e.halves.data() + (k * rows + y) * kCols, 2 * kCols) == 0,
              "16-bit");
      }
      Check(readRows(y), "reads");
      for (size_t k = 0; k < reads; k++) {
        Check(std::memcmp(narrow.data() + k * stride, e.cube.data() + (k * rows + y) * kCols, 2 * kCols) == 0, "reads");
      }
    }
    const int tileBytes = static_cast<int>(bytes.size());
    size_t written = 0;
    std::vector<Case> cases;
    cases.push_back({"fits_rdecomp", pixels, -1, [&] {
                       for (const auto& r : e.word) {
                         fits_rdecomp(e.heap.data() + r.at, static_cast<int>(r.bytes),
                                      reinterpret_cast<unsigned*>(wide.data()), kCols, kBlock);
                       }
                     }});
    cases.push_back({"RiceDecode32", pixels, 0, [&] {
                       for (const auto& r : e.word) {
                         Check(RiceDecode32(e.heap.data() + r.at, r.bytes, wide.data(), kCols, kBlock).ok(), "one");
                       }
                     }});
    cases.push_back({"RiceLanes::Decode32", pixels, 0, [&] {
                       for (size_t y = 0; y < rows; y++) Check(batch32(y), "32-bit");
                     }});
    cases.push_back({"RiceLanes::DecodeReads (+ prefix)", pixels + static_cast<double>(rows * kCols), 0, [&] {
                       for (size_t y = 0; y < rows; y++) Check(readRows(y), "reads");
                     }});
    cases.push_back({"fits_rdecomp_short", pixels, -1, [&] {
                       for (const auto& r : e.half) {
                         fits_rdecomp_short(e.heap.data() + r.at, static_cast<int>(r.bytes), narrow.data(), kCols,
                                            kBlock);
                       }
                     }});
    cases.push_back(
        {"RiceDecode16", pixels, 4, [&] {
           for (const auto& r : e.half) {
             Check(RiceDecode16(e.heap.data() + r.at, r.bytes, reinterpret_cast<int16_t*>(narrow.data()), kCols, kBlock)
                       .ok(),
                   "one");
           }
         }});
    cases.push_back({"RiceLanes::Decode16", pixels, 4, [&] {
                       for (size_t y = 0; y < rows; y++) Check(batch16(y), "16-bit");
                     }});
    cases.push_back({"fits_rcomp", pixels, -1, [&] {
                       for (size_t r = 0; r < reads * rows; r++) {
                         fits_rcomp(e.words.data() + r * kCols, kCols, bytes.data(), tileBytes, kBlock);
                       }
                     }});
    cases.push_back(
        {"RiceEncode32", pixels, 7, [&] {
           for (size_t r = 0; r < reads * rows; r++) {
             Check(RiceEncode32(e.words.data() + r * kCols, kCols, kBlock, bytes.data(), bytes.size(), &written).ok(),
                   "encode");
           }
         }});
    cases.push_back({"fits_rcomp_short", pixels, -1, [&] {
                       for (size_t r = 0; r < reads * rows; r++) {
                         fits_rcomp_short(e.halves.data() + r * kCols, kCols, bytes.data(), tileBytes, kBlock);
                       }
                     }});
    cases.push_back(
        {"RiceEncode16", pixels, 9, [&] {
           for (size_t r = 0; r < reads * rows; r++) {
             Check(RiceEncode16(e.halves.data() + r * kCols, kCols, kBlock, bytes.data(), bytes.size(), &written).ok(),
                   "encode");
           }
         }});
    for (int round = 0; round < rounds; round++) {
      for (Case& c : cases) {
        const double start = CpuSeconds();
        c.run();
        c.best = std::min(c.best, CpuSeconds() - start);
      }
    }
    std::printf("%s\n", target.c_str());
    for (const Case& c : cases) {
      const double ns = c.best / c.pixels * 1e9;
      std::printf("  %-36s %7.3f ns/pixel", c.name.c_str(), ns);
      if (c.rival >= 0) {
        const Case& rival = cases[static_cast<size_t>(c.rival)];
        std::printf("  %6.2f x %s", rival.best / rival.pixels * 1e9 / ns, rival.name.c_str());
      }
      std::printf("\n");
    }
  }
  LimitTarget("");
  return 0;
}
