// The ramp chain in pure C++, against cfitsio decompressing the same file and against one hand-fused loop.
//
//   bench_chain SPEC FILE
//
// SPEC is what bench/run.mjs wrote down of the chain that the TypeScript interface ran on FILE (steps, parameters, arrays
// with their first contents), so both run the same. Then one order a line on stdin, one answer a line on stdout:
//
//   chain THREADS | fused | cfitsio   ->  @{"cpuMs":..,"wallMs":..,..}
//   compare                           ->  @{"pixels":..,"different":..}   the chain's images against the fused loop's
//
// The fused loop does what the steps of the chain do, in the order of the chain, but by hand: the two statistics are
// gathered while a row is decoded, and then groups of pixels go from counts to results in one loop whose only memory is
// the differences of that group. It knows one chain, and refuses any other.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "bench/native/chain.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <limits>

#include "native/core/geometry.h"
#include "native/core/ramp-inl.h"

#ifndef RAMPLINE_BENCH_FUSED_
#define RAMPLINE_BENCH_FUSED_
namespace rampline {
struct Fused {
  View<const float> level, offsets, correction, c2, c3, limit, gain, variance;
  View<float> rate, error, chi2;
  View<uint16_t> lastGood, jumps, goodDiffs;
  View<uint32_t> dq;
  float fraction = 1, threshold = 0, maxReducedChi2 = 0, readTimeSeconds = 1;
  bool electrons = false;
  int64_t reads = 0, rows = 0, cols = 0;
  const uint16_t* cube = nullptr;
  int64_t readStride = 0, rowStride = 0;
  float* work = nullptr;  // (1 + 3 + 1) x planes x 64 floats
};
}  // namespace rampline
#endif

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
using namespace ramp;  // NOLINT: the sweep, the trimmed mean and the store, which are formulas and no loops over images

constexpr float kClearly = 1.001f;  // as in find-jumps: of two that are equal but for rounding the later goes

class FusedLoop {
 public:
  explicit FusedLoop(const Fused& in)
      : in_(in),
        planes_(in.reads - 1),
        diffs_(in.work),
        sweep_(diffs_ + planes_ * kPair * kLanes),
        pack_(sweep_ + planes_ * 3 * kPair * kLanes) {}

  void Run() {
    for (int64_t row = 0; row < in_.rows; row++) {
      const uint16_t* reads = in_.cube + row * in_.rowStride;
      const auto* next = reinterpret_cast<const char*>(reads + in_.rowStride);
      ahead_ = {};
      if (row + 1 < in_.rows) ahead_ = {next, next + in_.rowStride * static_cast<int64_t>(sizeof(uint16_t))};
      for (int64_t x = 0; x < in_.cols; x += kPair * kLanes) Group(reads, row, x);
    }
    if (waiting_ > 0) Again();
  }

 private:
  struct Pixel {
    int64_t row, x;
    uint32_t dq;
    uint16_t lastGood, jumps;
  };

  // Counts to differences of two registers, plane by plane, with the sums of the trimmed mean.
  HWY_INLINE void Differences(const uint16_t* reads, int64_t row, int64_t x, float* out, Trimmed* trimmed) {
    const DF d;
    const hn::Rebind<uint16_t, DF> d16;
    const hn::RebindToSigned<DF> d32;
    const VF nan = hn::NaN(d), one = hn::Set(d, 1.0f);
    const int64_t amplifier = x / kAmplifierColumns, half = x % kAmplifierColumns / (kAmplifierColumns / 2);
    const bool flipped = IsFlipped(amplifier);
    const int64_t left = 3 * amplifier + (flipped ? 2 - half : half), right = flipped ? left - 1 : left + 1;
    VF limit[2], c2[2], c3[2], most[2], toRight[2], toLeft[2], good[2], before[2];
    hn::Mask<DF> saturated[2];
    for (int g = 0; g < 2; g++) {
      const int64_t at = x + g * kLanes;
      limit[g] = hn::Mul(hn::LoadU(d, in_.level.at(0, row) + at), hn::Set(d, in_.fraction));
      c2[g] = hn::LoadU(d, in_.c2.at(0, row) + at);
      c3[g] = hn::LoadU(d, in_.c3.at(0, row) + at);
      most[g] = hn::LoadU(d, in_.limit.at(0, row) + at);
      const auto column = static_cast<float>(at % (kAmplifierColumns / 2));
      toRight[g] = hn::Mul(hn::Iota(d, column + 0.5f), hn::Set(d, 2.0f / kAmplifierColumns));
      toLeft[g] = hn::Sub(one, toRight[g]);
      good[g] = before[g] = hn::Zero(d);
      saturated[g] = hn::MaskFromVec(hn::Zero(d));
      trimmed[g].Clear(d);
    }
    for (int64_t k = 0; k < in_.reads; k++) {
      const VF offset = hn::Set(d, in_.offsets.at(k, 0)[amplifier]);
      const float* knots = in_.correction.at(k, row);
      const VF atLeft = hn::Set(d, knots[left]), atRight = hn::Set(d, knots[right]);
#pragma GCC unroll 2
      for (int g = 0; g < 2; g++) {
        VF v = hn::ConvertTo(d, hn::PromoteTo(d32, hn::LoadU(d16, reads + k * in_.readStride + x + g * kLanes)));
        saturated[g] = hn::Or(saturated[g], hn::Ge(v, limit[g]));
        good[g] = hn::Add(good[g], hn::IfThenZeroElse(saturated[g], one));
        v = hn::Sub(hn::IfThenElse(saturated[g], nan, v), offset);
        v = hn::NegMulAdd(toRight[g], atRight, hn::NegMulAdd(toLeft[g], atLeft, v));
        const VF linear = hn::MulAdd(hn::Mul(v, v), hn::MulAdd(v, c3[g], c2[g]), v);
        v = hn::IfThenElse(hn::Le(v, most[g]), linear, nan);
        if (k > 0) {
          const VF difference = hn::Sub(v, before[g]);
          hn::Store(difference, d, out + (k - 1) * kPair * kLanes + g * kLanes);
          trimmed[g].AddGood(d, difference);
        }
        before[g] = v;
      }
    }
    for (int g = 0; g < 2; g++) {
      StoreCounts(d, good[g], in_.lastGood.at(0, row) + x + g * kLanes, kLanes);
      trimmed[g].n = hn::Set(d, static_cast<float>(planes_));
      if (HWY_LIKELY(hn::AllTrue(d, hn::Eq(trimmed[g].sum, trimmed[g].sum)))) continue;
      trimmed[g].Clear(d);
      for (int64_t k = 0; k < planes_; k++) {
        trimmed[g].Add(d, hn::Load(d, out + k * kPair * kLanes + g * kLanes));
      }
    }
  }

