/** Arrays of fibres as the kernels of profiles take them: of a fixed number. */

/** Fibres that the kernels know; an instrument with fewer fills up with fibres without light. */
export const KERNEL_FIBRES = 300;

/** The first `used` values in an array of `length`, the rest `fill`; the data itself where nothing is missing. */
export function filledUp(data: Float32Array, used: number, length: number, fill: number): Float32Array {
  if (used === length) return data;
  const full = new Float32Array(length).fill(fill);
  full.set(data.subarray(0, used));
  return full;
}
