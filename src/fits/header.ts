/**
 * The header model: ordered cards with typed values. Parsed cards keep their 80-byte text, so that a header which nobody
 * changed is written back byte for byte; new cards follow FITS 4.0, section 4.2, in fixed format.
 */

import { UsageError } from '../core/errors.js';
import type { ScannedHeader } from './native.js';

export interface Complex {
  readonly re: number;
  readonly im: number;
}

/** Integers beyond 2^53 are bigint; a keyword without a value has null. */
export type HeaderValue = string | number | bigint | boolean | Complex | null;

export type CardType = 'commentary' | 'undefined' | 'logical' | 'integer' | 'real' | 'complex' | 'string' | 'invalid';

export interface Card {
  readonly keyword: string;
  readonly type: CardType;
  /** Commentary cards (COMMENT, HISTORY, blank) have their text in `comment` and no value. */
  readonly value: HeaderValue;
  readonly comment: string;
  /** The records as they stood in the file: one, and one more for each CONTINUE. */
  readonly raw?: readonly string[];
}

export const CARD_BYTES = 80;
export const BLOCK_BYTES = 2880;

/** native/codec/header.h: CardKind and the flags. */
const KIND = {
  commentary: 1,
  undefined: 2,
  logical: 3,
  integer: 4,
  real: 5,
  complex: 6,
  string: 7,
  continue: 8,
} as const;
const FLAG_NON_ASCII = 1;
const FLAG_UNCLOSED = 2;
const FLAG_HIERARCH = 4;

const decoder = new TextDecoder('latin1');

export class Header {
  readonly #cards: Card[] = [];
  /** First position of each keyword. */
  readonly #index = new Map<string, number>();
  /** What was tolerated on reading. */
  readonly warnings: string[] = [];

  get cards(): readonly Card[] {
    return this.#cards;
  }

