/** What native/kernels/<name>/kernel.json says of a kernel; src/engine/generated/kernels.ts holds all of them. */

export type KernelClass = 'stream' | 'local' | 'global';
export type DType = 'u8' | 'i16' | 'u16' | 'i32' | 'u32' | 'i64' | 'f32' | 'f64';

export interface PortDescription {
  readonly name: string;
  readonly direction: 'in' | 'out' | 'inout';
  readonly dtype: DType;
  /** "plane", "plane-1", "row", "x", or "name=SIZE". */
  readonly axes: readonly string[];
  readonly unit: string;
  readonly doc: string;
  readonly optional?: boolean;
  /** Values that make sense; inputs outside it are not refused, they are what tests draw from. */
  readonly range?: readonly number[];
  /** NaN is legal and means "missing". */
  readonly nan?: boolean;
  /** Of this output, where it differs from the kernel's. */
  readonly tolerance?: { readonly relative: number; readonly absolute: number };
}

export interface ParamDescription {
  readonly name: string;
  readonly type: 'float' | 'int' | 'bool' | 'enum';
  readonly default: number | boolean | string;
  readonly min?: number;
  readonly max?: number;
  readonly exclusiveMin?: boolean;
  readonly unit?: string;
  readonly choices?: readonly string[];
  readonly doc: string;
}

export interface KernelDescription {
  readonly name: string;
  readonly version: string;
  /** sha256 (first 16 hex digits) of the kernel's sources. */
  readonly hash: string;
  readonly class: KernelClass;
  readonly stage?: string;
  readonly summary: string;
  readonly source?: string;
  readonly notes?: string;
  readonly ports: readonly PortDescription[];
  readonly params: readonly ParamDescription[];
  readonly stream?: { readonly in: string; readonly out: string; readonly dropped?: number };
  readonly dq?: { readonly reads?: readonly string[]; readonly sets?: readonly string[] };
  readonly tolerance: { readonly relative: number; readonly absolute: number };
  readonly cost: { readonly bytes: number; readonly flops: number };
  readonly scratch?: Readonly<Record<string, number>>;
  readonly bench?: Readonly<Record<string, number>>;
  readonly conformance?: Readonly<Record<string, unknown>>;
}