  // One-omit test of whole ramps (find-jumps' kernel.cc has the closed form): the rate, and who has a jump.
  HWY_INLINE void Screen(const VF* start, const Noise* noise, VF* rate, hn::Mask<DF>* hit) {
    const DF d;
    const VF one = hn::Set(d, 1.0f);
    VF x[kPair], first[kPair], each[kPair], most[kPair], fewer[kPair], solved[kPair], over[kPair];
    Toeplitz ramp[kPair];
    Sums sums[kPair];
    for (int g = 0; g < kPair; g++) x[g] = noise[g].Photons(d, start[g]);
    WholeSums<false, true, kPair>(d, {diffs_, kPair * kLanes}, planes_, x, start, sweep_, ahead_, ramp, sums);
    for (int g = 0; g < kPair; g++) {
      const VF r = ramp[g].r, bm = ramp[g].bm, onePlus = hn::Add(one, ramp[g].rm), perOnePlus = hn::Div(one, onePlus);
      const VF limit = hn::Mul(noise[g].variance, hn::Set(d, in_.threshold));
      const VF b = hn::Div(onePlus, hn::Mul(hn::Add(one, r), bm));
      const VF change = hn::Div(sums[g].cross, sums[g].ones);
      rate[g] = hn::Add(start[g], change);
      first[g] = hn::Div(ramp[g].s, bm);
      each[g] = hn::Mul(perOnePlus, hn::NegMulAdd(ramp[g].rest, first[g], change));
      most[g] = hn::Mul(limit, hn::Div(hn::Add(b, b), hn::Mul(r, onePlus)));
      fewer[g] =
          hn::Mul(hn::Mul(limit, hn::Mul(perOnePlus, perOnePlus)), hn::MulAdd(x[g], b, hn::Div(one, sums[g].ones)));
      solved[g] = hn::Zero(d);
      over[g] = hn::Set(d, -1.0f);
    }
    const float *last = sweep_ + 2 * kPair * kLanes * planes_, *other = sweep_ + kPair * kLanes;
    for (int64_t k = 0; k < planes_; k++, other += 2 * kPair * kLanes) {
      ahead_.Step();
      last -= 2 * kPair * kLanes;
#pragma GCC unroll 2
      for (int g = 0; g < kPair; g++) {
        const VF b = hn::Load(d, last + (kPair + g) * kLanes), c = hn::Load(d, other + g * kLanes), u = hn::Mul(b, c);
        solved[g] = hn::MulAdd(ramp[g].r, solved[g], hn::Load(d, last + g * kLanes));
        const VF y = hn::NegMulAdd(c, hn::MulAdd(each[g], b, first[g]), solved[g]);
        over[g] = hn::Max(over[g], hn::MulSub(y, y, hn::Mul(u, hn::NegMulAdd(fewer[g], u, most[g]))));
      }
    }
    for (int g = 0; g < kPair; g++) {
      const auto whole = hn::And(ramp[g].complete, hn::IsFinite(rate[g]));
      hit[g] = hn::And(hn::And(whole, noise[g].valid), hn::Gt(over[g], hn::Zero(d)));
      if (HWY_LIKELY(hn::AllTrue(d, hn::Or(whole, hn::Not(noise[g].valid))))) {
        rate[g] = hn::IfThenElse(noise[g].valid, rate[g], start[g]);
        continue;
      }
      VF ownRate, at;
      hn::Mask<DF> ownHit;
      Test({diffs_ + g * kLanes, kPair * kLanes}, start[g], noise[g], ownRate, ownHit, at);
      rate[g] = hn::IfThenElse(hn::And(whole, noise[g].valid), rate[g], ownRate);
      hit[g] = hn::Or(hit[g], hn::AndNot(whole, ownHit));
    }
  }

