/** The chain of the ramp stage: chain.json (the order, as data) with a user's choices and an exposure's arrays put in. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../core/addon.js';
import { BugError, UsageError } from '../../core/errors.js';
import {
  type BoundArray,
  type Chain,
  type ChainArray,
  type ChainStep,
  type DType,
  kernelNamed,
} from '../../engine/index.js';
import type { ExtensionPoint } from './extension.js';
import type { RampOptions } from './options.js';

interface StepDescription {
  readonly kernel: string;
  readonly optional?: boolean;
  readonly default?: boolean;
  /** Only with this choice of an option, for example {"jumps": "iqr"}. */
  readonly when?: Readonly<Record<string, string>>;
  readonly ports: Readonly<Record<string, string>>;
}

interface ChainDescription {
  readonly name: string;
  readonly doc: string;
  readonly arrays: Readonly<
    Record<string, { readonly source?: true; readonly block?: DType; readonly planes?: string }>
  >;
  readonly steps: readonly StepDescription[];
}

let description: ChainDescription | undefined;

/** chain.json of this stage. */
export function rampChainDescription(): ChainDescription {
  description ??= JSON.parse(
    readFileSync(join(packageRoot(), 'src', 'stages', 'ramp', 'chain.json'), 'utf8'),
  ) as ChainDescription;
  return description;
}

/** What the choices of this file depend on besides the options. */
export interface ChainFacts {
  /** Ramp fit, or correlated double sampling for exposures of a few reads. */
  readonly method: 'fit' | 'dcs';
  /** Names of arrays that are bound; an optional step whose arrays are missing is left out. */
  readonly bound: ReadonlySet<string>;
  /** Where an extension takes over; default `rates`: all steps run. */
  readonly until?: ExtensionPoint;
}

/** The first kernel that does not run when an extension takes over there. */
const TAKEN_OVER: Readonly<Record<ExtensionPoint, string | undefined>> = {
  reads: 'measure-zero-point',
  counts: 'difference',
  differences: 'estimate-rate',
  rates: undefined,
};

/**
 * The steps that run, in order.
 * @throws UsageError for a kernel to be switched off that the chain does not have or cannot do without
 */
export function rampSteps(options: RampOptions, facts: ChainFacts): StepDescription[] {
  const { steps, arrays } = rampChainDescription();
  for (const name of [...options.off, ...Object.keys(options.params)]) {
    if (!steps.some((step) => step.kernel === name)) {
      const known = steps.map((step) => step.kernel).join(', ');
      throw new UsageError(`the ramp chain has no kernel "${name}"; it has ${known}`);
    }
  }
  for (const name of options.off) {
    if (!steps.some((step) => step.kernel === name && step.optional)) {
      throw new UsageError(`kernel ${name} cannot be switched off: the chain needs what it computes`);
    }
  }
  // What is not subtracted need not be measured.
  const off = options.off.includes('subtract-one-over-f') ? [...options.off, 'measure-one-over-f'] : options.off;
  const choices: Record<string, unknown> = { ...options, method: facts.method };
  const end = steps.findIndex(({ kernel }) => kernel === TAKEN_OVER[facts.until ?? 'rates']);
  return steps.slice(0, end < 0 ? undefined : end).filter((step) => {
    if (off.includes(step.kernel)) return false;
    const wanted = Object.entries(step.when ?? {}).every(([name, value]) => String(choices[name]) === value);
    if (!wanted) return false;
    const ports = kernelNamed(step.kernel).ports;
    const missing = Object.entries(step.ports).filter(
      ([port, name]) => !(name in arrays) && !facts.bound.has(name) && !ports.find((p) => p.name === port)?.optional,
    );
    if (missing.length === 0) return true;
    if (step.optional) return false;
    throw new BugError(`array ${missing[0]?.[1]} is not bound`, { kernel: step.kernel });
  });
}

/** Ports that a kernel writes to. */
function outputsOf(kernel: string): string[] {
  return kernelNamed(kernel).ports.flatMap(({ name, direction }) => (direction === 'in' ? [] : [name]));
}

/** Whether a step of the chain writes to this array. */
export function writes(chain: Chain, array: string): boolean {
  return chain.steps.some(({ kernel, ports }) => outputsOf(kernel).some((port) => ports[port] === array));
}

/** Working planes in terms of the reads: "reads", "reads-1" or a number. */
function planesOf(text: string | undefined, reads: number): number {
  if (text === 'reads') return reads;
  if (text === 'reads-1') return reads - 1;
  return Number(text ?? 1);
}

/**
 * The chain for one exposure.
 * @param bound maps, tables and outputs by the names that chain.json uses
 * @param extra parameters that follow from the exposure, by kernel; the user's go over them
 */
export function rampChain(
  options: RampOptions,
  region: {
    readonly method: ChainFacts['method'];
    readonly reads: number;
    readonly firstRead: number;
    readonly rows: number;
    readonly cols: number;
  },
  source: Chain['source'],
  bound: Readonly<Record<string, BoundArray>>,
  extra: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {},
  extension?: { readonly at: ExtensionPoint; readonly steps: readonly ChainStep[] },
): Chain {
  const own = rampSteps(options, {
    method: region.method,
    bound: new Set(Object.keys(bound)),
    ...(extension && { until: extension.at }),
  });
  const steps: readonly Pick<ChainStep, 'kernel' | 'ports' | 'params'>[] = [...own, ...(extension?.steps ?? [])];
  const arrays: Record<string, ChainArray> = {};
  for (const [name, array] of Object.entries(rampChainDescription().arrays)) {
    arrays[name] = array.source
      ? { source: true }
      : { block: array.block ?? 'f32', planes: planesOf(array.planes, region.reads) };
  }
  const used = new Set(steps.flatMap((step) => Object.values(step.ports)));
  const written = new Set(steps.flatMap(({ kernel, ports }) => outputsOf(kernel).map((port) => ports[port])));
  for (const [name, array] of Object.entries(bound)) if (used.has(name)) arrays[name] = array;
  // Working memory that no step fills would be read as it is: the port that reads it stays open.
  for (const [name, array] of Object.entries(arrays)) {
    if (!used.has(name) || ('block' in array && !written.has(name))) delete arrays[name];
  }
  return {
    arrays,
    source,
    steps: steps.map((step): ChainStep => {
      const ports = Object.fromEntries(Object.entries(step.ports).filter(([, name]) => name in arrays));
      const params = { ...step.params, ...extra[step.kernel], ...options.params[step.kernel] };
      return { kernel: step.kernel, ports, params };
    }),
    options: {
      threads: options.threads,
      keepCube: !options.lowMemory,
      fuse: options.fuse,
      firstRead: region.firstRead,
      reads: region.reads,
      rows: region.rows,
      cols: region.cols,
    },
  };
}
