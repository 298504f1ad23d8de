/**
 * Chains: kernels over arrays, in one native call. This file checks everything that a person could get wrong (names,
 * types, extents, parameters) and hands the addon numbers and addresses.
 */
import { addon, type NativeChainReport, type NativeChainSpec } from '../core/addon.js';
import { BugError, errorFromStatus, UsageError } from '../core/errors.js';
import { KERNELS } from './generated/kernels.js';
import type { DType, KernelDescription, PortDescription } from './kernel.js';
import { checkParams } from './params.js';

export type PixelArray =
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | Float32Array
  | Float64Array;

/** Memory of the caller, axes in the order plane, row, x; strides count elements and default to dense. */
export interface BoundArray {
  readonly data: PixelArray;
  readonly planes?: number;
  readonly rows?: number;
  readonly cols?: number;
  readonly planeStride?: number;
  readonly rowStride?: number;
}

/** Working memory of a thread: planes of one row of a strip, or of a fixed number of columns. */
export interface BlockArray {
  readonly block: DType;
  readonly planes: number;
  readonly cols?: number;
}

/** The reads of the chain's source: u16 [plane][row][x]. */
export interface SourceArray {
  readonly source: true;
}

export type ChainArray = BoundArray | BlockArray | SourceArray;

export interface ChainStep {
  readonly kernel: string;
  /** Array name for each port; optional ports may be left out. */
  readonly ports: Readonly<Record<string, string>>;
  readonly params?: Readonly<Record<string, unknown>> | undefined;
}

export interface ChainOptions {
  readonly threads?: number;
  /** Columns of a block; 512 is measured best and nearly flat from 256 up. */
  readonly strip?: number;
  /** false: decode twice instead of keeping the cube, where a global kernel needs a first pass. */
  readonly keepCube?: boolean;
  readonly fuse?: boolean;
  readonly firstRead?: number;
  readonly reads?: number;
  /** The region that stream and local kernels cover, from row 0 and x 0. */
  readonly rows: number;
  readonly cols: number;
}

export interface Chain {
  readonly arrays: Readonly<Record<string, ChainArray>>;
  readonly steps: readonly ChainStep[];
  readonly source?: { readonly array: BoundArray } | { readonly ramp: object } | undefined;
  readonly options: ChainOptions;
  /** [cancel, progress in rows] on a SharedArrayBuffer, to be watched and set from another thread. */
  readonly control?: Int32Array | undefined;
}

export interface ChainReport {
  /** Seconds of each loop, summed over threads. */
  readonly timings: NativeChainReport['timings'];
  readonly cubeBytes: number;
  readonly blockBytes: number;
  /** FITS data sums of the stored images of a ramp file, in the order of the layout; empty where they are not known. */
  readonly dataSums: readonly number[];
}

/**
 * The kernel of that name.
 * @throws UsageError naming the kernels there are.
 */
export function kernelNamed(name: string): KernelDescription {
  const kernel = KERNELS.find((k) => k.name === name);
  if (kernel === undefined) {
    throw new UsageError(`no kernel "${name}"; there are ${KERNELS.map((k) => k.name).join(', ')}`);
  }
  return kernel;
}

const DTYPE_OF: Readonly<Record<string, DType>> = {
  Uint8Array: 'u8',
  Int16Array: 'i16',
  Uint16Array: 'u16',
  Int32Array: 'i32',
  Uint32Array: 'u32',
  BigInt64Array: 'i64',
  Float32Array: 'f32',
  Float64Array: 'f64',
};

/** The dtype of a chain's array. */
function dtypeOf(array: ChainArray): DType {
  if ('source' in array) return 'u16';
  if ('block' in array) return array.block;
  const dtype = DTYPE_OF[array.data.constructor.name];
  if (dtype === undefined) throw new UsageError(`an array of ${array.data.constructor.name} is no pixel array`);
  return dtype;
}

function checkPort(kernel: KernelDescription, port: PortDescription, name: string, array: ChainArray): void {
  const received = dtypeOf(array);
  if (received !== port.dtype) {
    throw new UsageError(`expected port ${port.name} to be ${port.dtype}, received ${received} (array "${name}")`, {
      kernel: kernel.name,
    });
  }
}