  // The same for ramps with gaps, difference by difference: also the plane whose omission lowers chi-square most.
  HWY_NOINLINE void Test(Planes in, VF start, const Noise& noise, VF& rate, hn::Mask<DF>& hit, VF& at) {
    const DF d;
    const VF zero = hn::Zero(d), one = hn::Set(d, 1.0f), tiny = hn::Set(d, kTiny);
    const VF a = hn::Add(noise.Photons(d, start), hn::Set(d, 2.0f));
    VF p = zero, zd = zero, z1 = zero, cross = zero, ones = zero, y = zero, h = zero, diag = zero, best = zero;
    for (int64_t k = 0; k < planes_; k++) {
      float* w = sweep_ + 3 * kLanes * k;
      VF v = hn::Sub(hn::Load(d, in.data + k * in.stride), start);
      const auto ok = hn::Eq(v, v);
      v = hn::IfThenElseZero(ok, v);
      const VF pn = hn::IfThenElseZero(ok, Reciprocal(d, hn::Sub(a, p)));
      zd = hn::MulAdd(p, zd, v);
      z1 = hn::MulAdd(p, z1, one);
      p = pn;
      const VF pz = hn::Mul(pn, z1);
      cross = hn::MulAdd(pz, zd, cross);
      ones = hn::MulAdd(pz, z1, ones);
      hn::Store(pn, d, w);
      hn::Store(zd, d, w + kLanes);
      hn::Store(z1, d, w + 2 * kLanes);
    }
    const VF inverse = hn::Div(one, hn::Max(ones, tiny)), change = hn::Mul(cross, inverse);
    at = zero;
    for (int64_t k = planes_ - 1; k >= 0; k--) {
      const float* w = sweep_ + 3 * kLanes * k;
      const VF pk = hn::Load(d, w), z = hn::Load(d, w + 2 * kLanes);
      y = hn::Mul(pk, hn::Add(hn::NegMulAdd(change, z, hn::Load(d, w + kLanes)), y));
      h = hn::Mul(pk, hn::Add(z, h));
      diag = hn::MulAdd(pk, hn::Mul(pk, diag), pk);
      const VF q = hn::Max(hn::NegMulAdd(h, hn::Mul(h, inverse), diag), tiny);
      const VF fall = hn::Mul(hn::Mul(y, y), hn::ApproximateReciprocal(q));
      const auto better = hn::Gt(fall, best);
      best = hn::IfThenElse(better, hn::Mul(fall, hn::Set(d, kClearly)), best);
      at = hn::IfThenElse(better, hn::Set(d, static_cast<float>(k)), at);
    }
    rate = hn::Add(start, change);
    const auto sound = hn::And(hn::IsFinite(rate), noise.valid);
    rate = hn::IfThenElse(sound, rate, start);
    hit = hn::And(sound, hn::Gt(best, hn::Mul(noise.variance, hn::Set(d, in_.threshold * kClearly))));
  }

  Outputs OutputsFor() const {
    return {in_.rate,
            in_.error,
            in_.chi2,
            in_.goodDiffs,
            in_.dq,
            {in_.jumps.data, 1, in_.rows, in_.cols, 0, in_.jumps.rowStride},
            {in_.lastGood.data, 1, in_.rows, in_.cols, 0, in_.lastGood.rowStride},
            in_.reads,
            in_.maxReducedChi2,
            in_.electrons,
            in_.readTimeSeconds};
  }

  template <int G>
  HWY_INLINE void Fit(const Outputs& out, const float* diffs, const VF* rate, const Noise* noise, Ahead& ahead,
                      int64_t row, int64_t x, int count) {
    const DF d;
    VF photons[G];
    for (int g = 0; g < G; g++) photons[g] = noise[g].Photons(d, rate[g]);
    Sums sums[G];
    const Planes in = {diffs, G * kLanes};
    Toeplitz ramp[G];
    WholeSums<true, false, G>(d, in, planes_, photons, rate, nullptr, ahead, ramp, sums);
    for (int g = 0; g < G; g++) {
      if (HWY_UNLIKELY(!hn::AllTrue(d, ramp[g].complete))) {  // a ramp without a gap gets the same bits again
        BrokenSums<true>(d, {in.data + g * kLanes, in.stride}, planes_, ramp[g].r, rate[g], sums[g]);
      }
      const VF perOnes = Reciprocal(d, hn::Max(sums[g].ones, hn::Set(d, kTiny)));
      const VF change = hn::Mul(sums[g].cross, perOnes);
      const VF chi2 =
          hn::Mul(hn::NegMulAdd(sums[g].cross, change, sums[g].square), hn::Mul(noise[g].gain, noise[g].inverse));
      StoreFit(d, out, row, x + g * kLanes, count, noise[g], hn::Add(rate[g], change),
               hn::Mul(noise[g].variance, perOnes), chi2, sums[g].good, true);
    }
  }

