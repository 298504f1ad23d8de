// The loop of stream kernels. An operator holds what depends on the pixel (loaded once) and is applied plane by plane;
// neighbours in a chain become one loop by inlining, so a value passes from one to the next in a register.
//
// Included once per CPU target. An operator is, in namespace rampline::HWY_NAMESPACE::<kernel>:
//
//   template <class D>
//   class Operator {
//    public:
//     Operator(D d, const KernelCall& call, int64_t row, int64_t x);       // row, x: within the views of `call`
//     hn::Vec<D> operator()(D d, hn::Vec<D> value, int64_t plane);
//     void End(D d);                                                        // store what was gathered, if anything
//   };
//
// D may have any number of lanes; the ends of odd rows run with one lane, so nothing reads or writes past a row.
#if defined(RAMPLINE_CORE_STREAM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RAMPLINE_CORE_STREAM_INL_H_
#undef RAMPLINE_CORE_STREAM_INL_H_
#else
#define RAMPLINE_CORE_STREAM_INL_H_
#endif

#include <hwy/highway.h>

#include <type_traits>

#include "native/core/kernel.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class D>
HWY_INLINE hn::Vec<D> LoadAsFloat(D d, const float* p) {
  return hn::LoadU(d, p);
}
template <class D>
HWY_INLINE hn::Vec<D> LoadAsFloat(D d, const uint16_t* p) {
  const hn::Rebind<uint16_t, D> d16;
  const hn::RebindToSigned<D> d32;
  return hn::ConvertTo(d, hn::PromoteTo(d32, hn::LoadU(d16, p)));
}

template <class D, class... Uses>
struct Pipe;

template <class D>
struct Pipe<D> {
  HWY_INLINE Pipe(D, const KernelCall*, int64_t, int64_t) {}
  template <bool kFirst>
  HWY_INLINE hn::Vec<D> Step(D, hn::Vec<D> value, int64_t) {
    return value;
  }
  HWY_INLINE void End(D) {}
};

template <class D, class Use, class... Rest>
struct Pipe<D, Use, Rest...> {
  typename Use::template For<D> op;
  Pipe<D, Rest...> rest;

  HWY_INLINE Pipe(D d, const KernelCall* calls, int64_t row, int64_t x)
      : op(d, calls[0], row, x), rest(d, calls + 1, row, x) {}
  // kFirst: plane 0, which an operator that drops a plane keeps to itself.
  template <bool kFirst>
  HWY_INLINE hn::Vec<D> Step(D d, hn::Vec<D> value, int64_t plane) {
    value = op(d, value, plane);
    if constexpr (kFirst && Use::kDropped > 0) {
      return value;
    } else {
      return rest.template Step<kFirst>(d, value, plane - Use::kDropped);
    }
  }
  HWY_INLINE void End(D d) {
    op.End(d);
    rest.End(d);
  }
};

template <class T, class D, class... Uses>
HWY_INLINE void StreamOne(D d, const KernelCall* calls, const View<const T>& in, const View<float>& out, int64_t row,
                          int64_t x) {
  constexpr int kDropped = (0 + ... + Uses::kDropped);
  static_assert(kDropped <= 1, "one operator of a run may drop the first plane");
  Pipe<D, Uses...> pipe(d, calls, row, x);
  const T* p = in.at(0, row) + x;
  float* q = out.at(0, row) + x;
  hn::Vec<D> v = pipe.template Step<true>(d, LoadAsFloat(d, p), 0);
  if constexpr (kDropped == 0) {
    hn::StoreU(v, d, q);
    q += out.planeStride;
  }
  for (int64_t k = 1; k < in.planes; k++, q += out.planeStride) {
    p += in.planeStride;
    hn::StoreU(pipe.template Step<false>(d, LoadAsFloat(d, p), k), d, q);
  }
  pipe.End(d);
}

// Two vectors at a time: the second hides the latency of the first.
template <class T, class D, class... Uses>
HWY_INLINE void StreamTwo(D d, const KernelCall* calls, const View<const T>& in, const View<float>& out, int64_t row,
                          int64_t x) {
  constexpr int kDropped = (0 + ... + Uses::kDropped);
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  Pipe<D, Uses...> a(d, calls, row, x);
  Pipe<D, Uses...> b(d, calls, row, x + n);
  const T* p = in.at(0, row) + x;
  float* q = out.at(0, row) + x;
  hn::Vec<D> va = a.template Step<true>(d, LoadAsFloat(d, p), 0);
  hn::Vec<D> vb = b.template Step<true>(d, LoadAsFloat(d, p + n), 0);
  if constexpr (kDropped == 0) {
    hn::StoreU(va, d, q);
    hn::StoreU(vb, d, q + n);
    q += out.planeStride;
  }
  for (int64_t k = 1; k < in.planes; k++, q += out.planeStride) {
    p += in.planeStride;
    va = a.template Step<false>(d, LoadAsFloat(d, p), k);
    vb = b.template Step<false>(d, LoadAsFloat(d, p + n), k);
    hn::StoreU(va, d, q);
    hn::StoreU(vb, d, q + n);
  }
  a.End(d);
  b.End(d);
}

template <class T, class... Uses>
Status RunStream(std::span<const KernelCall> calls, size_t portIn, size_t portOut) {
  const View<const T> in = calls.front().ports[portIn].view<const T>();
  const View<float> out = calls.back().ports[portOut].view<float>();
  if (in.planes < 1) return Ok();
  const hn::ScalableTag<float> d;
  const hn::CappedTag<float, 1> d1;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t row = 0; row < in.rows; row++) {
    int64_t x = 0;
    for (; x + 2 * n <= in.cols; x += 2 * n) StreamTwo<T, decltype(d), Uses...>(d, calls.data(), in, out, row, x);
    for (; x + n <= in.cols; x += n) StreamOne<T, decltype(d), Uses...>(d, calls.data(), in, out, row, x);
    for (; x < in.cols; x++) StreamOne<T, decltype(d1), Uses...>(d1, calls.data(), in, out, row, x);
  }
  return Ok();
}

}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();
#endif
