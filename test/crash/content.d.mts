import type { ProductRecord } from '../../src/store/index.js';

export function contentOf(name: string, generation: number): Buffer;
export function generationOf(bytes: Uint8Array): number | undefined;
export function chunksOf(bytes: Uint8Array): Uint8Array[];
export function recordOf(generation: number | undefined): ProductRecord;
