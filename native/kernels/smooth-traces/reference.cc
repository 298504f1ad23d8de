#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "generated/smooth-traces.h"

namespace rampline::smooth_traces {
namespace {

using Matrix = std::vector<std::vector<double>>;
using Row = std::vector<double>;

// By Gauss and Jordan with the largest pivot; false for a matrix that is singular.
bool Inverse(Matrix m, Matrix* out) {
  const size_t n = m.size();
  *out = Matrix(n, Row(n, 0.0));
  for (size_t i = 0; i < n; i++) (*out)[i][i] = 1;
  for (size_t c = 0; c < n; c++) {
    size_t best = c;
    for (size_t r = c; r < n; r++) {
      if (std::abs(m[r][c]) > std::abs(m[best][c])) best = r;
    }
    if (!(std::abs(m[best][c]) > 0)) return false;
    std::swap(m[c], m[best]);
    std::swap((*out)[c], (*out)[best]);
    const double pivot = m[c][c];
    for (size_t k = 0; k < n; k++) {
      m[c][k] /= pivot;
      (*out)[c][k] /= pivot;
    }
    for (size_t r = 0; r < n; r++) {
      if (r == c) continue;
      const double factor = m[r][c];
      for (size_t k = 0; k < n; k++) {
        m[r][k] -= factor * m[c][k];
        (*out)[r][k] -= factor * (*out)[c][k];
      }
    }
  }
  return true;
}

double Determinant(const Matrix& m) {
  if (m.size() == 1) return m[0][0];
  if (m.size() == 2) return m[0][0] * m[1][1] - m[0][1] * m[1][0];
  return m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0]) +
         m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0]);
}

double Legendre(int k, double u) {
  double sum = 0, term = 1;
  for (int i = 0; i <= k; i++) {
    sum += term;
    term *= static_cast<double>(k - i) * (k + i + 1) / ((i + 1.0) * (i + 1.0)) * (u - 1) / 2;
  }
  return sum;
}

struct Term {
  int series, order, place;
};

struct Bin {
  Matrix normal;  // of what is free, with 0 for the rest
  Row gradient, at;
  Row basis;  // of each free term
  Matrix inverse;
  double chi2, pixels, light, stat = 0;
  bool usable = true, used = true;
};

Row Times(const Matrix& m, const Row& v) {
  Row out(m.size(), 0.0);
  for (size_t i = 0; i < m.size(); i++) {
    for (size_t j = 0; j < v.size(); j++) out[i] += m[i][j] * v[j];
  }
  return out;
}

double Times(const Row& a, const Row& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); i++) sum += a[i] * b[i];
  return sum;
}

constexpr int kBegin[4] = {0, 12, 22, 28};
constexpr int kEntry[3][3] = {{0, 1, 2}, {1, 3, 4}, {2, 4, 5}};

class Fit {
 public:
  Fit(const KernelCall& call, int64_t row) : params_(ParamsOf(call)) {
    const int counts[3] = {params_.flux, params_.centre, params_.width};
    for (int s = 0; s < 3; s++) {
      if (counts[s] > 0) active_.push_back(s);
      for (int k = 0; k < counts[s]; k++) free_.push_back({s, k, kBegin[s] + k});
    }
    const auto sums = call.ports[kSums].view<const double>();
    before_ = call.ports[kBefore].view<const double>().at(0, row);
    for (int b = 0; b < 128; b++) bins_.push_back(MakeBin(sums, row, b));
    for (const Bin& bin : bins_) usable_ += bin.usable ? 1 : 0;
    for (const Bin& bin : bins_) level_ = std::max(level_, std::abs(bin.at[0]));
  }

