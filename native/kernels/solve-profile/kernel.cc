#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/solve-profile/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "generated/solve-profile.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;
using namespace rampline::solve_profile;  // NOLINT: the generated ports and parameters

constexpr int64_t kSide = 48, kPixels = kSide * (kSide + 1) / 2, kBackground = 46, kOrders = 8, kTerms = 128,
                  kRows = 256;
constexpr int64_t kTile = 8;     // rows and columns of a tile; whole registers of at most 8 doubles
constexpr double kFirm = 1e-12;  // smallest pivot, as a part of its diagonal
constexpr int64_t kMost = 8192;  // unknowns in all terms

using D = hn::CappedTag<double, kTile>;

struct Unknown {
  int64_t function, order, from, to;
};

// Neighbouring unknowns of a term: unknown `first` and `count - 1` more are the columns from `column` on.
struct Stretch {
  int64_t first, count, column;
};

// y += f v
HWY_INLINE void Add(double f, const double* v, int64_t count, double* y) {
  const D d;
  const auto n = static_cast<int64_t>(hn::Lanes(d));
  const auto factor = hn::Set(d, f);
  int64_t i = 0;
  for (; i + n <= count; i += n) hn::StoreU(hn::MulAdd(factor, hn::LoadU(d, v + i), hn::LoadU(d, y + i)), d, y + i);
  for (; i < count; i++) y[i] += f * v[i];
}

// The lower triangle of a symmetric matrix, in rows of tiles: each begins with the first tile that is not 0, and ends with
// the diagonal's. Cholesky's factor, which takes its place, is 0 where that tile and those before it are.
class Envelope {
 public:
  // first[row]: first column of a row that is not 0; rows beyond those given are those of a unit matrix.
  explicit Envelope(const std::vector<int64_t>& first)
      : tiles_((static_cast<int64_t>(first.size()) + kTile - 1) / kTile) {
    const auto size = static_cast<int64_t>(first.size());
    int64_t floats = 0;
    for (int64_t i = 0; i < tiles_; i++) {
      int64_t start = i;
      for (int64_t r = i * kTile; r < std::min((i + 1) * kTile, size); r++) start = std::min(start, first[r] / kTile);
      start_.push_back(start);
      base_.push_back(floats);
      floats += kTile * Width(i);
    }
    values_.assign(static_cast<size_t>(floats), 0.0);
    inverse_.assign(static_cast<size_t>(tiles_ * kTile), 0.0);
    for (int64_t r = size; r < tiles_ * kTile; r++) *At(r, r) = 1;
  }

  size_t Size() const { return static_cast<size_t>(tiles_ * kTile); }

  double* At(int64_t row, int64_t column) {
    const int64_t i = row / kTile;
    return values_.data() + base_[i] + (row % kTile) * Width(i) + column - start_[i] * kTile;
  }

  void Factor() {
    HWY_ALIGN double tile[kTile][kTile];  // [column][row]
    for (int64_t i = 0; i < tiles_; i++) {
      double own[kTile];
      for (int64_t r = 0; r < kTile; r++) own[r] = *At(i * kTile + r, i * kTile + r);
      for (int64_t j = start_[i]; j <= i; j++) {
        Rest(i, j, tile);
        if (j < i) {
          Divide(j, tile);
        } else {
          Diagonal(i, own, tile);
        }
        for (int64_t r = 0; r < kTile; r++) {
          double* to = At(i * kTile + r, j * kTile);
          for (int64_t c = 0; c < kTile; c++) to[c] = tile[c][r];
        }
      }
    }
  }

  // Solves for v in place, which is padded with zeros to whole tiles.
  void Solve(double* v) {
    for (int64_t row = 0; row < tiles_ * kTile; row++) {
      const int64_t begin = start_[row / kTile] * kTile;
      const double* values = At(row, begin);
      double sum = v[row];
      for (int64_t k = begin; k < row; k++) sum -= values[k - begin] * v[k];
      v[row] = sum * inverse_[row];
    }
    for (int64_t row = tiles_ * kTile - 1; row >= 0; row--) {
      const int64_t begin = start_[row / kTile] * kTile;
      v[row] *= inverse_[row];
      Add(-v[row], At(row, begin), row - begin, v + begin);
    }
  }

