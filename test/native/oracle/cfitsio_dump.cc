// What cfitsio reads, as raw native-endian bytes, for tests that compare Rampline's reader with it:
//   rampline_cfitsio_dump FILE REQUEST...
// REQUEST is HDU:TYPE for an image (HDU counts from 0) or HDU:COLUMN:TYPE for a table column (COLUMN counts from 1); TYPE
// is u8 i8 i16 u16 i32 u32 i64 u64 f32 f64, and for columns also c64 c128 bit log and txt (strings, each ended by a zero).
// For each request one line "STATUS BYTES" and then as many bytes. Variable-length columns give the rows one after
// another.
#include <fitsio.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

namespace {

struct Type {
  const char* name;
  int code;
  size_t bytes;
};
constexpr Type kTypes[] = {{"u8", TBYTE, 1},   {"i8", TSBYTE, 1},    {"i16", TSHORT, 2},    {"u16", TUSHORT, 2},
                           {"i32", TINT, 4},   {"u32", TUINT, 4},    {"i64", TLONGLONG, 8}, {"u64", TULONGLONG, 8},
                           {"f32", TFLOAT, 4}, {"f64", TDOUBLE, 8},  {"c64", TCOMPLEX, 8},  {"c128", TDBLCOMPLEX, 16},
                           {"bit", TBIT, 1},   {"log", TLOGICAL, 1}, {"txt", TSTRING, 1}};

const Type* Find(const char* name) {
  for (const Type& type : kTypes) {
    if (std::strcmp(type.name, name) == 0) return &type;
  }
  return nullptr;
}

void Answer(int status, const std::vector<char>& bytes) {
  std::printf("%d %zu\n", status, bytes.size());
  std::fwrite(bytes.data(), 1, bytes.size(), stdout);
}

void* Nan(const Type& type) {
  static float f = std::numeric_limits<float>::quiet_NaN();
  static double d = std::numeric_limits<double>::quiet_NaN();
  static char undefined = static_cast<char>(255);
  if (type.code == TLOGICAL) return &undefined;
  return type.code == TFLOAT ? static_cast<void*>(&f) : type.code == TDOUBLE ? static_cast<void*>(&d) : nullptr;
}

void DumpImage(fitsfile* file, const Type& type) {
  int status = 0, naxis = 0, bitpix = 0;
  LONGLONG axes[9] = {};
  fits_get_img_dim(file, &naxis, &status);
  fits_get_img_type(file, &bitpix, &status);
  fits_get_img_sizell(file, 9, axes, &status);
  LONGLONG pixels = naxis == 0 ? 0 : 1;
  for (int i = 0; i < naxis && i < 9; ++i) pixels *= axes[i];
  std::vector<char> bytes(status == 0 ? static_cast<size_t>(pixels) * type.bytes : 0);
  int any = 0, ignored = 0;
  // Without a null value cfitsio leaves the bits of stored NaNs and infinities alone; blanks become NaN only with one.
  const bool nulls = bitpix > 0 || fits_is_compressed_image(file, &ignored);
  if (pixels > 0) {
    fits_read_img(file, type.code, 1, pixels, nulls ? Nan(type) : nullptr, bytes.data(), &any, &status);
  }
  Answer(status, status == 0 ? bytes : std::vector<char>());
}

void DumpColumn(fitsfile* file, int column, const Type& type) {
  int status = 0, code = 0, any = 0, kind = 0;
  LONGLONG rows = 0, repeat = 0, width = 0;
  fits_get_hdu_type(file, &kind, &status);
  fits_get_num_rowsll(file, &rows, &status);
  fits_get_coltypell(file, column, &code, &repeat, &width, &status);
  std::vector<char> bytes;
  const bool variable = code < 0;
  for (LONGLONG row = 1; row <= rows && status == 0; ++row) {
    LONGLONG count = repeat, offset = 0;
    if (variable) fits_read_descriptll(file, column, row, &count, &offset, &status);
    if (status != 0) break;
    if (type.code == TSTRING) {
      // A row of rAw holds r / w strings; a string of length 0 cannot be asked for.
      const LONGLONG strings = variable || width == 0 || kind == ASCII_TBL ? 1 : repeat / width;
      for (LONGLONG i = 0; i < strings && status == 0; ++i) {
        std::vector<char> text(static_cast<size_t>(kind == ASCII_TBL ? width : count) + 2);
        char* at = text.data();
        char none[] = "";
        if (count > 0) fits_read_col_str(file, column, row, i + 1, 1, none, &at, &any, &status);
        // cfitsio gives one blank for a field of blanks, to tell it from a null string.
        if (std::strcmp(text.data(), " ") == 0) text[0] = 0;
        bytes.insert(bytes.end(), text.data(), text.data() + std::strlen(text.data()) + 1);
      }
      continue;
    }
    if (count == 0) continue;
    const size_t at = bytes.size();
    bytes.resize(at + static_cast<size_t>(count) * type.bytes);
    if (type.code == TBIT) {
      fits_read_col_bit(file, column, row, 1, count, bytes.data() + at, &status);
    } else {
      // As for images: the bits of stored floating-point numbers are left alone.
      const bool nulls = kind == ASCII_TBL || (std::abs(code) != TFLOAT && std::abs(code) != TDOUBLE);
      fits_read_col(file, type.code, column, row, 1, count, nulls ? Nan(type) : nullptr, bytes.data() + at, &any,
                    &status);
    }
  }
  Answer(status, status == 0 ? bytes : std::vector<char>());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  fitsfile* file = nullptr;
  int status = 0;
  if (fits_open_diskfile(&file, argv[1], READONLY, &status) != 0) {
    std::fprintf(stderr, "cfitsio status %d\n", status);
    return 1;
  }
  for (int i = 2; i < argc; ++i) {
    std::vector<std::string> parts;
    for (const char *at = argv[i], *end; *at != 0; at = *end == 0 ? end : end + 1) {
      end = std::strchr(at, ':');
      if (end == nullptr) end = at + std::strlen(at);
      parts.emplace_back(at, end);
    }
    const Type* type = parts.size() < 2 ? nullptr : Find(parts.back().c_str());
    if (type == nullptr) return 2;
    status = 0;
    fits_movabs_hdu(file, std::atoi(parts[0].c_str()) + 1, nullptr, &status);
    if (status != 0) {
      Answer(status, {});
    } else if (parts.size() == 2) {
      DumpImage(file, *type);
    } else {
      DumpColumn(file, std::atoi(parts[1].c_str()), *type);
    }
  }
  status = 0;
  fits_close_file(file, &status);
  return 0;
}
