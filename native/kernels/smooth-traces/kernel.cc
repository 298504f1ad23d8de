#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/kernels/smooth-traces/kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "generated/smooth-traces.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;
using namespace rampline::smooth_traces;  // NOLINT: the generated ports and parameters

constexpr int kBins = 128, kAll = 28, kMost = 12;
constexpr int kStarts[4] = {0, 12, 22, 28};
constexpr int kOf[3][3] = {{0, 1, 2}, {1, 3, 4}, {2, 4, 5}};  // where trace-fit puts the entries of the normal matrix
constexpr int kRounds = 4;
constexpr double kFirm = 1e-12;                          // smallest pivot, of a matrix with ones on its diagonal
constexpr double kMedian[4] = {1, 0.455, 1.386, 2.366};  // of chi2 with 0 to 3 degrees of freedom
// What is expected of the terms that curve: they keep a series in place where a fibre has no bins.
constexpr double kBend = 1, kStretch = 0.2;

using D = hn::CappedTag<double, 8>;

double Dot(const double* a, const double* b) {
  const D d;
  const auto n = static_cast<int>(hn::Lanes(d));
  auto one = hn::Zero(d), two = hn::Zero(d);
  for (int i = 0; i < kBins; i += 2 * n) {
    one = hn::MulAdd(hn::Load(d, a + i), hn::Load(d, b + i), one);
    two = hn::MulAdd(hn::Load(d, a + i + n), hn::Load(d, b + i + n), two);
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(one, two)));
}

// A fibre's bins.
struct Fibre {
  HWY_ALIGN double basis[kMost][kBins];  // Legendre polynomials at the middles of the bins
  HWY_ALIGN double weight[6][kBins];     // normal matrices of the bins that are used; 0 for the others
  HWY_ALIGN double right[3][kBins];
  HWY_ALIGN double product[kBins];
  double normal[6][kBins], gradient[3][kBins], inverse[6][kBins];  // inverse: of the part that is free
  double at[3][kBins];                                             // where trace-fit worked
  double stat[kBins];
  bool usable[kBins], used[kBins];
};

// What is solved for.
struct Free {
  int count[3];  // terms of each series
  int size, series[kAll], order[kAll];
  int active, longest;
};

void MakeBasis(int64_t columns, Fibre* fibre) {
  for (int b = 0; b < kBins; b++) {
    const auto begin = static_cast<double>(b * columns / kBins);
    const auto end = static_cast<double>((b + 1) * columns / kBins);
    const double u = columns > 1 ? (begin + end - 1) / static_cast<double>(columns - 1) - 1 : 0;
    fibre->basis[0][b] = 1;
    fibre->basis[1][b] = u;
    for (int k = 1; k < kMost - 1; k++) {
      fibre->basis[k + 1][b] = ((2 * k + 1) * u * fibre->basis[k][b] - k * fibre->basis[k - 1][b]) / (k + 1);
    }
  }
}

// The inverse of the free part of a bin's normal matrix; false where the bin does not tell all that is free.
bool Invert(const double* n, const bool* free, double* out) {
  double m[3][3];
  for (int a = 0; a < 3; a++) {
    for (int b = 0; b < 3; b++) m[a][b] = free[a] && free[b] ? n[kOf[a][b]] : a == b ? 1.0 : 0.0;
    if (!(m[a][a] > 1e-30 && m[a][a] < 1e30)) return false;
  }
  const double c00 = m[1][1] * m[2][2] - m[1][2] * m[1][2], c01 = m[0][2] * m[1][2] - m[0][1] * m[2][2];
  const double c02 = m[0][1] * m[1][2] - m[0][2] * m[1][1], c11 = m[0][0] * m[2][2] - m[0][2] * m[0][2];
  const double c12 = m[0][1] * m[0][2] - m[0][0] * m[1][2], c22 = m[0][0] * m[1][1] - m[0][1] * m[0][1];
  const double det = m[0][0] * c00 + m[0][1] * c01 + m[0][2] * c02;
  const double least = 1e-6;
  if (!(c22 > least * m[0][0] * m[1][1] && det > least * m[0][0] * m[1][1] * m[2][2])) return false;
  const double c[6] = {c00, c01, c02, c11, c12, c22};
  for (int i = 0; i < 6; i++) out[i] = c[i] / det;
  return true;
}

double Quadratic(const double* n, const double* v) {
  return n[0] * v[0] * v[0] + n[3] * v[1] * v[1] + n[5] * v[2] * v[2] +
         2 * (n[1] * v[0] * v[1] + n[2] * v[0] * v[2] + n[4] * v[1] * v[2]);
}