  // Fills what the kernel gives.
  void Run(double* out, double* covariance, double* figures) {
    std::copy_n(before_, 28, out);
    std::fill_n(covariance, 406, 0.0);
    std::fill_n(figures, 8, 0.0);
    figures[1] = usable_;
    const int longest = std::max({params_.flux, params_.centre, params_.width});
    if (free_.empty() || usable_ < 2 * longest || !(level_ < 1e30)) return;
    for (int round = 0; round < 4; round++) {
      if (!Solve()) return;
      if (!Judge()) break;
    }
    double farthest = 0;
    for (const Bin& bin : bins_) {
      const Row d = Delta(bin);
      farthest = std::max({farthest, std::abs(d[1]), std::abs(d[2]) / 0.2});
    }
    const double part = std::min(1.0, static_cast<double>(params_.step) / std::max(farthest, 1e-300));
    Row target(before_, before_ + 28);
    for (const int s : active_) std::fill(target.begin() + kBegin[s], target.begin() + kBegin[s + 1], 0.0);
    for (size_t i = 0; i < free_.size(); i++) {
      target[static_cast<size_t>(free_[i].place)] = terms_[i];
      for (size_t j = 0; j <= i; j++) {
        covariance[free_[i].place * (free_[i].place + 1) / 2 + free_[j].place] = covariance_[i][j];
      }
    }
    for (size_t i = 0; i < 28; i++) out[i] = before_[i] + part * (target[i] - before_[i]);
    Tell(figures);
  }

 private:
  Bin MakeBin(const View<const double>& sums, int64_t row, int b) const {
    const int64_t columns = params_.columns;
    const auto first = static_cast<double>(b * columns / 128), last = static_cast<double>((b + 1) * columns / 128 - 1);
    const double u = columns > 1 ? 2 * (first + last) / 2 / static_cast<double>(columns - 1) - 1 : 0;
    Bin bin{Matrix(3, Row(3, 0.0)), Row(3, 0.0),        Row(3, 0.0),         {},
            Matrix(3, Row(3, 0.0)), sums.at(9, row)[b], sums.at(10, row)[b], sums.at(11, row)[b]};
    for (int s = 0; s < 3; s++) {
      for (int k = kBegin[s]; k < kBegin[s + 1]; k++) {
        bin.at[static_cast<size_t>(s)] += before_[k] * Legendre(k - kBegin[s], u);
      }
    }
    for (const Term& term : free_) bin.basis.push_back(Legendre(term.order, u));
    for (int i = 0; i < 6; i++) bin.usable = bin.usable && std::abs(sums.at(i, row)[b]) < 1e30;
    const size_t n = active_.size();
    Matrix small(n, Row(n, 0.0)), inverse;
    for (size_t i = 0; i < n; i++) {
      const auto a = static_cast<size_t>(active_[i]);
      bin.gradient[a] = sums.at(6 + active_[i], row)[b];
      bin.usable = bin.usable && std::abs(bin.gradient[a]) < 1e30;
      for (size_t j = 0; j < n; j++) small[i][j] = sums.at(kEntry[active_[i]][active_[j]], row)[b];
      bin.usable = bin.usable && small[i][i] > 1e-30 && small[i][i] < 1e30;
    }
    if (!bin.usable || n == 0) return bin;
    // Firm enough, in the first two of three parameters too: a held one stands there with 1.
    Matrix whole(3, Row(3, 0.0));
    for (size_t s = 0; s < 3; s++) whole[s][s] = 1;
    for (size_t i = 0; i < n; i++) {
      for (size_t j = 0; j < n; j++)
        whole[static_cast<size_t>(active_[i])][static_cast<size_t>(active_[j])] = small[i][j];
    }
    const double two = whole[0][0] * whole[1][1];
    bin.usable = whole[0][0] * whole[1][1] - whole[0][1] * whole[1][0] > 1e-6 * two &&
                 Determinant(whole) > 1e-6 * two * whole[2][2] && Inverse(small, &inverse);
    if (!bin.usable) return bin;
    for (size_t i = 0; i < n; i++) {
      for (size_t j = 0; j < n; j++) {
        const auto a = static_cast<size_t>(active_[i]), c = static_cast<size_t>(active_[j]);
        bin.normal[a][c] = small[i][j];
        bin.inverse[a][c] = inverse[i][j];
      }
    }
    return bin;
  }

