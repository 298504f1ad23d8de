/** Memory that threads share. Buffers go to workers by reference and to kernels by address; nothing is cloned. */
import { addon } from '../core/addon.js';

/**
 * A SharedArrayBuffer for many images, zeroed, that the system may back with huge pages: the first touch of 90 MB in small
 * ones costs as much as fitting all the ramps.
 */
export function sharedLarge(bytes: number): SharedArrayBuffer {
  const memory = new SharedArrayBuffer(bytes);
  addon().adviseHuge(new Uint8Array(memory));
  return memory;
}

/**
 * Memory of a whole image, zeroed, that the system may back with huge pages: a fault for each 4 kB costs as much as a kernel, and
 * columns of an image in small pages wait for the address of each row. Unlike shared memory it counts for the garbage collector.
 */
export function largeBuffer(bytes: number): ArrayBuffer {
  const memory = new ArrayBuffer(bytes);
  addon().adviseHuge(new Uint8Array(memory));
  return memory;
}

/** A Float32Array on such memory. */
export function largeF32(length: number): Float32Array<ArrayBuffer> {
  return new Float32Array(largeBuffer(length * 4));
}

/** A Float32Array on a SharedArrayBuffer, zeroed. */
export function sharedF32(length: number): Float32Array<SharedArrayBuffer> {
  return new Float32Array(new SharedArrayBuffer(length * 4));
}

/** A Uint32Array on a SharedArrayBuffer, zeroed. */
export function sharedU32(length: number): Uint32Array<SharedArrayBuffer> {
  return new Uint32Array(new SharedArrayBuffer(length * 4));
}

/** A Uint16Array on a SharedArrayBuffer, zeroed. */
export function sharedU16(length: number): Uint16Array<SharedArrayBuffer> {
  return new Uint16Array(new SharedArrayBuffer(length * 2));
}

/** A Uint8Array on a SharedArrayBuffer, zeroed. */
export function sharedU8(length: number): Uint8Array<SharedArrayBuffer> {
  return new Uint8Array(new SharedArrayBuffer(length));
}
