/** Questions to an almanac's tables: `kind=dark`, `reads>=30`, `comment~cloud`. */
import { UsageError } from '../core/errors.js';
import { EXPOSURE_KINDS } from '../core/exposure.js';
import { didYouMean } from '../core/suggest.js';
import { almanacTables } from './product.js';
import type { Almanac } from './types.js';

export type Cell = string | number | boolean;

export interface TableRows {
  readonly columns: readonly string[];
  /** Columns of numbers. */
  readonly numeric: readonly string[];
  readonly rows: readonly (readonly Cell[])[];
}

/** A question: what the column must be to the value. '~' asks whether a text contains another, case ignored. */
export interface Where {
  readonly column: string;
  readonly operator: '=' | '!=' | '>=' | '<=' | '>' | '<' | '~';
  readonly value: string;
}

/**
 * Takes `NAME OPERATOR VALUE` apart.
 * @throws UsageError
 */
export function parseWhere(text: string): Where {
  const match = /^\s*([A-Za-z_]+)\s*(!=|>=|<=|=|>|<|~)\s*(.*?)\s*$/s.exec(text);
  if (match === null) {
    throw new UsageError(`expected a question such as kind=dark, reads>=30 or comment~cloud, received "${text}"`);
  }
  const [, column, operator, value] = match as unknown as [string, string, Where['operator'], string];
  return { column: column.toLowerCase(), operator, value };
}

const TABLES = ['exposures', 'files', 'sequences', 'findings', 'fibermap', 'datamodel'] as const;

/**
 * A table of the almanac with lower-case names of columns. Those of fibre maps come as one, with the key in front.
 * @throws UsageError with the nearest name for a table that there is not
 */
export function tableOf(almanac: Almanac, name: string): TableRows {
  const wanted = name.toLowerCase();
  if (!TABLES.some((table) => table === wanted)) {
    throw new UsageError(`no table "${name}"${didYouMean(wanted, TABLES) || `; there are ${TABLES.join(', ')}`}`);
  }
  const found = almanacTables(almanac).filter((table) => table.name.toLowerCase() === wanted);
  const maps = wanted === 'fibermap';
  const inputs = found[0]?.columns ?? [];
  const rows = found.flatMap(({ columns }, i) =>
    Array.from({ length: columns[0]?.values.length ?? 0 }, (_, row): Cell[] => [
      ...(maps ? [almanac.fibreMaps[i]!.key] : []),
      ...columns.map(({ values }): Cell => {
        const value = values[row];
        return typeof value === 'bigint' ? Number(value) : (value as Cell);
      }),
    ]),
  );
  const names = inputs.map((column) => column.name.toLowerCase());
  return {
    columns: [...(maps ? ['key'] : []), ...names],
    numeric: inputs.filter(({ values }) => ArrayBuffer.isView(values)).map((column) => column.name.toLowerCase()),
    rows,
  };
}

/**
 * The rows for which all questions are answered yes. Numbers are compared as numbers; true, false, yes and no ask logicals.
 * A number that is not known (NaN) answers no question but '!='.
 * @throws UsageError with the nearest name for a column that there is not, or a value that does not fit it
 */
export function select(table: TableRows, questions: readonly Where[]): TableRows {
  const tests = questions.map(({ column, operator, value }) => {
    const at = table.columns.indexOf(column);
    if (at < 0) {
      const near = didYouMean(column, table.columns) || `; there are ${table.columns.join(', ')}`;
      throw new UsageError(`no column "${column}"${near}`);
    }
    const isNumber = table.numeric.includes(column);
    const number = value === '' ? Number.NaN : Number(value);
    if (isNumber && (Number.isNaN(number) || operator === '~')) {
      throw new UsageError(
        `${column} holds numbers: expected =, !=, <, <=, > or >= and a number, received "${operator}${value}"`,
      );
    }
    const isKind = column === 'kind' && (operator === '=' || operator === '!=');
    if (isKind && !EXPOSURE_KINDS.some((kind) => kind === value)) {
      const near = didYouMean(value, EXPOSURE_KINDS) || `; there are ${EXPOSURE_KINDS.join(', ')}`;
      throw new UsageError(`no kind "${value}"${near}`);
    }
    return (row: readonly Cell[]): boolean => {
      const cell = row[at]!;
      if (typeof cell === 'number') return compare(operator, cell, number);
      if (typeof cell === 'boolean') return compare(operator, cell ? 'yes' : 'no', logicalWord(value));
      if (operator === '~') return cell.toLowerCase().includes(value.toLowerCase());
      return compare(operator, cell, value);
    };
  });
  return { ...table, rows: table.rows.filter((row) => tests.every((test) => test(row))) };
}

const logicalWord = (value: string): string =>
  /^(?:t|true|yes|1)$/i.test(value) ? 'yes' : /^(?:f|false|no|0)$/i.test(value) ? 'no' : value;

function compare<T extends number | string>(operator: Where['operator'], a: T, b: T): boolean {
  switch (operator) {
    case '=':
      return a === b;
    case '!=':
      return a !== b;
    case '>=':
      return a >= b;
    case '<=':
      return a <= b;
    case '>':
      return a > b;
    case '<':
      return a < b;
    case '~':
      return false;
  }
}

/** Comma-separated values (RFC 4180): a line of names, then the rows. Unknown numbers are empty. */
export function csvText({ columns, rows }: TableRows): string {
  const cell = (value: Cell): string => {
    if (typeof value === 'number') return Number.isNaN(value) ? '' : String(value);
    const text = String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return `${[columns, ...rows.map((row) => row.map(cell))].map((row) => row.join(',')).join('\n')}\n`;
}
