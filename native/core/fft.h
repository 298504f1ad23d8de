// Fourier transforms of real sequences two by two, eight pairs at a time: what a filter over many reads needs.
#pragma once

#include <cstdint>
#include <vector>

namespace rampline {

// Complex transforms of length n = 2^a 3^b 5^c of kBatch sequences side by side: element j of sequence b is at
// [j * kBatch + b]. Stockham's self-sorting form (Stockham 1966; Van Loan, "Computational Frameworks for the FFT", 1.7):
// the batch is simply the innermost stride, so all loops are over neighbouring numbers. Double precision; the operations
// are the same and in the same order on every CPU target, so the bytes are too.
class BatchFft {
 public:
  static constexpr int64_t kBatch = 8;

  // The smallest even n >= atLeast with no prime factor above 5; at least 2.
  static int64_t GoodLength(int64_t atLeast);

  // n must come from GoodLength.
  explicit BatchFft(int64_t n);

  int64_t length() const { return n_; }
  // X_m = sum_j x_j exp(-2 pi i j m / n), in place; work holds 2 * n * kBatch doubles.
  void Forward(double* re, double* im, double* work) const;
  // x_j = sum_m X_m exp(+2 pi i j m / n): without the factor 1 / n.
  void Inverse(double* re, double* im, double* work) const { Forward(im, re, work); }

 private:
  int64_t n_;
  std::vector<int> radices_;
  std::vector<double> cos_, sin_;  // of -2 pi j / n
};

}  // namespace rampline