 private:
  int64_t Width(int64_t i) const { return (i - start_[i] + 1) * kTile; }

  // The tile less the products of what lies left of it and left of the tile above it on the diagonal.
  HWY_INLINE void Rest(int64_t i, int64_t j, double (*tile)[kTile]) {
    const D d;
    const auto lanes = static_cast<int64_t>(hn::Lanes(d));
    constexpr int64_t kPart = 4;
    const int64_t begin = std::max(start_[i], start_[j]) * kTile, count = j * kTile - begin;
    const int64_t widthI = Width(i), widthJ = Width(j);
    for (int64_t r = 0; r < kTile; r += kPart) {
      const double* a = At(i * kTile + r, begin);
      for (int64_t c = 0; c < kTile; c += kPart) {
        const double* b = At(j * kTile + c, begin);
        hn::Vec<D> sums[kPart][kPart];
        for (auto& row : sums) {
          for (auto& sum : row) sum = hn::Zero(d);
        }
        for (int64_t k = 0; k < count; k += lanes) {
          hn::Vec<D> left[kPart], above[kPart];
          for (int64_t p = 0; p < kPart; p++) {
            left[p] = hn::LoadU(d, a + p * widthI + k);
            above[p] = hn::LoadU(d, b + p * widthJ + k);
          }
          for (int64_t p = 0; p < kPart; p++) {
            for (int64_t q = 0; q < kPart; q++) sums[p][q] = hn::MulAdd(left[p], above[q], sums[p][q]);
          }
        }
        for (int64_t p = 0; p < kPart; p++) {
          const double* given = At(i * kTile + r + p, j * kTile + c);
          for (int64_t q = 0; q < kPart; q++) {
            tile[c + q][r + p] = given[q] - hn::GetLane(hn::SumOfLanes(d, sums[p][q]));
          }
        }
      }
    }
  }

  // All rows of the tile at once by the triangle above it.
  HWY_INLINE void Divide(int64_t j, double (*tile)[kTile]) {
    const D d;
    const auto lanes = static_cast<int64_t>(hn::Lanes(d));
    for (int64_t c = 0; c < kTile; c++) {
      const double* above = At(j * kTile + c, j * kTile);
      const auto inverse = hn::Set(d, inverse_[j * kTile + c]);
      for (int64_t r = 0; r < kTile; r += lanes) {
        auto value = hn::Load(d, tile[c] + r);
        for (int64_t k = 0; k < c; k++) value = hn::NegMulAdd(hn::Set(d, above[k]), hn::Load(d, tile[k] + r), value);
        hn::Store(hn::Mul(value, inverse), d, tile[c] + r);
      }
    }
  }

  void Diagonal(int64_t i, const double* own, double (*tile)[kTile]) {
    for (int64_t c = 0; c < kTile; c++) {
      double pivot = tile[c][c];
      for (int64_t k = 0; k < c; k++) pivot -= tile[k][c] * tile[k][c];
      // What is not a number spreads.
      const double root = pivot <= kFirm * own[c] ? 0 : std::sqrt(pivot);
      const double inverse = root == 0 ? 0 : 1 / root;
      inverse_[i * kTile + c] = inverse;
      for (int64_t r = 0; r < kTile; r++) {
        double sum = tile[c][r];
        for (int64_t k = 0; k < c; k++) sum -= tile[k][r] * tile[k][c];
        tile[c][r] = r < c ? 0 : r == c ? root : sum * inverse;
      }
    }
  }

  int64_t tiles_;
  std::vector<int64_t> start_, base_;     // of each row of tiles: the first tile, and where its values begin
  std::vector<double> values_, inverse_;  // inverse: of the diagonal; 0 where there is no pivot
};

