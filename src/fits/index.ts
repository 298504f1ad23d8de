/** FITS: header model, reader and writer. */
export * from './header.js';
export * from './inspect.js';
export * from './limits.js';
export * from './reader.js';
export type { Column, ColumnFormat, FitsTable } from './table.js';
export { columnFormats } from './table.js';
export type { TileLayout } from './tiles.js';
export type { PixelType } from './types.js';
export * from './writer.js';
