#include <algorithm>
#include <vector>

#include "generated/solve-profile.h"

namespace rampline::solve_profile {

namespace {

constexpr int64_t kSide = 48, kPixels = kSide * (kSide + 1) / 2, kOrders = 8, kTerms = 128, kRows = 256;

// A coefficient: an unknown in a term across the fibres.
struct Coefficient {
  int64_t term, unknown;
};

// Gauss and Jordan, without exchanges: the matrices are positive.
std::vector<double> Eliminate(std::vector<std::vector<double>> rows) {
  const size_t n = rows.size();
  for (size_t column = 0; column < n; column++) {
    const std::vector<double> pivot = rows[column];
    for (size_t i = 0; i < n; i++) {
      if (i == column) continue;
      const double factor = pivot[column] == 0 ? 0 : rows[i][column] / pivot[column];
      for (size_t k = column; k <= n; k++) rows[i][k] -= factor * pivot[k];
    }
  }
  std::vector<double> solution;
  for (size_t i = 0; i < n; i++) solution.push_back(rows[i][i] == 0 ? 0 : rows[i][n] / rows[i][i]);
  return solution;
}

}  // namespace

Status Reference(const KernelCall& call) {
  const auto moments = call.ports[kMoments].view<const double>();
  const auto unknowns = call.ports[kUnknowns].view<const int32_t>();
  const auto across = call.ports[kAcross].view<const double>();
  const auto along = call.ports[kAlong].view<const double>();
  const auto penalty = call.ports[kPenalty].view<const double>();
  std::vector<Coefficient> all;
  for (int64_t i = 0; i < unknowns.cols; i++) {
    const auto value = [&](int64_t which) { return unknowns.at(0, which)[i]; };
    if (value(0) < 0 || value(0) > 46 || value(1) < 0 || value(1) >= kOrders || value(2) < 0 || value(3) > kTerms)
      return Fail(Code::kUsage, "an unknown is of no function, polynomial or term that there is");
    for (int64_t term = value(2); term < value(3); term++) all.push_back({term, i});
  }
  const size_t n = all.size();
  if (n > 8192 || unknowns.cols > kRows) return Fail(Code::kUsage, "there are more unknowns than can be solved for");
  const auto sum = call.ports[kSum].view<double>();
  for (int64_t i = 0; i < kRows; i++) {
    for (int64_t j = 0; j < unknowns.cols; j++) sum.at(0, i)[j] = 0;
  }
  std::vector<std::vector<double>> rows(n);
  for (auto& row : rows) row.resize(n + 1);
  double squares = 0, pixels = 0;
  for (int64_t block = 0; block < moments.planes; block++) {
    bool counts = false;
    for (int64_t term = 0; term < kTerms; term++) counts = counts || across.at(block, 0)[term] != 0;
    if (!counts) continue;
    const double* m = moments.at(block, 0);
    squares += m[kPixels - 1];
    pixels += m[kPixels];
    const auto along_x = [&](int64_t i) { return along.at(block, 0)[unknowns.at(0, 1)[i]]; };
    const auto place = [&](int64_t i) { return int64_t{unknowns.at(0, 0)[i]}; };
    const auto moment = [&](int64_t a, int64_t b) {
      const int64_t high = std::max(a, b);
      return m[high * (high + 1) / 2 + std::min(a, b)];
    };
    const auto product = [&](int64_t i, int64_t j) { return along_x(i) * along_x(j) * moment(place(i), place(j)); };
    for (int64_t i = 0; i < unknowns.cols; i++) {
      for (int64_t j = 0; j < unknowns.cols; j++) sum.at(0, i)[j] += product(i, j);
    }
    for (size_t i = 0; i < n; i++) {
      const double p = across.at(block, 0)[all[i].term];
      for (size_t j = 0; j < n; j++) {
        rows[i][j] += p * across.at(block, 0)[all[j].term] * product(all[i].unknown, all[j].unknown);
      }
      rows[i][n] += p * along_x(all[i].unknown) * moment(place(all[i].unknown), kSide - 1);
    }
  }
  for (size_t i = 0; i < n; i++) rows[i][i] += penalty.data[all[i].unknown];
  const std::vector<double> solution = Eliminate(rows);
  const auto out = call.ports[kCoefficients].view<double>();
  for (int64_t term = 0; term < kTerms; term++) {
    for (int64_t i = 0; i < unknowns.cols; i++) out.at(0, term)[i] = 0;
  }
  for (size_t i = 0; i < n; i++) {
    out.at(0, all[i].term)[all[i].unknown] = solution[i];
    squares -= solution[i] * rows[i][n];
  }
  call.ports[kFigures].view<double>().data[0] = squares;
  call.ports[kFigures].view<double>().data[1] = pixels;
  return Ok();
}

}  // namespace rampline::solve_profile