class Solver {
 public:
  explicit Solver(const KernelCall& call)
      : moments_(call.ports[kMoments].view<const double>()),
        across_(call.ports[kAcross].view<const double>()),
        along_(call.ports[kAlong].view<const double>()),
        penalty_(call.ports[kPenalty].view<const double>().data),
        unknowns_(static_cast<size_t>(call.ports[kUnknowns].view<const int32_t>().cols)),
        stride_(static_cast<int64_t>(unknowns_.size()) + kTile) {
    const auto table = call.ports[kUnknowns].view<const int32_t>();
    for (size_t i = 0; i < unknowns_.size(); i++) {
      const auto value = [&](int64_t which) { return table.at(0, which)[i]; };
      unknowns_[i] = {value(0), value(1), value(2), value(3)};
    }
  }

  Status Run(const KernelCall& call) {
    for (const auto& [function, order, from, to] : unknowns_) {
      if (function < 0 || function > kBackground || order < 0 || order >= kOrders || from < 0 || to > kTerms)
        return Fail(Code::kUsage, "an unknown is of no function, polynomial or term that there is");
      terms_ = std::max(terms_, to);
    }
    if (unknowns_.size() > kRows || !Number())
      return Fail(Code::kUsage, "there are more unknowns than can be solved for");
    Envelope envelope(first_);
    std::vector<double> solution(envelope.Size());
    matrix_.assign(unknowns_.size() * static_cast<size_t>(stride_), 0.0);
    const auto sum = call.ports[kSum].view<double>();
    for (int64_t row = 0; row < kRows; row++) std::fill_n(sum.at(0, row), unknowns_.size(), 0.0);
    double squares = 0, pixels = 0;
    for (int64_t b = 0, next = 0; b < moments_.planes; b = next) {
      const double* p = across_.at(b, 0);
      next = b + 1;
      while (next < moments_.planes && std::equal(p, p + kTerms, across_.at(next, 0))) next++;
      if (std::all_of(p, p + kTerms, [](double v) { return v == 0; })) continue;
      for (int64_t k = b; k < next; k++) {
        squares += moments_.at(k, 0)[kPixels - 1];
        pixels += moments_.at(k, 0)[kPixels];
      }
      MakeBlock(b, next);
      for (size_t i = 0; i < unknowns_.size(); i++) {
        Add(1, matrix_.data() + static_cast<int64_t>(i) * stride_, sum.cols, sum.at(0, static_cast<int64_t>(i)));
      }
      for (int64_t t = 0; t < terms_; t++) {
        if (p[t] == 0) continue;
        for (const Stretch& run : runs_[t]) {
          Add(p[t], right_.data() + run.first, run.count, solution.data() + run.column);
        }
        for (int64_t s = 0; s <= t; s++) {
          if (p[s] != 0) AddPair(t, s, p[t] * p[s], envelope);
        }
      }
    }
    const std::vector<double> right = solution;
    for (int64_t t = 0; t < terms_; t++) {
      for (const Stretch& run : runs_[t]) {
        for (int64_t k = 0; k < run.count; k++) {
          *envelope.At(run.column + k, run.column + k) += penalty_[run.first + k];
        }
      }
    }
    envelope.Factor();
    envelope.Solve(solution.data());
    // chi2(0) - chi2(c) = c'b where c is exact
    for (size_t i = 0; i < right.size(); i++) squares -= solution[i] * right[i];
    double* figures = call.ports[kFigures].view<double>().data;
    figures[0] = squares;
    figures[1] = pixels;
    const auto out = call.ports[kCoefficients].view<double>();
    for (int64_t t = 0; t < kTerms; t++) std::fill_n(out.at(0, t), unknowns_.size(), 0.0);
    for (int64_t t = 0; t < terms_; t++) {
      for (const Stretch& run : runs_[t])
        std::copy_n(solution.data() + run.column, run.count, out.at(0, t) + run.first);
    }
    return Ok();
  }