  HWY_INLINE void Group(const uint16_t* reads, int64_t row, int64_t x) {
    const DF d;
    Trimmed trimmed[kPair];
    VF start[kPair], rate[kPair];
    Noise noise[kPair];
    hn::Mask<DF> hit[kPair];
    Differences(reads, row, x, diffs_, trimmed);
    for (int g = 0; g < kPair; g++) {
      const int64_t column = x + g * kLanes;
      start[g] = trimmed[g].Mean(d);
      noise[g] = Noise(d, hn::LoadU(d, in_.gain.at(0, row) + column), hn::LoadU(d, in_.variance.at(0, row) + column));
      StoreCounts(d, hn::Zero(d), in_.jumps.at(0, row) + column, kLanes);
    }
    Screen(start, noise, rate, hit);
    // A pixel with a jump goes on by itself: its differences and the quality it had go into the pack.
    uint32_t dq[kPair * kLanes];
    std::copy_n(in_.dq.at(0, row) + x, kPair * kLanes, dq);
    Fit<kPair>(OutputsFor(), diffs_, rate, noise, ahead_, row, x, kLanes);
    for (int g = 0; g < kPair; g++) {
      if (HWY_LIKELY(hn::AllFalse(d, hit[g]))) continue;
      uint8_t bits[8] = {};
      HWY_ALIGN float first[kLanes];
      hn::StoreMaskBits(d, hit[g], bits);
      hn::Store(start[g], d, first);
      for (int i = 0; i < kLanes; i++) {
        if ((bits[i / 8] >> (i % 8) & 1) == 0) continue;
        const float* from = diffs_ + g * kLanes + i;
        for (int64_t k = 0; k < planes_; k++) pack_[k * kLanes + waiting_] = from[k * kPair * kLanes];
        const int64_t column = x + g * kLanes + i;
        pixels_[waiting_] = {row, column, dq[g * kLanes + i], in_.lastGood.at(0, row)[column], 0};
        start_[waiting_] = first[i];
        if (++waiting_ == kLanes) Again();
      }
    }
  }

  bool Drop(int lane, int64_t plane) {
    int64_t good = 0;
    for (int64_t k = 0; k < planes_; k++) good += pack_[k * kLanes + lane] == pack_[k * kLanes + lane];
    if (good < 3) return false;
    pack_[plane * kLanes + lane] = std::numeric_limits<float>::quiet_NaN();
    pixels_[lane].jumps++;
    return true;
  }

  // Tests the waiting pixels until none has a jump left, and fits them.
  HWY_NOINLINE void Again() {
    const DF d;
    HWY_ALIGN float gain[kLanes], variance[kLanes], rates[kLanes] = {};
    for (int i = 0; i < kLanes; i++) {
      if (i >= waiting_) start_[i] = start_[0];
      const Pixel& pixel = pixels_[i < waiting_ ? i : 0];
      gain[i] = in_.gain.at(0, pixel.row)[pixel.x];
      variance[i] = in_.variance.at(0, pixel.row)[pixel.x];
      for (int64_t k = 0; i >= waiting_ && k < planes_; k++) pack_[k * kLanes + i] = pack_[k * kLanes];
    }
    const Noise noise(d, hn::Load(d, gain), hn::Load(d, variance));
    Ahead none;
    VF start = hn::Load(d, start_);
    for (uint32_t open = (1u << waiting_) - 1; open != 0;) {
      VF rate, at;
      hn::Mask<DF> hit;
      Test({pack_, kLanes}, start, noise, rate, hit, at);
      uint8_t bits[8] = {};
      HWY_ALIGN float worst[kLanes], found[kLanes];
      hn::StoreMaskBits(d, hit, bits);
      hn::Store(at, d, worst);
      hn::Store(rate, d, found);
      for (int i = 0; i < waiting_; i++) {
        if ((open >> i & 1) == 0) continue;
        if ((bits[i / 8] >> (i % 8) & 1) != 0 && Drop(i, static_cast<int64_t>(worst[i]))) continue;
        rates[i] = found[i];
        open &= ~(1u << i);
      }
      Trimmed rest;
      AddPlanes<1>(d, {pack_, kLanes}, planes_, none, &rest);
      start = rest.Mean(d);
    }
    HWY_ALIGN float out[3][kLanes] = {};
    HWY_ALIGN uint32_t dq[kLanes];
    HWY_ALIGN uint16_t counts[3][kLanes] = {};
    for (int i = 0; i < waiting_; i++) {
      dq[i] = pixels_[i].dq;
      counts[0][i] = pixels_[i].jumps;
      counts[1][i] = pixels_[i].lastGood;
    }
    Outputs to = OutputsFor();
    to.rate.data = out[0];
    to.error.data = out[1];
    to.chi2.data = out[2];
    to.dq.data = dq;
    to.jumps.data = counts[0];
    to.lastGood.data = counts[1];
    to.goodDiffs.data = counts[2];
    const VF rate = hn::Load(d, rates);
    Fit<1>(to, pack_, &rate, &noise, none, 0, 0, waiting_);
    for (int i = 0; i < waiting_; i++) {
      const Pixel& pixel = pixels_[i];
      in_.rate.at(0, pixel.row)[pixel.x] = out[0][i];
      in_.error.at(0, pixel.row)[pixel.x] = out[1][i];
      in_.chi2.at(0, pixel.row)[pixel.x] = out[2][i];
      in_.dq.at(0, pixel.row)[pixel.x] = dq[i];
      in_.jumps.at(0, pixel.row)[pixel.x] = pixel.jumps;
      in_.goodDiffs.at(0, pixel.row)[pixel.x] = counts[2][i];
    }
    waiting_ = 0;
  }

  const Fused& in_;
  int64_t planes_;
  float *diffs_, *sweep_, *pack_;
  Ahead ahead_;
  Pixel pixels_[kLanes];
  HWY_ALIGN float start_[kLanes];
  int waiting_ = 0;
};
}  // namespace

