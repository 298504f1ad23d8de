// What the kernels that close running means share: the error of a weighted mean, and whether its values scatter more than
// their errors say. A chi-square per degree of freedom c of d degrees exceeds 1 by more than z sigma of chance where
//
//   c > (1 - h + z sqrt(h))^3,  h = 2 / (9 d)          (Wilson and Hilferty 1931, PNAS 17, 684)
#if defined(RAMPLINE_CORE_SCATTER_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RAMPLINE_CORE_SCATTER_INL_H_
#undef RAMPLINE_CORE_SCATTER_INL_H_
#else
#define RAMPLINE_CORE_SCATTER_INL_H_
#endif

#include "native/core/ramp-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace scatter {
namespace hn = hwy::HWY_NAMESPACE;
using ramp::DF;
using ramp::VF;

// Whether chi2 of dof degrees exceeds `limit` a degree, and 1 by more than chance.
HWY_INLINE hn::Mask<DF> Exceeds(DF d, VF chi2, VF dof, VF limit, VF z) {
  const VF one = hn::Set(d, 1.0f), some = hn::Max(dof, one);
  const VF h = hn::Div(hn::Set(d, 2.0f / 9.0f), some), root = hn::MulAdd(z, hn::Sqrt(h), hn::Sub(one, h));
  const VF chance = hn::Mul(root, hn::Mul(root, root));
  return hn::And(hn::Ge(dof, one), hn::Gt(chi2, hn::Mul(some, hn::Max(limit, chance))));
}

struct Closed {
  hn::Mask<DF> usable;
  VF error;      // of the mean, inflated where its values scatter more than chance allows
  VF chi2, dof;  // of the values against their mean, for errors that are all the same
};

// From the sums of fold-group.
HWY_INLINE Closed Close(DF d, VF mean, VF weight, VF variance, VF expected, VF scatter, VF count, float inflateSigma) {
  const VF zero = hn::Zero(d), one = hn::Set(d, 1.0f);
  const VF raw = hn::Div(hn::Sqrt(hn::Max(variance, zero)), hn::IfThenElse(hn::Gt(weight, zero), weight, one));
  const auto known = hn::Gt(expected, hn::Set(d, 1e-30f));
  Closed out;
  out.usable = hn::And(hn::And(hn::Ge(count, one), hn::IsFinite(mean)),
                       hn::And(hn::Gt(raw, zero), hn::And(hn::IsFinite(raw), hn::Gt(weight, zero))));
  out.chi2 = hn::IfThenElseZero(known, hn::Div(hn::Mul(scatter, count), hn::IfThenElse(known, expected, one)));
  out.dof = hn::Sub(count, one);
  const auto more = Exceeds(d, out.chi2, out.dof, one, hn::Set(d, inflateSigma));
  const VF f = hn::IfThenElse(more, hn::Div(out.chi2, hn::Max(out.dof, one)), one);
  out.error = hn::Mul(raw, hn::Sqrt(f));
  return out;
}

}  // namespace scatter
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();
#endif