 private:
  // Gives every free unknown of every term its column.
  bool Number() {
    const auto size = static_cast<int64_t>(unknowns_.size());
    std::vector<int64_t> begin;
    for (int64_t t = 0; t < terms_; t++) {
      const auto start = static_cast<int64_t>(first_.size());
      begin.push_back(start);
      int64_t before = 0;  // the first term with which this one shares a block
      while (before < t && !Meet(before, t)) before++;
      runs_.emplace_back();
      for (int64_t i = 0; i < size; i++) {
        if (t < unknowns_[i].from || t >= unknowns_[i].to) continue;
        auto& runs = runs_.back();
        if (runs.empty() || runs.back().first + runs.back().count < i) {
          runs.push_back({i, 0, static_cast<int64_t>(first_.size())});
        }
        runs.back().count++;
        first_.push_back(begin[before]);
      }
    }
    return static_cast<int64_t>(first_.size()) <= kMost;
  }

  bool Meet(int64_t s, int64_t t) const {
    for (int64_t b = 0; b < across_.planes; b++) {
      if (across_.at(b, 0)[s] != 0 && across_.at(b, 0)[t] != 0) return true;
    }
    return false;
  }

  // The normal equations of blocks of the same fibres.
  void MakeBlock(int64_t first, int64_t end) {
    const auto size = static_cast<int64_t>(unknowns_.size());
    std::fill(matrix_.begin(), matrix_.end(), 0.0);
    right_.assign(unknowns_.size(), 0.0);
    line_.resize(unknowns_.size());
    for (int64_t b = first; b < end; b++) {
      Unfold(moments_.at(b, 0));
      const auto along = [&](int64_t i) { return along_.at(b, 0)[unknowns_[i].order]; };
      for (int64_t i = size - 1, done = kSide; i >= 0; i--) {
        const double* row = square_ + unknowns_[i].function * kSide;
        // The polynomials of a function follow each other, and share this.
        if (unknowns_[i].function != done) {
          done = unknowns_[i].function;
          for (int64_t j = 0; j <= i; j++) line_[j] = along(j) * row[unknowns_[j].function];
        }
        Add(along(i), line_.data(), i + 1, matrix_.data() + i * stride_);
        right_[i] += along(i) * row[kSide - 1];
      }
    }
    for (int64_t i = 0; i < size; i++) {
      for (int64_t j = 0; j < i; j++) matrix_[j * stride_ + i] = matrix_[i * stride_ + j];
    }
  }

  void Unfold(const double* triangle) {
    for (int64_t i = 0; i < kSide; i++) {
      for (int64_t j = 0; j <= i; j++) square_[kSide * i + j] = square_[kSide * j + i] = *triangle++;
    }
  }

  void AddPair(int64_t t, int64_t s, double factor, Envelope& envelope) {
    for (const Stretch& own : runs_[t]) {
      for (int64_t k = 0; k < own.count; k++) {
        const int64_t row = own.column + k;
        const double* values = matrix_.data() + (own.first + k) * stride_;
        for (const Stretch& other : runs_[s]) {
          if (other.column > row) break;
          const int64_t count = std::min(other.count, row - other.column + 1);
          Add(factor, values + other.first, count, envelope.At(row, other.column));
        }
      }
    }
  }

  View<const double> moments_, across_, along_;
  const double* penalty_;
  std::vector<Unknown> unknowns_;
  int64_t stride_, terms_ = 0;
  std::vector<std::vector<Stretch>> runs_;  // of each term
  std::vector<int64_t> first_;              // of each row: where its envelope begins
  std::vector<double> matrix_, right_, line_;
  double square_[kSide * kSide];  // the moments of a plane
};

Status SolveProfile(const KernelCall& call) {
  Solver solver(call);
  return solver.Run(call);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::solve_profile {
namespace {
HWY_EXPORT(SolveProfile);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(SolveProfile)(call); }
}  // namespace rampline::solve_profile
#endif