void RunFused(const Fused& in) { FusedLoop(in).Run(); }
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <fcntl.h>
#include <fitsio.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "generated/find-jumps.h"
#include "generated/fit-ramp.h"
#include "generated/latch-saturation.h"
#include "generated/linearise.h"
#include "generated/measure-one-over-f.h"
#include "generated/measure-zero-point.h"
#include "native/codec/ramp.h"
#include "native/core/chain.h"
#include "native/core/copy.h"
#include "native/core/cpu.h"
#include "native/core/memory.h"

namespace rampline {
HWY_EXPORT(RunFused);
namespace {

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "bench_chain: %s\n", what.c_str());
  std::exit(1);
}
void Need(const Status& status, const char* what) {
  if (!status.ok()) Die(std::string(what) + ": " + status.message);
}

double Seconds(clockid_t clock) {
  timespec t;
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// "key":value of the answers
std::string Field(const std::string& key, double value) {
  std::ostringstream text;
  text << '"' << key << "\":" << std::setprecision(12) << value;
  return text.str();
}

template <class T>
T Take(std::istream& in, const char* what) {
  T value{};
  if (!(in >> value)) Die(std::string("the description of the chain ends at ") + what);
  return value;
}

DType TypeNamed(const std::string& name) {
  static const std::string kNames[] = {"u8", "i16", "u16", "i32", "u32", "i64", "f32", "f64"};
  for (size_t i = 0; i < 8; i++) {
    if (name == kNames[i]) return static_cast<DType>(i);
  }
  Die("no type " + name);
}

// Small memory. Not a LargeBuffer: of those only a few are kept from run to run, and the cube has to be one of them.
struct Free {
  void operator()(std::byte* p) const { std::free(p); }
};
using Bytes = std::unique_ptr<std::byte, Free>;
Bytes Allocate(size_t bytes) {
  Bytes memory(static_cast<std::byte*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64)));
  if (memory == nullptr) Die("no memory");
  return memory;
}

class Bench {
 public:
  Bench(const char* spec, const char* file) : file_(file) {
    std::ifstream in(spec);
    ReadSource(in);
    ReadArrays(in);
    ReadSteps(in);
    Need(OpenRamp(layout_, &source_), file);
    chain_.source = source_.get();
  }

  // Every run starts from the arrays as they were given.
  void Restore() {
    for (size_t i = 0; i < memory_.size(); i++) {
      if (!memory_[i].empty()) std::memcpy(chain_.arrays[i].whole.data, memory_[i].data(), memory_[i].size());
    }
  }

  std::string RunTheChain(int threads) {
    Restore();
    chain_.options.threads = threads;
    const double cpu = Seconds(CLOCK_PROCESS_CPUTIME_ID), wall = Seconds(CLOCK_MONOTONIC);
    // As a user of the library would: the file is opened and the tiles' places are read in the time that counts.
    Need(OpenRamp(layout_, &source_), file_);
    chain_.source = source_.get();
    const ChainReport report = RunChain(chain_);
    const std::string times = Times(cpu, wall);
    Need(report.status, "the chain");
    std::string steps;
    for (const ChainTiming& t : report.timings) {
      if (!steps.empty()) steps += ',';
      steps += Field(t.name, t.seconds * 1e3);
    }
    return times + ",\"steps\":{" + steps + "}," + Field("cubeBytes", static_cast<double>(report.cubeBytes));
  }

  std::string RunTheFused() {
    Restore();
    Fused in = FusedInput();
    const double cpu = Seconds(CLOCK_PROCESS_CPUTIME_ID), wall = Seconds(CLOCK_MONOTONIC);
    Need(OpenRamp(layout_, &source_), file_);
    // Of the cube it keeps, as the chain does, the chosen reads and the columns of the image; strides are odd cache lines.
    in.readStride = in.cols + 32;
    in.rowStride = in.reads * in.readStride;
    LargeBuffer cube = LargeBuffer::Take(static_cast<size_t>(in.rowStride * in.rows) * sizeof(uint16_t));
    if (cube.data() == nullptr) Die("no memory for the cube");
    DecodeAndGather(in, cube.data());
    in.cube = reinterpret_cast<const uint16_t*>(cube.data());
    HWY_DYNAMIC_DISPATCH(RunFused)(in);
    source_->DataSums();
    return Times(cpu, wall);
  }

  std::string RunCfitsio() {
    const double cpu = Seconds(CLOCK_PROCESS_CPUTIME_ID), wall = Seconds(CLOCK_MONOTONIC);
    fitsfile* file = nullptr;
    int status = 0, hdus = 0, images = 0;
    fits_open_diskfile(&file, file_, READONLY, &status);
    fits_get_num_hdus(file, &hdus, &status);
    for (int hdu = 1; hdu <= hdus && status == 0; hdu++) {
      int axes = 0, type = 0;
      long size[2] = {0, 0};
      fits_movabs_hdu(file, hdu, nullptr, &status);
      fits_get_img_param(file, 2, &type, &axes, size, &status);
      if (status != 0 || axes != 2) continue;
      fits_get_img_equivtype(file, &type, &status);
      const auto count = static_cast<size_t>(size[0] * size[1]);
      pixels_.resize(std::max(pixels_.size(), count));
      // Each image in the type it was stored as, into the same warm memory.
      fits_read_img(file, type == USHORT_IMG ? TUSHORT : TINT, 1, static_cast<LONGLONG>(count), nullptr, pixels_.data(),
                    nullptr, &status);
      images++;
    }
    int closed = 0;
    fits_close_file(file, &closed);
    const std::string times = Times(cpu, wall);
    if (status != 0) Die("cfitsio status " + std::to_string(status));
    return times + "," + Field("images", images);
  }

