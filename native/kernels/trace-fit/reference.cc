#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "generated/trace-fit.h"

namespace rampline::trace_fit {
namespace {

constexpr int kFibres = 300, kBins = 128, kGroup = 16;

// Light of a fibre in the pixel at `row`, of 1 in all, and its derivatives by centre and width.
struct Pixel {
  double part, byCentre, byWidth;
};

class Chip {
 public:
  explicit Chip(const KernelCall& call)
      : image_(call.ports[kImage].view<const float>()),
        ivar_(call.ports[kIvar].view<const float>()),
        centre_(call.ports[kCentre].view<const float>()),
        width_(call.ports[kWidth].view<const float>()),
        flux_(call.ports[kFlux].view<const float>()),
        profile_(call.ports[kProfile].view<const float>()) {}

  int64_t rows() const { return image_.planes; }
  int64_t cols() const { return image_.cols; }
  double value(int64_t row, int64_t x) const { return image_.at(row, 0)[x]; }
  double centre(int fibre, int64_t x) const { return centre_.at(0, fibre)[x]; }
  double flux(int fibre, int64_t x) const { return flux_.at(0, fibre)[x]; }

  bool HasTrace(int fibre, int64_t x) const {
    const float w = width_.at(0, fibre)[x];
    return std::abs(centre(fibre, x)) < 1e6f && w > 0.05f && w < 20.0f && std::abs(flux(fibre, x)) < 1e9f;
  }

  double Variance(int64_t row, int64_t x) const {
    const float w = ivar_.at(row, 0)[x];
    return std::abs(value(row, x)) < 1e9f && w > 1e-12f && w < 1e12f ? 1.0 / w : 0.0;
  }

  // Of a pixel from the others of its row from `from` to `to`.
  double Weight(int64_t row, int64_t x, int64_t from, int64_t to) const {
    const double own = Variance(row, x);
    if (own == 0) return 0;
    double sum = 0, count = 0;
    for (int64_t i = from; i < to; i++) {
      const double v = i == x ? 0 : Variance(row, i);
      sum += v;
      count += v > 0 ? 1 : 0;
    }
    return 1 / (count == 0 || own > 4 * sum / count ? own : sum / count);
  }

  Pixel At(int fibre, int64_t row, int64_t x, double node) const {
    const double c = centre(fibre, x), w = width_.at(0, fibre)[x];
    const double low = (static_cast<double>(row) - 0.5 - c) / w, high = (static_cast<double>(row) + 0.5 - c) / w;
    const double p = Density(fibre, node, low), q = Density(fibre, node, high);
    return {Cumulative(fibre, node, high) - Cumulative(fibre, node, low), -(q - p) / w, -(q * high - p * low) / w};
  }

 private:
  double Sample(int fibre, double node, int i) const {
    const int n = std::min(static_cast<int>(node), 7);
    const double a = profile_.at(fibre, n)[i], b = profile_.at(fibre, n + 1)[i];
    return a + (b - a) * (node - n);
  }

  static double Place(double z, int* index) {
    const double at = std::clamp((z + 12) * 20, 0.0, 480.0);
    *index = std::min(static_cast<int>(at), 479);
    return at - *index;
  }

  double Cumulative(int fibre, double node, double z) const {
    int i = 0;
    const double part = Place(z, &i);
    return (1 - part) * Sample(fibre, node, i) + part * Sample(fibre, node, i + 1);
  }

  // Half a pixel's worth of samples on either side makes the slope at a sample; 0 at both ends.
  double SlopeAt(int fibre, double node, int i) const {
    return i == 0 || i == 480 ? 0 : 10 * (Sample(fibre, node, i + 1) - Sample(fibre, node, i - 1));
  }

  double Density(int fibre, double node, double z) const {
    int i = 0;
    const double part = Place(z, &i);
    return (1 - part) * SlopeAt(fibre, node, i) + part * SlopeAt(fibre, node, i + 1);
  }

  View<const float> image_, ivar_, centre_, width_, flux_, profile_;
};

}  // namespace

Status Reference(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const Chip chip(call);
  const auto sums = call.ports[kSums].view<double>();
  for (int v = 0; v < 12; v++) {
    for (int k = 0; k < kFibres; k++) std::fill_n(sums.at(v, k), kBins, 0.0);
  }
  const int64_t cols = chip.cols(), rows = chip.rows();
  // Of each fibre: sums of the weights with F, c, w, 1 and the rest.
  std::vector<std::array<double, 5>> even(kFibres);
  for (int64_t bin = 0; bin < kBins; bin++) {
    if (bin % params.every != params.every / 2) continue;
    for (auto& one : even) one.fill(0);
    const int64_t begin = bin * cols / kBins, end = (bin + 1) * cols / kBins;
    for (int64_t x = begin; x < end; x++) {
      const int64_t from = begin + (x - begin) / kGroup * kGroup, to = std::min(end, from + kGroup);
      const double node = cols > 1 ? 8 * 0.5 * static_cast<double>(from + to - 1) / static_cast<double>(cols - 1) : 0;
      std::vector<double> model(static_cast<size_t>(rows), 0.0);
      for (int k = 0; k < kFibres; k++) {
        if (!chip.HasTrace(k, x) || chip.flux(k, x) == 0) continue;
        for (int64_t row = 0; row < rows; row++) {
          // Beyond the table a pixel has no light.
          if (std::abs(static_cast<double>(row) - chip.centre(k, x)) < 250) {
            model[static_cast<size_t>(row)] += chip.flux(k, x) * chip.At(k, row, x, node).part;
          }
        }
      }
      for (int64_t row = 0; row < rows; row++) {
        const double w = chip.Weight(row, x, from, to);
        if (w == 0) continue;
        const double shown = model[static_cast<size_t>(row)], rest = chip.value(row, x) - shown;
        const double error = static_cast<double>(params.model) * shown, clip = params.clip;
        if (clip > 0 && rest * rest * w > clip * clip * (1 + error * error * w)) continue;
        for (int k = 0; k < kFibres; k++) {
          if (!chip.HasTrace(k, x)) continue;
          if (std::abs(static_cast<double>(row) - chip.centre(k, x)) > params.reach) continue;
          const Pixel p = chip.At(k, row, x, node);
          const double j[3] = {p.part, chip.flux(k, x) * p.byCentre, chip.flux(k, x) * p.byWidth};
          const double terms[12] = {j[0] * j[0], j[0] * j[1], j[0] * j[2], j[1] * j[1], j[1] * j[2], j[2] * j[2],
                                    j[0] * rest, j[1] * rest, j[2] * rest, rest * rest, 1 / w,       p.part / w};
          for (int v = 0; v < 12; v++) sums.at(v, k)[bin] += w * terms[v];
          const double with[5] = {j[0], j[1], j[2], 1, rest};
          for (int v = 0; v < 5; v++) even[static_cast<size_t>(k)][static_cast<size_t>(v)] += w * with[v];
        }
      }
    }
    for (int k = 0; k < kFibres && params.pedestal; k++) {
      const auto& e = even[static_cast<size_t>(k)];
      if (!(e[3] > 0)) continue;
      const size_t first[12] = {0, 0, 0, 1, 1, 2, 0, 1, 2, 4}, second[12] = {0, 1, 2, 1, 2, 2, 4, 4, 4, 4};
      for (int v = 0; v < 10; v++) sums.at(v, k)[bin] -= e[first[v]] * e[second[v]] / e[3];
    }
  }
  return Ok();
}

}  // namespace rampline::trace_fit