// Takes a fibre's sums; says how many bins can be used.
int Read(const View<const double>& sums, int64_t row, const double* before, const bool* free, Fibre* fibre) {
  int usable = 0;
  for (int b = 0; b < kBins; b++) {
    double n[6], inverse[6] = {};
    bool good = true;
    for (int i = 0; i < 6; i++) {
      n[i] = sums.at(i, row)[b];
      good = good && std::abs(n[i]) < 1e30;
    }
    for (int i = 0; i < 3; i++) {
      fibre->gradient[i][b] = free[i] ? sums.at(6 + i, row)[b] : 0;
      good = good && std::abs(fibre->gradient[i][b]) < 1e30;
      double value = 0;
      for (int k = 0; k < kStarts[i + 1] - kStarts[i]; k++) value += before[kStarts[i] + k] * fibre->basis[k][b];
      fibre->at[i][b] = value;
    }
    good = good && Invert(n, free, inverse);
    for (int i = 0; i < 6; i++) {
      fibre->normal[i][b] = n[i];
      fibre->inverse[i][b] = inverse[i];
    }
    for (int i = 0; i < 3; i++) {
      for (int j = i; j < 3; j++) {
        if (!free[i] || !free[j]) fibre->normal[kOf[i][j]][b] = fibre->inverse[kOf[i][j]][b] = 0;
      }
    }
    fibre->usable[b] = fibre->used[b] = good;
    usable += good ? 1 : 0;
  }
  return usable;
}

// Solves for the terms from the bins that are used. `matrix` becomes the inverse of the normal matrix.
bool Solve(const Free& free, double level, Fibre* fibre, double (*matrix)[kAll], double* terms) {
  for (int b = 0; b < kBins; b++) {
    const bool use = fibre->used[b];
    for (int i = 0; i < 6; i++) fibre->weight[i][b] = use ? fibre->normal[i][b] : 0;
    for (int i = 0; i < 3; i++) {
      double sum = fibre->gradient[i][b];
      for (int j = 0; j < 3; j++) sum += fibre->normal[kOf[i][j]][b] * fibre->at[j][b];
      fibre->right[i][b] = use ? sum : 0;
    }
  }
  const int m = free.size;
  double right[kAll], scale[kAll];
  for (int i = 0; i < m; i++) {
    const double* p = fibre->basis[free.order[i]];
    right[i] = Dot(p, fibre->right[free.series[i]]);
    int before = -1;
    for (int j = 0; j <= i; j++) {
      if (free.series[j] != before) {
        before = free.series[j];
        const double* w = fibre->weight[kOf[before][free.series[i]]];
        for (int b = 0; b < kBins; b++) fibre->product[b] = p[b] * w[b];
      }
      matrix[i][j] = Dot(fibre->product, fibre->basis[free.order[j]]);
    }
    const int series = free.series[i], order = free.order[i];
    const double expected = series == 0 ? level : series == 1 ? kBend : kStretch;
    if (expected > 0 && order > (series == 1 ? 2 : 0)) matrix[i][i] += 1 / (expected * expected);
    if (!(matrix[i][i] > 0 && matrix[i][i] < 1e200)) return false;
    scale[i] = 1 / std::sqrt(matrix[i][i]);
  }
  // Cholesky of the matrix with ones on its diagonal, then the inverse of the triangle, then of the whole.
  for (int i = 0; i < m; i++) {
    for (int j = 0; j <= i; j++) {
      double sum = matrix[i][j] * scale[i] * scale[j];
      for (int k = 0; k < j; k++) sum -= matrix[i][k] * matrix[j][k];
      if (i == j && !(sum > kFirm)) return false;
      matrix[i][j] = i == j ? std::sqrt(sum) : sum / matrix[j][j];
    }
  }
  for (int j = 0; j < m; j++) {
    matrix[j][j] = 1 / matrix[j][j];
    for (int i = j + 1; i < m; i++) {
      double sum = 0;
      for (int k = j; k < i; k++) sum -= matrix[i][k] * matrix[k][j];
      matrix[i][j] = sum / matrix[i][i];
    }
  }
  for (int i = 0; i < m; i++) {
    for (int j = 0; j <= i; j++) {
      double sum = 0;
      for (int k = i; k < m; k++) sum += matrix[k][i] * matrix[k][j];
      matrix[i][j] = sum * scale[i] * scale[j];
    }
  }
  for (int i = 0; i < m; i++) {
    double sum = 0;
    for (int j = 0; j < m; j++) sum += (j <= i ? matrix[i][j] : matrix[j][i]) * right[j];
    terms[i] = sum;
  }
  return true;
}

// How far the series lies from where trace-fit worked, in a bin.
void Moved(const Free& free, const Fibre& fibre, const double* terms, int b, double* delta) {
  double value[3] = {0, 0, 0};
  for (int i = 0; i < free.size; i++) value[free.series[i]] += terms[i] * fibre.basis[free.order[i]][b];
  for (int s = 0; s < 3; s++) delta[s] = free.count[s] > 0 ? value[s] - fibre.at[s][b] : 0;
}

// Measures how well each bin fits, and says which are to be used; true when those are others than before.
bool Judge(const Free& free, const double* terms, double limit, Fibre* fibre) {
  double stats[kBins];
  int n = 0;
  for (int b = 0; b < kBins; b++) {
    if (!fibre->usable[b]) continue;
    double delta[3], rest[3], inverse[6];
    Moved(free, *fibre, terms, b, delta);
    for (int i = 0; i < 3; i++) {
      rest[i] = fibre->gradient[i][b];
      for (int j = 0; j < 3; j++) rest[i] -= fibre->normal[kOf[i][j]][b] * delta[j];
    }
    for (int i = 0; i < 6; i++) inverse[i] = fibre->inverse[i][b];
    stats[n++] = fibre->stat[b] = Quadratic(inverse, rest);
  }
  std::nth_element(stats, stats + n / 2, stats + n);
  const double most = limit * std::max(1.0, stats[n / 2] / kMedian[free.active]);
  bool changed = false;
  for (int b = 0; b < kBins; b++) {
    const bool use = fibre->usable[b] && fibre->stat[b] <= most;
    changed = changed || use != fibre->used[b];
    fibre->used[b] = use;
  }
  return changed;
}

