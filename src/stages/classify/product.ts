/** The product of the classifier: what it holds, how it is read again, and whether it is sane. */
import { InputError } from '../../core/errors.js';
import { EXPOSURE_KINDS, type ExposureKind } from '../../core/exposure.js';
import type { CardInput, FitsFile, HduInput } from '../../fits/index.js';
import type { StageResult } from '../stage.js';
import { type ChipFeatures, FEATURES } from './features.js';
import { LIGHTS, type Light } from './rules.js';
import type { Judgement, Verdict } from './verdict.js';

/** Black between the chips of a thumbnail [px]. */
export const THUMB_GAP = 2;

/** The chips side by side, block-averaged. */
export interface Thumb {
  readonly rows: number;
  readonly cols: number;
  /** [row][x], DN/read; NaN: no pixel had a value, or between chips. */
  readonly data: Float32Array;
  /** Pixels of the image in one of the thumbnail, along each side. */
  readonly size: number;
}

/** What a class product says, as `outliers` and the page take it. */
export interface ClassRecord {
  readonly tele: string;
  readonly mjd: number;
  readonly exposure: number;
  readonly verdict: Verdict;
  readonly reason: string;
  /** Kind of light found, and what the header claims. */
  readonly found: Light;
  readonly claim: ExposureKind;
  readonly confidence: number;
  /** Reads that the rates were made of. */
  readonly reads: number;
  readonly chips: readonly ChipFeatures[];
}

/** Cards and HDUs of the product; the runner adds identity, stage and kernels. */
export function classProduct(
  { verdict, reason, found, confidence }: Judgement,
  claim: ExposureKind,
  chips: readonly ChipFeatures[],
  thumb: Thumb,
  reads: number,
): Pick<StageResult, 'cards' | 'hdus'> {
  const table = chips.flatMap(({ chip, values, slit }) => [
    ...FEATURES.map((name) => ({ chip, name: name as string, value: values[name] })),
    ...slit.map((value, i) => ({ chip, name: `slit${i + 1}`, value })),
  ]);
  const cards: CardInput[] = [
    ['VERDICT', verdict, 'ok, suspect or drop'],
    ['REASON', reason, ''],
    ['KIND', found, 'light that was found; dark: none'],
    ['HEADKIND', claim, 'what the header claims'],
    ['CONFID', Number(confidence.toFixed(4)), 'probability of the light found'],
    ['NREAD', reads, 'reads that the rates were made of; the fewest of the chips'],
    ['CHIPS', chips.map(({ chip }) => chip).join(' '), 'chips that were looked at'],
  ];
  const hdus: HduInput[] = [
    {
      kind: 'table',
      name: 'FEATURES',
      columns: [
        { name: 'CHIP', values: table.map(({ chip }) => chip) },
        { name: 'NAME', values: table.map(({ name }) => name) },
        { name: 'VALUE', values: Float64Array.from(table, ({ value }) => value) },
      ],
      header: [['COMMENT', 'Levels in DN/read. slit1, slit2, ...: mean light along the slit.']],
    },
    {
      name: 'THUMB',
      data: thumb.data,
      shape: [thumb.rows, thumb.cols],
      header: [
        ['BUNIT', 'DN/read', 'unit of the pixels'],
        ['BLOCK', thumb.size, 'pixels of the chip along a side of one of these'],
        ['GAP', THUMB_GAP, 'columns between chips'],
      ],
    },
  ];
  return { cards, hdus };
}

/** Words of a primary header that must be one of a few. */
function word<T extends string>(file: FitsFile, keyword: string, among: readonly T[]): T {
  const received = file.hdu(0).header.string(keyword, '').trim();
  const found = among.find((one) => one === received);
  if (found !== undefined) return found;
  throw new InputError(`expected ${keyword} to be one of ${among.join(', ')}, received '${received}'`, {
    file: file.path,
    hdu: 0,
  });
}

/** @throws InputError for a file that is none of the classifier's */
export function readClass(file: FitsFile): ClassRecord {
  const { header } = file.hdu(0);
  const table = file.readTable('FEATURES');
  const [chip, name, value] = ['CHIP', 'NAME', 'VALUE'].map((column) => table.column(column).values);
  const byChip = new Map<string, Map<string, number>>();
  for (let i = 0; i < table.rows; i++) {
    const key = String(chip?.[i]);
    const values = byChip.get(key) ?? new Map<string, number>();
    byChip.set(key, values.set(String(name?.[i]), Number(value?.[i])));
  }
  const chips = [...byChip].map(([key, found]): ChipFeatures => {
    const of = (feature: string): number => {
      const number = found.get(feature);
      if (number !== undefined) return number;
      throw new InputError(`expected the feature ${feature} of chip ${key} in FEATURES`, { file: file.path });
    };
    const values = Object.fromEntries(FEATURES.map((feature) => [feature, of(feature)])) as ChipFeatures['values'];
    const slit: number[] = [];
    while (found.has(`slit${slit.length + 1}`)) slit.push(of(`slit${slit.length + 1}`));
    return { chip: key, values, slit };
  });
  return {
    tele: header.string('TELE', '').trim(),
    mjd: header.number('MJD', Number.NaN),
    exposure: header.number('EXPOSURE', Number.NaN),
    verdict: word(file, 'VERDICT', ['ok', 'suspect', 'drop']),
    reason: header.string('REASON', ''),
    found: word(file, 'KIND', LIGHTS),
    claim: word(file, 'HEADKIND', EXPOSURE_KINDS),
    confidence: header.number('CONFID', Number.NaN),
    reads: header.number('NREAD', Number.NaN),
    chips,
  };
}

/** What is wrong with a finished product; empty: nothing. */
export function saneClass(file: FitsFile): readonly string[] {
  try {
    const { chips, confidence, reason } = readClass(file);
    const findings: string[] = [];
    if (chips.length === 0) findings.push('expected features of a chip at least, there are none');
    if (!(confidence >= 0 && confidence <= 1)) findings.push(`expected CONFID in [0, 1], received ${confidence}`);
    if (reason === '') findings.push('expected a REASON, it is empty');
    for (const { chip, values } of chips) {
      if (values.bad >= 1) findings.push(`chip ${chip} has no good pixel`);
    }
    return findings;
  } catch (error) {
    if (error instanceof InputError) return [error.message];
    throw error;
  }
}