  // The images of the chain against those of the fused loop: rates and errors within a thousandth of an error, chi-square
  // within a thousandth or 0.01, everything that counts or flags the same.
  std::string Compare() {
    RunTheChain(1);
    std::vector<std::vector<std::byte>> ours(chain_.arrays.size());
    for (size_t i = 0; i < ours.size(); i++) {
      const auto* data = static_cast<const std::byte*>(chain_.arrays[i].whole.data);
      if (!memory_[i].empty()) ours[i].assign(data, data + memory_[i].size());
    }
    RunTheFused();
    const Fused in = FusedInput();
    const auto chains = [&](const void* data) -> const std::byte* {
      for (size_t i = 0; i < ours.size(); i++) {
        if (chain_.arrays[i].whole.data == data) return ours[i].data();
      }
      Die("an output that is no array");
    };
    const auto* rate = reinterpret_cast<const float*>(chains(in.rate.data));
    const auto* error = reinterpret_cast<const float*>(chains(in.error.data));
    const auto* chi2 = reinterpret_cast<const float*>(chains(in.chi2.data));
    const auto* dq = reinterpret_cast<const uint32_t*>(chains(in.dq.data));
    // Not an image where nobody asked for it.
    const auto* jumps = in.jumps.rowStride == 0 ? nullptr : reinterpret_cast<const uint16_t*>(chains(in.jumps.data));
    const auto* good = reinterpret_cast<const uint16_t*>(chains(in.goodDiffs.data));
    int64_t different = 0;
    for (int64_t i = 0; i < in.rows * in.cols; i++) {
      const bool same = std::fabs(rate[i] - in.rate.data[i]) <= 1e-3f * error[i] &&
                        std::fabs(error[i] - in.error.data[i]) <= 1e-3f * error[i] &&
                        std::fabs(chi2[i] - in.chi2.data[i]) <= std::max(0.01f, 1e-3f * chi2[i]) &&
                        dq[i] == in.dq.data[i] && (jumps == nullptr || jumps[i] == in.jumps.data[i]) &&
                        good[i] == in.goodDiffs.data[i];
      different += !same;
    }
    return Field("pixels", static_cast<double>(in.rows * in.cols)) + "," +
           Field("different", static_cast<double>(different));
  }

 private:
  static std::string Times(double cpu, double wall) {
    return Field("cpuMs", (Seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu) * 1e3) + "," +
           Field("wallMs", (Seconds(CLOCK_MONOTONIC) - wall) * 1e3);
  }

  void ReadSource(std::istream& in) {
    layout_.fd = open(file_, O_RDONLY | O_CLOEXEC);
    layout_.fileBytes = Take<int64_t>(in, "the file's size");
    layout_.rows = Take<int64_t>(in, "rows");
    layout_.cols = Take<int64_t>(in, "columns");
    layout_.differences = Take<int>(in, "differences") != 0;
    layout_.images.resize(Take<size_t>(in, "images"));
    for (RampImage& image : layout_.images) {
      image.hdu = Take<int32_t>(in, "hdu");
      image.compressed = Take<int>(in, "compressed") != 0;
      image.dataOffset = Take<int64_t>(in, "dataOffset");
      image.dataBytes = Take<int64_t>(in, "dataBytes");
      image.tableRowBytes = Take<int64_t>(in, "tableRowBytes");
      image.descriptor = Take<int64_t>(in, "descriptor");
      image.wideDescriptor = Take<int>(in, "wideDescriptor") != 0;
      image.heapOffset = Take<int64_t>(in, "heapOffset");
      image.bytesPerPixel = Take<int>(in, "bytesPerPixel");
      image.blockSize = Take<int>(in, "blockSize");
    }
    ChainOptions& o = chain_.options;
    o.firstRead = Take<int64_t>(in, "firstRead");
    o.reads = Take<int64_t>(in, "reads");
    o.rows = Take<int64_t>(in, "rows");
    o.cols = Take<int64_t>(in, "cols");
  }

  void ReadArrays(std::istream& in) {
    chain_.arrays.resize(Take<size_t>(in, "arrays"));
    memory_.resize(chain_.arrays.size());
    for (size_t i = 0; i < chain_.arrays.size(); i++) {
      ChainArray& array = chain_.arrays[i];
      array.name = Take<std::string>(in, "name");
      const auto kind = Take<std::string>(in, "kind");
      array.kind = kind == "source"  ? ChainArray::Kind::kSource
                   : kind == "block" ? ChainArray::Kind::kBlock
                                     : ChainArray::Kind::kBound;
      Array& whole = array.whole;
      whole.dtype = TypeNamed(Take<std::string>(in, "type"));
      for (int64_t* n : {&whole.planes, &whole.rows, &whole.cols, &whole.planeStride, &whole.rowStride}) {
        *n = Take<int64_t>(in, "an extent");
      }
      const auto path = Take<std::string>(in, "path");
      if (array.kind != ChainArray::Kind::kBound) continue;
      std::ifstream data(path, std::ios::binary | std::ios::ate);
      memory_[i].resize(static_cast<size_t>(data.tellg()));
      data.seekg(0);
      data.read(reinterpret_cast<char*>(memory_[i].data()), static_cast<std::streamsize>(memory_[i].size()));
      if (!data) Die("cannot read " + path);
      buffers_.push_back(LargeBuffer::Take(memory_[i].size()));
      whole.data = buffers_.back().data();
      if (whole.data == nullptr) Die("no memory for " + array.name);
    }
  }