function nativeStep(step: ChainStep, chain: Chain, index: ReadonlyMap<string, number>): object {
  const kernel = kernelNamed(step.kernel);
  for (const name of Object.keys(step.ports)) {
    if (!kernel.ports.some((port) => port.name === name)) {
      const known = kernel.ports.map((port) => port.name).join(', ');
      throw new UsageError(`no port "${name}"; there are ${known}`, { kernel: kernel.name });
    }
  }
  const arrays = kernel.ports.map((port) => {
    const name = step.ports[port.name];
    if (name === undefined) {
      if (port.optional) return -1;
      throw new UsageError(`port ${port.name} has no array`, { kernel: kernel.name });
    }
    const array = chain.arrays[name];
    const at = index.get(name);
    if (array === undefined || at === undefined) {
      throw new UsageError(`port ${port.name}: the chain has no array "${name}"`, { kernel: kernel.name });
    }
    checkPort(kernel, port, name, array);
    return at;
  });
  const params = checkParams(kernel, step.params ?? {});
  return { kernel: kernel.name, arrays, params: kernel.params.map((p) => params[p.name]) };
}

function nativeSpec(chain: Chain): NativeChainSpec {
  const names = Object.keys(chain.arrays);
  const index = new Map(names.map((name, i) => [name, i]));
  return {
    arrays: names.map((name) => ({ name, ...chain.arrays[name] })),
    steps: chain.steps.map((step) => nativeStep(step, chain, index)),
    source: chain.source,
    options: chain.options,
    control: chain.control,
  };
}

/**
 * Runs a chain. Outputs are written into the bound arrays.
 * @throws UsageError for a wrong name, type, extent or parameter; the class of the native status otherwise.
 */
export async function runChain(chain: Chain): Promise<ChainReport> {
  const report = await addon().runChain(nativeSpec(chain));
  if (report.status.code !== 0) {
    throw errorFromStatus(report.status, { kernel: chain.steps[report.failedStep]?.kernel });
  }
  return {
    timings: report.timings,
    cubeBytes: report.cubeBytes,
    blockBytes: report.blockBytes,
    dataSums: report.dataSums,
  };
}

/** What runChain would do: the kernels of each loop over a block, in order. */
export function planChain(chain: Chain): {
  readonly loops: readonly (readonly string[])[];
  readonly needsFirstPass: boolean;
} {
  const plan = addon().planChain(nativeSpec(chain));
  if (plan.status.code !== 0) throw errorFromStatus(plan.status);
  const name = (i: number) => chain.steps[i]?.kernel ?? '?';
  return { loops: plan.loops.map((loop) => loop.map(name)), needsFirstPass: plan.needsFirstPass };
}

/** Rows and columns that a kernel's arrays cover: the largest extents of the ports that have those axes. */
function regionOf(
  kernel: KernelDescription,
  ports: Readonly<Record<string, BoundArray>>,
): { rows: number; cols: number } {
  let rows = 1;
  let cols = 1;
  let seenRow = false;
  let seenX = false;
  for (const port of kernel.ports) {
    const array = ports[port.name];
    if (array === undefined) continue;
    if (port.axes.includes('row')) {
      rows = seenRow ? Math.min(rows, array.rows ?? 1) : (array.rows ?? 1);
      seenRow = true;
    }
    if (port.axes.includes('x')) {
      cols = seenX ? Math.min(cols, array.cols ?? 1) : (array.cols ?? 1);
      seenX = true;
    }
  }
  return { rows, cols };
}

/**
 * Runs one kernel on whole arrays.
 * @param name the kernel
 * @param ports an array for each port (optional ones may be left out)
 * @param params parameters; defaults are the kernel's
 * @throws UsageError for a wrong name, type, extent or parameter
 */
export async function runKernel(
  name: string,
  ports: Readonly<Record<string, BoundArray>>,
  params: Readonly<Record<string, unknown>> = {},
  options: { readonly threads?: number; readonly strip?: number } = {},
): Promise<ChainReport> {
  const kernel = kernelNamed(name);
  for (const port of kernel.ports) {
    const array = ports[port.name];
    if (array !== undefined && !('data' in array)) throw new BugError('runKernel binds memory, not blocks');
  }
  return runChain({
    arrays: ports,
    steps: [{ kernel: name, ports: Object.fromEntries(Object.keys(ports).map((port) => [port, port])), params }],
    options: {
      threads: options.threads ?? 1,
      ...(options.strip === undefined ? {} : { strip: options.strip }),
      ...regionOf(kernel, ports),
    },
  });
}
