/** What a user may choose about the step from reads to rates. */
import { UsageError } from '../../core/errors.js';

export const JUMP_METHODS = ['likelihood', 'iqr', 'none'] as const;
export const RESET_METHODS = ['drop', 'exponential', 'first-read'] as const;
export const UNITS = ['dn-per-read', 'electron-per-second'] as const;

export interface RampOptions {
  /** Reads dropped at the start (reset anomaly). Ignored, and 0, where the anomaly is corrected instead. */
  readonly dropReads: number;
  /** `drop` the first reads, or correct them with the calibration's per-pixel exponential or first-read offset. */
  readonly reset: (typeof RESET_METHODS)[number];
  /** Brandt (2024) chi-square tests, upstream's 20-IQR clip, or none. */
  readonly jumps: (typeof JUMP_METHODS)[number];
  /** Also test pairs of neighbouring differences; needed only where reads are averages. */
  readonly twoOmit: boolean;
  readonly unit: (typeof UNITS)[number];
  /** Decode twice and keep no cube: half the memory, 1.4 times the time. */
  readonly lowMemory: boolean;
  /** Native threads for one exposure. */
  readonly threads: number;
  /** Kernels of the chain that are left out. */
  readonly off: readonly string[];
  /** Kernel parameters by kernel name, over the kernel's defaults. */
  readonly params: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** false: kernel by kernel instead of compiled runs; the same bytes, for tests and benches. */
  readonly fuse: boolean;
}

export const RAMP_DEFAULTS: RampOptions = {
  dropReads: 2,
  reset: 'drop',
  jumps: 'likelihood',
  twoOmit: false,
  unit: 'dn-per-read',
  lowMemory: false,
  threads: 1,
  off: [],
  params: {},
  fuse: true,
};

/**
 * Defaults filled in, everything checked.
 * @throws UsageError naming the option, what was expected and what was received
 */
export function rampOptions(given: Partial<RampOptions> = {}): RampOptions {
  const options = { ...RAMP_DEFAULTS, ...Object.fromEntries(Object.entries(given).filter(([, v]) => v !== undefined)) };
  const oneOf = (name: keyof RampOptions, choices: readonly string[]) => {
    if (!choices.includes(String(options[name]))) {
      throw new UsageError(`expected ${name} to be one of ${choices.join(', ')}, received ${String(options[name])}`);
    }
  };
  oneOf('jumps', JUMP_METHODS);
  oneOf('reset', RESET_METHODS);
  oneOf('unit', UNITS);
  const whole = (name: 'dropReads' | 'threads', min: number, max: number) => {
    const value = options[name];
    if (!Number.isInteger(value) || value < min || value > max) {
      throw new UsageError(`expected ${name} to be a whole number in [${min}, ${max}], received ${value}`);
    }
  };
  whole('dropReads', 0, 10_000);
  whole('threads', 1, 1024);
  return options;
}