void Report(const Free& free, const Fibre& fibre, const double* terms, const View<const double>& sums, int64_t row,
            int usable, double* figures) {
  double used = 0, squares = 0, stat = 0, chi2 = 0, pixels = 0, light = 0;
  for (int b = 0; b < kBins; b++) {
    if (!fibre.used[b]) continue;
    double delta[3], normal[6], gradient[3];
    Moved(free, fibre, terms, b, delta);
    double own = 0;
    for (int i = 0; i < 3; i++) {
      gradient[i] = fibre.gradient[i][b];
      own += fibre.inverse[kOf[1][i]][b] * gradient[i];
    }
    for (int i = 0; i < 6; i++) normal[i] = fibre.normal[i][b];
    used++;
    squares += free.count[1] > 0 ? (own - delta[1]) * (own - delta[1]) : 0;
    stat += fibre.stat[b];
    chi2 += sums.at(9, row)[b] + Quadratic(normal, delta);
    for (int i = 0; i < 3; i++) chi2 -= 2 * gradient[i] * delta[i];
    pixels += sums.at(10, row)[b];
    light += sums.at(11, row)[b];
  }
  const double all[8] = {used,
                         static_cast<double>(usable),
                         used > 0 ? std::sqrt(squares / used) : 0,
                         stat,
                         free.active * used - free.size,
                         chi2,
                         pixels - free.size,
                         light};
  std::copy_n(all, 8, figures);
}

Status SmoothTraces(const KernelCall& call) {
  const Params& params = ParamsOf(call);
  const auto sums = call.ports[kSums].view<const double>();
  const auto given = call.ports[kBefore].view<const double>();
  Free free{{params.flux, params.centre, params.width}, 0, {}, {}, 0, 0};
  bool active[3];
  for (int s = 0; s < 3; s++) {
    active[s] = free.count[s] > 0;
    free.active += active[s] ? 1 : 0;
    free.longest = std::max(free.longest, free.count[s]);
    for (int k = 0; k < free.count[s]; k++) {
      free.series[free.size] = s;
      free.order[free.size++] = k;
    }
  }
  Fibre fibre;
  double matrix[kAll][kAll], terms[kAll];
  MakeBasis(params.columns, &fibre);
  for (int64_t row = 0; row < given.rows; row++) {
    const double* before = given.at(0, row);
    double* out = call.ports[kTerms].view<double>().at(0, row);
    double* covariance = call.ports[kCovariance].view<double>().at(0, row);
    double* figures = call.ports[kFigures].view<double>().at(0, row);
    std::copy_n(before, kAll, out);
    std::fill_n(covariance, kAll * (kAll + 1) / 2, 0.0);
    std::fill_n(figures, 8, 0.0);
    const int usable = Read(sums, row, before, active, &fibre);
    figures[1] = usable;
    if (free.size == 0 || usable < 2 * free.longest) continue;
    double level = 0;
    for (int b = 0; b < kBins; b++) level = std::max(level, std::abs(fibre.at[0][b]));
    if (!(level < 1e30)) continue;
    bool solved = false;
    for (int round = 0; round < kRounds; round++) {
      solved = Solve(free, level, &fibre, matrix, terms);
      if (!solved || !Judge(free, terms, static_cast<double>(params.limit), &fibre)) break;
    }
    if (!solved) continue;
    double most = 0;
    for (int b = 0; b < kBins; b++) {
      double delta[3];
      Moved(free, fibre, terms, b, delta);
      most = std::max({most, std::abs(delta[1]), 5 * std::abs(delta[2])});
    }
    const double part = most > static_cast<double>(params.step) ? static_cast<double>(params.step) / most : 1;
    for (int i = 0; i < free.size; i++) {
      const int at = kStarts[free.series[i]] + free.order[i];
      out[at] += part * (terms[i] - before[at]);
      for (int j = 0; j <= i; j++) {
        covariance[at * (at + 1) / 2 + kStarts[free.series[j]] + free.order[j]] = matrix[i][j];
      }
    }
    // Of a series that became shorter nothing is left beyond its end.
    for (int s = 0; s < 3; s++) {
      for (int k = free.count[s]; active[s] && k < kStarts[s + 1] - kStarts[s]; k++) out[kStarts[s] + k] *= 1 - part;
    }
    Report(free, fibre, terms, sums, row, usable, figures);
  }
  return Ok();
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline::smooth_traces {
namespace {
HWY_EXPORT(SmoothTraces);
}
Status Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(SmoothTraces)(call); }
}  // namespace rampline::smooth_traces
#endif