  void ReadSteps(std::istream& in) {
    chain_.steps.resize(Take<size_t>(in, "steps"));
    for (ChainStep& step : chain_.steps) {
      const auto name = Take<std::string>(in, "a kernel");
      step.kernel = FindKernel(name.c_str());
      if (step.kernel == nullptr) Die("no kernel " + name);
      step.arrays.resize(Take<size_t>(in, "ports"));
      for (int& index : step.arrays) index = Take<int>(in, "a port");
      step.params.resize(step.kernel->paramsBytes);
      if (Take<size_t>(in, "parameters") != step.kernel->params.size()) Die(name + " has other parameters");
      for (const ParamInfo& info : step.kernel->params) {
        const auto value = Take<double>(in, "a parameter");
        const auto asFloat = static_cast<float>(value);
        const auto asInt = static_cast<int32_t>(value);
        const bool isFloat = info.type == ParamInfo::Type::kFloat;
        std::memcpy(step.params.data() + info.offset,
                    isFloat ? static_cast<const void*>(&asFloat) : static_cast<const void*>(&asInt), 4);
      }
    }
  }

  const ChainStep& StepOf(const char* kernel) const {
    for (const ChainStep& step : chain_.steps) {
      if (std::strcmp(step.kernel->name, kernel) == 0) return step;
    }
    Die(std::string("the fused loop knows the default chain only, and this one lacks ") + kernel);
  }
  const Array& Bound(const char* kernel, int port) const {
    const int index = StepOf(kernel).arrays[static_cast<size_t>(port)];
    if (index < 0) Die(std::string("a port of ") + kernel + " has no array");
    return chain_.arrays[static_cast<size_t>(index)].whole;
  }
  template <class T>
  const T& ParamsFor(const char* kernel) const {
    return *reinterpret_cast<const T*>(StepOf(kernel).params.data());
  }

  // An image of counts, or, where the chain keeps it in its blocks only, one row that all rows share.
  View<uint16_t> Counts(const char* kernel, int port, Bytes* row) const {
    const View<uint16_t> image = Bound(kernel, port).view<uint16_t>();
    if (image.data != nullptr) return image;
    const int64_t cols = chain_.options.cols;
    *row = Allocate(static_cast<size_t>(cols) * sizeof(uint16_t));
    return {reinterpret_cast<uint16_t*>(row->get()), 1, chain_.options.rows, cols, 0, 0};
  }

  Fused FusedInput() {
    static const char* const kKnown[] = {"measure-zero-point",  "measure-one-over-f",  "to-float",  "latch-saturation",
                                         "subtract-zero-point", "subtract-one-over-f", "linearise", "difference",
                                         "estimate-rate",       "find-jumps",          "fit-ramp"};
    for (const char* name : kKnown) StepOf(name);
    if (chain_.steps.size() != std::size(kKnown)) Die("the chain has steps that the fused loop does not know");
    Fused in;
    in.level = Bound("latch-saturation", latch_saturation::kLevel).view<const float>();
    in.lastGood = Counts("latch-saturation", latch_saturation::kLastGood, &rowOfLastGood_);
    in.fraction = ParamsFor<latch_saturation::Params>("latch-saturation").fraction;
    in.offsets = Bound("measure-zero-point", measure_zero_point::kOffsets).view<const float>();
    in.correction = Bound("measure-one-over-f", measure_one_over_f::kCorrection).view<const float>();
    in.c2 = Bound("linearise", linearise::kC2).view<const float>();
    in.c3 = Bound("linearise", linearise::kC3).view<const float>();
    in.limit = Bound("linearise", linearise::kLimit).view<const float>();
    const auto& test = ParamsFor<find_jumps::Params>("find-jumps");
    const auto& fit = ParamsFor<fit_ramp::Params>("fit-ramp");
    if (test.twoOmit != 0 || fit.iterations != 1 || fit.debias != 0) Die("the fused loop knows the defaults only");
    in.threshold = test.oneThreshold;
    in.maxReducedChi2 = fit.maxReducedChi2;
    in.readTimeSeconds = fit.readTimeSeconds;
    in.electrons = fit.unit == fit_ramp::kElectronPerSecond;
    in.gain = Bound("fit-ramp", fit_ramp::kGain).view<const float>();
    in.variance = Bound("fit-ramp", fit_ramp::kReadVariance).view<const float>();
    in.jumps = Counts("find-jumps", find_jumps::kJumps, &rowOfJumps_);
    in.rate = Bound("fit-ramp", fit_ramp::kRate).view<float>();
    in.error = Bound("fit-ramp", fit_ramp::kError).view<float>();
    in.chi2 = Bound("fit-ramp", fit_ramp::kChi2).view<float>();
    in.goodDiffs = Bound("fit-ramp", fit_ramp::kGoodDiffs).view<uint16_t>();
    in.dq = Bound("fit-ramp", fit_ramp::kDq).view<uint32_t>();
    in.reads = chain_.options.reads;
    in.rows = chain_.options.rows;
    in.cols = chain_.options.cols;
    if (in.cols % 64 != 0) Die("the fused loop needs whole groups of 64 columns");
    work_ = Allocate(static_cast<size_t>(in.reads) * 6 * 64 * sizeof(float));
    in.work = reinterpret_cast<float*>(work_.get());
    return in;
  }

