#include <algorithm>
#include <cmath>
#include <limits>

#include "generated/dq.h"
#include "generated/fit-transfer.h"

namespace rampline::fit_transfer {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

struct Sum {
  double n, rate, variance;  // means of the latter two; 0 where n < 1
};

Sum MeanOf(double n, double rate, double variance) { return n < 1 ? Sum{0, 0, 0} : Sum{n, rate / n, variance / n}; }

double ErrorSquared(double photons, double v, double n) {
  return (3 * photons * photons + 20 * photons * v + 35 * v * v) / n;
}

}  // namespace

Status Reference(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto dark = call.ports[kDark].view<const float>(), flat = call.ports[kFlat].view<const float>();
  const float* table = call.ports[kTable].view<const float>().at(0, 0);
  const auto sums = call.ports[kSums].view<double>();
  const auto put = [&](size_t port, int64_t row, int64_t x, double value) {
    if (call.ports[port].data != nullptr) call.ports[port].view<float>().at(0, row)[x] = static_cast<float>(value);
  };
  const auto flag = [&](size_t port, int64_t row, int64_t x, uint32_t bits) {
    if (call.ports[port].data != nullptr) call.ports[port].view<uint32_t>().at(0, row)[x] = bits;
  };
  for (int64_t row = 0; row < dark.rows; row++) {
    std::fill(sums.at(0, row), sums.at(0, row) + 80, 0.0);
    const int64_t y = call.origin.row + row;
    const bool edge = y < params.border || y >= call.whole.rows - params.border;
    for (int64_t amplifier = 0; amplifier < 4; amplifier++) {
      const float* t = table + 8 * amplifier;
      double* out = sums.at(0, row) + 20 * amplifier;
      for (int64_t x = dark.cols * amplifier / 4; x < dark.cols * (amplifier + 1) / 4; x++) {
        const bool isReference = edge || x < params.border || x >= dark.cols - params.border;
        Sum d[3], f[3];  // first half, second half, both
        for (int i = 0; i < 3; i++) {
          const auto of = [&](const View<const float>& view) {
            const auto at = [&](int s) { return static_cast<double>(view.at(s, row)[x]); };
            return i < 2 ? MeanOf(at(3 * i), at(3 * i + 1), at(3 * i + 2))
                         : MeanOf(at(0) + at(3), at(1) + at(4), at(2) + at(5));
          };
          d[i] = of(dark);
          f[i] = of(flat);
        }
        // Read noise
        const double h = t[0], v0 = t[6];
        const double darkPhotons = h * std::max(d[2].rate, 0.0);
        const double v = (d[2].variance - darkPhotons) / 3, safe = std::max({v, 0.25 * v0, 1e-6});
        const double vVariance = d[2].n > 0 ? ErrorSquared(darkPhotons, safe, d[2].n) / 9 : 0;
        const bool measured = d[2].n > 0 && v > 0;
        // What a pixel like the amplifier's would show; its own variance would excuse whatever it does.
        const double expected = d[2].n > 0 ? ErrorSquared(darkPhotons, v0 > 0 ? v0 : safe, d[2].n) / 9 : 0;
        const double bound = t[7] + expected;
        if (measured && !isReference &&
            (v0 == 0 || (v - v0) * (v - v0) <= static_cast<double>(params.clip) * params.clip * bound)) {
          out[11]++;
          out[12] += v - v0;
          out[13] += (v - v0) * (v - v0);
          out[14] += vVariance;
          if (d[0].n > 0 && d[1].n > 0) {
            const double a = (d[0].variance - h * std::max(d[0].rate, 0.0)) / 3 - v0;
            const double b = (d[1].variance - h * std::max(d[1].rate, 0.0)) / 3 - v0;
            out[15] += a;
            out[16] += b;
            out[17] += a * b;
            out[18] += a * b * a * b;
          }
        }
        // A pixel like its amplifier's is drawn towards it; another keeps its own.
        const bool alike = d[2].n > 0 && v0 > 0 && (v - v0) * (v - v0) <= 16 * bound;
        const double noiseWeight = alike ? t[7] / bound : 1;
        const double drawn = alike ? v0 + noiseWeight * (v - v0) : v;
        const double drawnVariance = alike ? (1 - noiseWeight) * t[7] : vVariance;
        const bool has = drawn > 0 && (alike || measured);
        const double bend = (alike ? -1 : 1) * drawnVariance / (8 * drawn * drawn);
        const double noise = has ? std::sqrt(drawn) * (1 + bend) : kNone;
        const bool plausible = has && noise >= params.lowNoise && noise <= params.highNoise;
        put(kNoise, row, x, plausible ? noise : kNone);
        put(kNoiseError, row, x, plausible ? std::sqrt(drawnVariance / drawn) / 2 : kNone);
        const uint32_t reference = isReference ? dq::kReferencePixel : 0;
        const bool noisy = measured && v0 > 0 && v > v0 && (v - v0) * (v - v0) > params.noisy * params.noisy * bound;
        flag(kNoiseDq, row, x, reference | (plausible ? 0 : dq::kNoCalibration) | (noisy ? dq::kNoisy : 0));

        // Gain. Its error knows the noise of pixels like this one, not what chance made of it: that would pick the quiet ones.
        const double v1 = alike ? std::max({drawn, 0.25 * v0, 1e-6}) : safe;
        const double rate = f[2].rate - d[2].rate;
        const double photons = h * std::max(f[2].rate, 0.0);
        double own = 0, error = 0;
        bool lit = !isReference && d[2].n > 0 && f[2].n > 0 && rate > 0;
        if (lit) {
          own = t[3] * (f[2].variance - d[2].variance) / rate;
          error =
              t[3] * t[3] * (ErrorSquared(photons, v1, f[2].n) + ErrorSquared(darkPhotons, v1, d[2].n)) / (rate * rate);
          lit = h == 0 || error < h * h;
        }
        out[19] += lit ? 1 : 0;
        const double clip2 = static_cast<double>(params.clip) * params.clip;
        bool counts = lit && (h == 0 || (own - h) * (own - h) <= clip2 * (error + t[1]));
        double dv[2] = {}, dr[2] = {}, variance[2] = {}, centred[2] = {};
        for (int i = 0; i < 2; i++) {
          dv[i] = f[i].variance - d[i].variance;
          dr[i] = f[i].rate - d[i].rate;
          counts = counts && d[i].n > 0 && f[i].n > 0 && dr[i] > 0;
          if (!counts) break;
          variance[i] = ErrorSquared(h * std::max(f[i].rate, 0.0), v1, f[i].n) +
                        ErrorSquared(h * std::max(d[i].rate, 0.0), v1, d[i].n);
          centred[i] = dv[i] / dr[i] - t[4 + i];
          const double e = variance[i] / (dr[i] * dr[i]);
          counts = h == 0 || (e < h * h && centred[i] * centred[i] <= clip2 * (e + t[1]));
        }
        if (counts) {
          out[0]++;
          for (int i = 0; i < 2; i++) {
            out[1 + 2 * i] += dv[i];
            out[2 + 2 * i] += dr[i];
            out[5 + i] += variance[i];
            out[7 + i] += centred[i];
          }
          const double product = centred[0] * centred[1];
          out[9] += product;
          out[10] += product * product;
        }
        const double weight = lit ? t[1] / (t[1] + error) : 0;
        const double posterior = h + weight * (own - h);
        const double spread = std::sqrt((1 - weight) * t[1] + (1 - weight) * (1 - weight) * t[2]);
        const double margin = 5 * std::sqrt(error);
        const bool outside = lit && ((own - margin) * params.lowGain > 1 || (own + margin) * params.highGain < 1);
        const double gain = 1 / posterior;
        const bool good = !outside && gain >= params.lowGain && gain <= params.highGain;
        put(kGain, row, x, good ? gain : kNone);
        put(kGainError, row, x, good ? spread * gain * gain : kNone);
        flag(kGainDq, row, x, reference | (good ? 0 : dq::kNoCalibration));
      }
    }
  }
  return Ok();
}

}  // namespace rampline::fit_transfer
