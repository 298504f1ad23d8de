/** Loads the native addon, and says how to mend it when it cannot be loaded. The only place that knows where it lies. */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { arch, platform } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BugError, type NativeStatus } from './errors.js';

/** What native/binding/chain.cc takes; src/engine builds it. */
export interface NativeChainSpec {
  readonly arrays: readonly object[];
  readonly steps: readonly object[];
  readonly source?: object | undefined;
  readonly options: object;
  readonly control?: Int32Array | undefined;
}

export interface NativeChainReport {
  readonly status: NativeStatus;
  readonly failedStep: number;
  readonly timings: readonly { readonly name: string; readonly seconds: number }[];
  readonly cubeBytes: number;
  readonly blockBytes: number;
  /** Checksums of the stored images; empty where the source cannot tell. */
  readonly dataSums: readonly number[];
}

/** The functions of rampline.node that every room shares; rooms that need more narrow it with an interface of their own. */
export interface NativeAddon {
  targets(): { readonly available: readonly string[]; readonly current: string };
  limitTarget(name: string): boolean;
  runChain(spec: NativeChainSpec): Promise<NativeChainReport>;
  planChain(spec: NativeChainSpec): {
    readonly status: NativeStatus;
    readonly loops: readonly (readonly number[])[];
    readonly needsFirstPass: boolean;
    /** Where native code has each of the spec's arrays; 0 for those that are not memory of JavaScript. */
    readonly addresses: readonly bigint[];
  };
  addressOf(array: ArrayBufferView): bigint | null;
  adviseHuge(array: ArrayBufferView): void;
}

/** The folder of package.json: two levels up from src/core, three from build/js/core. */
export function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  for (let i = 0; i < 5; i++) {
    const file = join(folder, 'package.json');
    if (existsSync(file) && JSON.parse(readFileSync(file, 'utf8')).name === 'rampline') return folder;
    folder = dirname(folder);
  }
  throw new BugError('cannot find the package.json of rampline above the running code');
}

/** Where the build puts the addon. */
export function addonPath(): string {
  return join(packageRoot(), 'build', 'addon', 'Release', 'rampline.node');
}

/** Says what was found, what was needed, and the command that mends it. */
export function explainLoadFailure(path: string, cause: unknown): string {
  const reason = cause instanceof Error ? cause.message : String(cause);
  const found = existsSync(path) ? `${path}, ${statSync(path).size} bytes, but: ${reason}` : `no file ${path}`;
  const library = /(lib[a-z0-9_-]+\.so[.0-9]*): cannot open/.exec(reason)?.[1];
  const packages: Record<string, string> = { libhwy: 'libhwy1', libdeflate: 'libdeflate0' };
  const debian = library === undefined ? undefined : packages[library.split('.')[0] ?? ''];
  const mend =
    platform() !== 'linux'
      ? 'the engine runs on Linux only'
      : debian !== undefined
        ? `apt-get install ${debian}`
        : 'npm run build   (in the folder of package.json; "npm test" or "npm run demo" set up everything it needs)';
  return [
    'the native addon cannot be loaded',
    `  found:  ${found}`,
    `  needed: linux-${arch()} with Node-API 8 or later (Node 20 or later; this is Node ${process.version}, Node-API ${process.versions.napi}), libhwy1, libdeflate0`,
    `  mend:   ${mend}`,
  ].join('\n');
}

let loaded: NativeAddon | undefined;

/**
 * The addon, loaded once for each thread.
 * @throws BugError with what was found, what was needed and the command that mends it.
 */
export function addon(): NativeAddon {
  if (loaded === undefined) {
    const path = addonPath();
    try {
      loaded = createRequire(import.meta.url)(path) as NativeAddon;
    } catch (cause) {
      throw new BugError(explainLoadFailure(path, cause), { cause });
    }
  }
  return loaded;
}