  // Decodes row by row, gathers both statistics while the row is in the cache, and keeps the row for the fit.
  void DecodeAndGather(const Fused& in, std::byte* cube) {
    constexpr int kSamples = 8, kRounds = 64;
    const ChainStep* steps[] = {&StepOf("measure-zero-point"), &StepOf("measure-one-over-f")};
    std::vector<Array> ports[2];
    KernelCall calls[2];
    Bytes states[2];
    const int64_t stride = source_->cols() + 32;
    const auto bytes = [](int64_t elements) { return static_cast<size_t>(elements) * sizeof(uint16_t); };
    const Bytes scratch = Allocate(4 << 20), rowBuffer = Allocate(bytes(source_->planes() * stride));
    auto* row = reinterpret_cast<uint16_t*>(rowBuffer.get());
    const int64_t rows = source_->rows(), reads = chain_.options.reads, first = chain_.options.firstRead;
    const Array shown = {nullptr, DType::kU16, reads, 1, source_->cols(), stride, stride};
    const auto show = [&](uint16_t* data, int64_t y) {
      for (int s = 0; s < 2; s++) {
        calls[s].origin = {y, 0};
        for (size_t p = 0; p < ports[s].size(); p++) {
          if (steps[s]->kernel->ports[p].dtype == DType::kU16) ports[s][p].data = data + first * stride;
        }
      }
    };
    for (int s = 0; s < 2; s++) {
      const KernelInfo& kernel = *steps[s]->kernel;
      for (const int index : steps[s]->arrays) {
        ports[s].push_back(index < 0 ? Array{} : chain_.arrays[static_cast<size_t>(index)].whole);
        if (index >= 0 && chain_.arrays[static_cast<size_t>(index)].kind == ChainArray::Kind::kSource) {
          ports[s].back() = shown;
        }
      }
      calls[s].ports = ports[s];
      calls[s].params = steps[s]->params.data();
      calls[s].whole = {reads, rows, source_->cols()};
      calls[s].scratch = {reinterpret_cast<float*>(scratch.get()), size_t{1} << 20};
      show(row, 0);
      states[s] = Allocate(kernel.global.stateBytes(calls[s]) + 64);
      Need(kernel.global.begin(calls[s], states[s].get()), kernel.name);
    }
    const auto reader = source_->MakeReader();
    for (int i = 0; i < kSamples; i++) {
      const int64_t y = (2 * i + 1) * rows / (2 * kSamples);
      Need(reader->Read(y, source_->cols(), row, stride), "decode");
      show(row, y);
      for (int s = 0; s < 2; s++) {
        const GlobalFns& fns = steps[s]->kernel->global;
        if (fns.prepare != nullptr) Need(fns.prepare(calls[s], states[s].get()), steps[s]->kernel->name);
      }
    }
    for (int round = 0; round < kRounds; round++) {
      for (int64_t y = 0; y < rows; y++) {
        Need(reader->Read(y, source_->cols(), row, stride), "decode");
        show(row, y);
        for (int s = 0; s < 2; s++) {
          Need(steps[s]->kernel->global.gather(calls[s], states[s].get()), steps[s]->kernel->name);
        }
        if (round > 0 || y >= in.rows) continue;
        StreamCopy(reinterpret_cast<const std::byte*>(row + first * stride), bytes(stride),
                   cube + bytes(y * in.rowStride), bytes(in.readStride), bytes(in.cols), static_cast<size_t>(reads));
      }
      bool again = false;
      for (int s = 0; s < 2; s++) {
        bool more = false;
        Need(steps[s]->kernel->global.finish(calls[s], states[s].get(), &more), steps[s]->kernel->name);
        again = again || more;
      }
      if (!again) return;
    }
    Die("a statistic did not settle");
  }

  const char* file_;
  RampLayout layout_;
  std::shared_ptr<RowSource> source_;
  Chain chain_;
  std::vector<std::vector<std::byte>> memory_;  // first contents of each bound array
  std::vector<LargeBuffer> buffers_;
  Bytes work_, rowOfLastGood_, rowOfJumps_;
  std::vector<int32_t> pixels_;
};

int Main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: bench_chain SPEC FILE   (bench/run.mjs starts it)\n");
    return 2;
  }
  Bench bench(argv[1], argv[2]);
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string what, answer;
    int threads = 1;
    words >> what >> threads;
    if (what == "chain") answer = bench.RunTheChain(threads);
    if (what == "fused") answer = bench.RunTheFused();
    if (what == "cfitsio") answer = bench.RunCfitsio();
    if (what == "compare") answer = bench.Compare();
    if (answer.empty()) answer = "\"missing\":\"no such order\"";
    std::cout << "@{" << answer << ",\"target\":\"" << CurrentTarget() << "\"}" << std::endl;
  }
  return 0;
}

}  // namespace
}  // namespace rampline

int main(int argc, char** argv) { return rampline::Main(argc, argv); }
#endif
