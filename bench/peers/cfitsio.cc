// cfitsio: opens a file, reads the image into memory of the program, closes it. Talks with run.mjs (see rival.mjs).
//   g++ -O2 bench/peers/cfitsio.cc -lcfitsio
#include <fitsio.h>

#include <ctime>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

namespace {

double CpuMs() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return 1e3 * static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_nsec);
}

// The value of a key in the flat JSON that run.mjs sends; it holds no escaped characters.
std::string Field(const std::string& line, const std::string& key) {
  const std::string head = "\"" + key + "\":\"";
  const size_t at = line.find(head);
  if (at == std::string::npos) return "";
  const size_t begin = at + head.size();
  return line.substr(begin, line.find('"', begin) - begin);
}

template <class T>
std::string Run(const std::string& path, int hdu, int type, const std::string& save) {
  const double before = CpuMs();
  int status = 0;
  fitsfile* file = nullptr;
  long axes[2] = {0, 0};
  std::unique_ptr<T[]> pixels;
  fits_open_diskfile(&file, path.c_str(), READONLY, &status);
  fits_movabs_hdu(file, hdu + 1, nullptr, &status);
  fits_get_img_size(file, 2, axes, &status);
  const long count = status == 0 ? axes[0] * axes[1] : 0;
  if (status == 0) {
    pixels.reset(new T[static_cast<size_t>(count)]);
    fits_read_img(file, type, 1, count, nullptr, pixels.get(), nullptr, &status);
  }
  if (file != nullptr) {
    int closed = 0;
    fits_close_file(file, &closed);
  }
  const double ms = CpuMs() - before;
  if (status != 0) return "{\"missing\":\"cfitsio status " + std::to_string(status) + "\"}";
  if (!save.empty()) {
    const std::vector<double> wide(pixels.get(), pixels.get() + count);
    std::ofstream(save, std::ios::binary)
        .write(reinterpret_cast<const char*>(wide.data()), static_cast<std::streamsize>(wide.size() * 8));
  }
  return "{\"cpuMs\":" + std::to_string(ms) + "}";
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const std::string folder = argv[1];
  for (std::string line; std::getline(std::cin, line);) {
    const std::string task = Field(line, "task"), save = Field(line, "save"), path = folder + "/" + task + ".fits";
    const int hdu = task.find("rice") != std::string::npos ? 1 : 0;
    std::string answer;
    if (task[0] == 'u') {
      answer = Run<unsigned short>(path, hdu, TUSHORT, save);
    } else if (task[0] == 'i') {
      answer = Run<int>(path, hdu, TINT, save);
    } else {
      answer = Run<float>(path, hdu, TFLOAT, save);
    }
    std::cout << "@" << answer << std::endl;
  }
}