  double Expected(const Term& term) const {
    if (term.series == 0) return term.order > 0 ? level_ : 0;
    if (term.series == 1) return term.order > 2 ? 1 : 0;
    return term.order > 0 ? 0.2 : 0;
  }

  bool Solve() {
    const size_t m = free_.size();
    Matrix normal(m, Row(m, 0.0));
    Row right(m, 0.0);
    for (const Bin& bin : bins_) {
      if (!bin.used || !bin.usable) continue;
      const Row about = Times(bin.normal, bin.at);
      for (size_t i = 0; i < m; i++) {
        const auto a = static_cast<size_t>(free_[i].series);
        right[i] += bin.basis[i] * (about[a] + bin.gradient[a]);
        for (size_t j = 0; j < m; j++) {
          normal[i][j] += bin.basis[i] * bin.basis[j] * bin.normal[a][static_cast<size_t>(free_[j].series)];
        }
      }
    }
    for (size_t i = 0; i < m; i++) {
      const double expected = Expected(free_[i]);
      if (expected > 0) normal[i][i] += 1 / (expected * expected);
    }
    if (!Inverse(normal, &covariance_)) return false;
    terms_ = Times(covariance_, right);
    return true;
  }

  Row Delta(const Bin& bin) const {
    Row out(3, 0.0);
    for (size_t i = 0; i < free_.size(); i++) out[static_cast<size_t>(free_[i].series)] += terms_[i] * bin.basis[i];
    for (const int s : active_) out[static_cast<size_t>(s)] -= bin.at[static_cast<size_t>(s)];
    return out;
  }

  bool Judge() {
    Row stats;
    for (Bin& bin : bins_) {
      if (!bin.usable) continue;
      Row rest = Times(bin.normal, Delta(bin));
      for (size_t i = 0; i < 3; i++) rest[i] = bin.gradient[i] - rest[i];
      bin.stat = Times(rest, Times(bin.inverse, rest));
      stats.push_back(bin.stat);
    }
    std::sort(stats.begin(), stats.end());
    const double usual[4] = {1, 0.455, 1.386, 2.366};
    const double most =
        static_cast<double>(params_.limit) * std::max(1.0, stats[stats.size() / 2] / usual[active_.size()]);
    bool changed = false;
    for (Bin& bin : bins_) {
      const bool use = bin.usable && bin.stat <= most;
      changed = changed || use != (bin.used && bin.usable);
      bin.used = use;
    }
    return changed;
  }

  void Tell(double* figures) const {
    double squares = 0;
    for (const Bin& bin : bins_) {
      if (!bin.used) continue;
      const Row d = Delta(bin), own = Times(bin.inverse, bin.gradient);
      figures[0] += 1;
      if (params_.centre > 0) squares += (own[1] - d[1]) * (own[1] - d[1]);
      figures[3] += bin.stat;
      figures[5] += bin.chi2 - 2 * Times(bin.gradient, d) + Times(d, Times(bin.normal, d));
      figures[6] += bin.pixels;
      figures[7] += bin.light;
    }
    figures[2] = figures[0] > 0 ? std::sqrt(squares / figures[0]) : 0;
    figures[4] = static_cast<double>(active_.size()) * figures[0] - static_cast<double>(free_.size());
    figures[6] -= static_cast<double>(free_.size());
  }

  const Params& params_;
  const double* before_;
  std::vector<Term> free_;
  std::vector<int> active_;
  std::vector<Bin> bins_;
  Row terms_;
  Matrix covariance_;
  int usable_ = 0;
  double level_ = 0;
};

}  // namespace

Status Reference(const KernelCall& call) {
  const int64_t rows = call.ports[kBefore].view<const double>().rows;
  for (int64_t row = 0; row < rows; row++) {
    Fit(call, row).Run(call.ports[kTerms].view<double>().at(0, row), call.ports[kCovariance].view<double>().at(0, row),
                       call.ports[kFigures].view<double>().at(0, row));
  }
  return Ok();
}

}  // namespace rampline::smooth_traces