  /** Builds the model from what `codec.scanHeader` found in `bytes`, which begin with the header's first card. */
  static fromScan(bytes: Uint8Array, scan: ScannedHeader): Header {
    const header = new Header();
    const n = scan.spans.length / 8;
    const text = decoder.decode(bytes.subarray(0, n * CARD_BYTES));
    const seen = new Map<string, number>();
    for (let i = 0; i < n; i++) {
      const [kind, flags, keyBegin, keyEnd, valueBegin, valueEnd, commentBegin, commentEnd] = scan.spans.subarray(
        8 * i,
        8 * i + 8,
      ) as unknown as [number, number, number, number, number, number, number, number];
      const record = text.slice(CARD_BYTES * i, CARD_BYTES * (i + 1));
      const keyword = record.slice(keyBegin, keyEnd);
      if (flags & FLAG_NON_ASCII) header.warnings.push(`card ${i + 1} (${keyword}) has bytes outside ASCII`);
      if (flags & FLAG_UNCLOSED) header.warnings.push(`card ${i + 1} (${keyword}) has a string without its end`);
      const comment = record.slice(commentBegin, commentEnd);
      const raw = [record];
      const number = scan.numbers[2 * i]!;
      const source = record.slice(valueBegin, valueEnd);
      let card: Card;
      switch (kind) {
        case KIND.logical:
          card = { keyword, type: 'logical', value: number === 1, comment, raw };
          break;
        case KIND.integer: {
          const value = Number.isSafeInteger(number) ? number : BigInt(source.replace(/^\+/, ''));
          card = { keyword, type: 'integer', value, comment, raw };
          break;
        }
        case KIND.real:
          card = { keyword, type: 'real', value: number, comment, raw };
          break;
        case KIND.complex:
          card = { keyword, type: 'complex', value: { re: number, im: scan.numbers[2 * i + 1]! }, comment, raw };
          break;
        case KIND.string:
          card = { keyword, type: 'string', value: source.replaceAll("''", "'"), comment, raw };
          break;
        case KIND.continue: {
          const last = header.#cards.at(-1);
          if (last?.type === 'string' && typeof last.value === 'string' && last.value.endsWith('&')) {
            header.#cards[header.#cards.length - 1] = {
              ...last,
              value: last.value.slice(0, -1) + source.replaceAll("''", "'"),
              comment: [last.comment, comment].filter((part) => part !== '').join(' '),
              raw: [...last.raw!, record],
            };
            continue;
          }
          header.warnings.push(`card ${i + 1} is a CONTINUE that continues nothing`);
          card = { keyword: 'CONTINUE', type: 'commentary', value: null, comment: record.slice(8).trimEnd(), raw };
          break;
        }
        case KIND.undefined:
          card = { keyword, type: 'undefined', value: null, comment, raw };
          break;
        case KIND.commentary:
          card = { keyword, type: 'commentary', value: null, comment, raw };
          break;
        default:
          header.warnings.push(`card ${i + 1} (${keyword}) has the value ${source}, which is no FITS value`);
          card = { keyword, type: 'invalid', value: source, comment, raw };
      }
      if (card.type !== 'commentary' && !(flags & FLAG_HIERARCH)) {
        const first = seen.get(keyword);
        if (first !== undefined) header.warnings.push(`card ${i + 1} (${keyword}) repeats card ${first + 1}`);
        else seen.set(keyword, i);
        // FITS standard 4.0, section 4.1.2.1
        if (/[^A-Z0-9_-]/.test(keyword)) {
          header.warnings.push(`card ${i + 1} (${keyword}) has characters that no keyword may have`);
        }
      }
      header.#append(card);
    }
    return header;
  }

  /** A deep copy that shares nothing. */
  clone(): Header {
    const copy = new Header();
    for (const card of this.#cards) copy.#append(card);
    return copy;
  }

  has(keyword: string): boolean {
    return this.#index.has(keyword);
  }

  card(keyword: string): Card | undefined {
    const at = this.#index.get(keyword);
    return at === undefined ? undefined : this.#cards[at];
  }

  /** The value of the first card of that name; undefined when there is none, null when it has no value. */
  get(keyword: string): HeaderValue | undefined {
    return this.card(keyword)?.value;
  }

  /** A number (or a bigint as the nearest number), or the fallback when there is none or it is of another type. */
  number<T extends number | undefined>(keyword: string, fallback: T): number | T {
    const card = this.card(keyword);
    if (card?.type !== 'integer' && card?.type !== 'real') return fallback;
    return Number(card.value);
  }

  /** An integer of up to 64 bits, exactly. */
  integer(keyword: string): bigint | undefined {
    const card = this.card(keyword);
    return card?.type === 'integer' ? BigInt(card.value as number | bigint) : undefined;
  }

  string<T extends string | undefined>(keyword: string, fallback: T): string | T {
    const value = this.get(keyword);
    return typeof value === 'string' ? value : fallback;
  }

  logical<T extends boolean | undefined>(keyword: string, fallback: T): boolean | T {
    const value = this.get(keyword);
    return typeof value === 'boolean' ? value : fallback;
  }

  /** All texts of COMMENT, HISTORY or blank cards. */
  commentary(keyword: 'COMMENT' | 'HISTORY' | ''): string[] {
    return this.#cards.filter((c) => c.keyword === keyword && c.type === 'commentary').map((c) => c.comment);
  }

  /**
   * Texts of COMMENT or HISTORY that were longer than a card, whole again: a card of 72 characters goes on in the next one. A blank at
   * the end of a card is lost in the file.
   */
  sentences(keyword: 'COMMENT' | 'HISTORY'): string[] {
    const said: string[] = [];
    let open = false;
    for (const text of this.commentary(keyword)) {
      if (open) said.push(`${said.pop()}${text}`);
      else said.push(text);
      open = text.length >= CARD_BYTES - 9;
      if (text.length === CARD_BYTES - 9) said.push(`${said.pop()} `);
    }
    return said.map((text) => text.trim()).filter((text) => text !== '');
  }

  /**
   * Sets a value: in place when the keyword is there (its comment stays unless given), else at the end. `real` writes a
   * whole number with its decimal point.
   * @throws UsageError for values that no card can hold: NaN, infinities, text outside ASCII.
   */
  set(keyword: string, value: HeaderValue, comment?: string, options: { real?: boolean } = {}): this {
    const at = this.#index.get(keyword);
    const card: Card = {
      keyword,
      type: typeOf(value, options.real ?? false),
      value,
      comment: comment ?? (at === undefined ? '' : this.#cards[at]!.comment),
    };
    formatCard(card); // refuses now what could not be written later
    if (at === undefined) this.#append(card);
    else this.#cards[at] = card;
    return this;
  }

  /** Appends COMMENT, HISTORY or blank cards, as many as the text needs. */
  addCommentary(keyword: 'COMMENT' | 'HISTORY' | '', text: string): this {
    for (const line of text.split('\n')) {
      for (let i = 0; i === 0 || i < line.length; i += CARD_BYTES - 8) {
        const card: Card = { keyword, type: 'commentary', value: null, comment: line.slice(i, i + CARD_BYTES - 8) };
        formatCard(card);
        this.#append(card);
      }
    }
    return this;
  }

  /** Appends a card as it is, records included: for carrying cards of one header over to another. */
  append(card: Card): this {
    this.#append(card);
    return this;
  }

  /** Removes every card of that name. */
  delete(keyword: string): this {
    if (!this.#index.has(keyword)) return this;
    const kept = this.#cards.filter((card) => card.keyword !== keyword);
    this.#cards.length = 0;
    this.#index.clear();
    for (const card of kept) this.#append(card);
    return this;
  }

  /** The records of 80 characters, without END. */
  records(): string[] {
    return this.#cards.flatMap((card) => card.raw ?? formatCard(card));
  }

  /** The header as it stands in a file: records, END, blanks up to a multiple of 2880 bytes. */
  toBytes(): Uint8Array {
    const records = this.records();
    const used = (records.length + 1) * CARD_BYTES;
    const bytes = new Uint8Array(Math.ceil(used / BLOCK_BYTES) * BLOCK_BYTES).fill(0x20);
    let at = 0;
    for (const record of [...records, 'END'.padEnd(CARD_BYTES)]) {
      for (let i = 0; i < CARD_BYTES; i++) {
        const code = record.charCodeAt(i);
        bytes[at++] = code >= 0x20 && code <= 0x7e ? code : 0x3f; // bytes that no header may hold are read, not written
      }
    }
    return bytes;
  }

  #append(card: Card): void {
    if (!this.#index.has(card.keyword)) this.#index.set(card.keyword, this.#cards.length);
    this.#cards.push(card);
  }
}

function typeOf(value: HeaderValue, real: boolean): CardType {
  if (value === null) return 'undefined';
  switch (typeof value) {
    case 'boolean':
      return 'logical';
    case 'bigint':
      return 'integer';
    case 'string':
      return 'string';
    case 'number':
      return real || !Number.isSafeInteger(value) || Object.is(value, -0) ? 'real' : 'integer';
    default:
      return 'complex';
  }
}

/** The shortest decimal that reads back as the same double, with a decimal point as FITS reals should have. */
export function formatReal(value: number): string {
  if (!Number.isFinite(value)) throw new UsageError(`a header cannot hold the value ${value}`);
  const text = Object.is(value, -0) ? '-0' : String(value).toUpperCase();
  const [mantissa, exponent] = text.split('E') as [string, string | undefined];
  const point = mantissa.includes('.') ? mantissa : `${mantissa}.0`;
  return exponent === undefined ? point : `${point}E${exponent}`;
}

function formatNumber(card: Card): string {
  const { type, value } = card;
  if (type === 'logical') return value ? 'T' : 'F';
  if (type === 'integer') return String(value);
  if (type === 'real') return formatReal(value as number);
  if (type === 'complex') return `(${formatReal((value as Complex).re)}, ${formatReal((value as Complex).im)})`;
  if (type === 'invalid') return String(value);
  return '';
}

/** The records of one card. */
export function formatCard(card: Card): string[] {
  const { keyword, type, comment } = card;
  for (const text of [keyword, comment, typeof card.value === 'string' ? card.value : '']) {
    if (/[^\x20-\x7e]/.test(text)) throw new UsageError(`the card ${keyword} has text outside ASCII`);
  }
  if (type === 'commentary') {
    const record = `${keyword.padEnd(8)}${comment}`;
    if (keyword.length > 8 || record.length > CARD_BYTES) throw new UsageError(`the ${keyword} card is too long`);
    return [record.padEnd(CARD_BYTES)];
  }
  const standard = /^[A-Z0-9_-]{1,8}$/.test(keyword);
  if (!standard && (keyword === '' || keyword.includes('=') || keyword.trim() !== keyword)) {
    throw new UsageError(`"${keyword}" is no keyword`);
  }
  const head = standard ? `${keyword.padEnd(8)}= ` : `HIERARCH ${keyword} = `;
  if (type === 'string') return formatString(keyword, head, card.value as string, comment, standard);
  const value = formatNumber(card);
  const fixed = standard ? value.padStart(20) : value;
  if (head.length + fixed.length > CARD_BYTES) throw new UsageError(`the card ${keyword} is too long`);
  return [withComment(head + fixed, comment)];
}

/** Comments are cut where the record ends; values never are. */
function withComment(record: string, comment: string): string {
  const full = comment === '' ? record : `${record} / ${comment}`;
  return full.slice(0, CARD_BYTES).trimEnd().padEnd(CARD_BYTES);
}

function formatString(keyword: string, head: string, value: string, comment: string, standard: boolean): string[] {
  const quoted = value.replaceAll("'", "''");
  if (head.length + quoted.length + 2 <= CARD_BYTES) {
    const text = `${head}'${standard ? quoted.padEnd(8) : quoted}'`;
    return [withComment(standard ? text.padEnd(30) : text, comment)];
  }
  if (!standard) throw new UsageError(`the HIERARCH card ${keyword} is too long`);
  // The long-string convention (FITS 4.0, section 4.2.1.2): every part but the last ends in an ampersand.
  const room = CARD_BYTES - 10 - 3;
  const parts: string[] = [];
  for (let at = 0; at < quoted.length; ) {
    let end = Math.min(at + room, quoted.length);
    // A doubled quote must not be torn apart: count the quotes before the cut.
    if (end < quoted.length && (quoted.slice(at, end).match(/'+$/)?.[0].length ?? 0) % 2 === 1) end--;
    parts.push(quoted.slice(at, end));
    at = end;
  }
  return parts.map((part, i) => {
    const last = i === parts.length - 1;
    const text = `${i === 0 ? head : 'CONTINUE  '}'${part}${last ? '' : '&'}'`;
    return last ? withComment(text, comment) : text.padEnd(CARD_BYTES);
  });
}
