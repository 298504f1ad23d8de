/** From exposures and stages to jobs and what they need: a pure function, before anything is known of what is made. */
import { BugError } from '../core/errors.js';
import type { Drop, Exposure, RawFrame } from '../core/exposure.js';
import type { JobIdentity, StageInput } from '../stages/stage.js';
import type { Job, Need, RawNeed } from './job.js';
import type { NightStage } from './stages.js';

/** The slice of jobs that join chips. */
export const JOIN = 'join';

/** A job before its state is known. */
export interface Draft extends Pick<Job, 'id' | 'identity' | 'slice' | 'exposures' | 'raw' | 'needs' | 'least'> {
  readonly stage: NightStage;
  /** Why there is nothing to do it with. */
  readonly drop?: string | undefined;
}

/** Digits of an exposure's number in names and ids. */
const EXPOSURE_DIGITS = 4;

/** Number of an exposure as names and ids have it: 0012. */
export const exposureText = (exposure: number): string => String(exposure).padStart(EXPOSURE_DIGITS, '0');

/** `TELE-MJD[-CHIP][-EXPOSURE]` */
function identityText({ tele, mjd, chip, exposure }: JobIdentity): string {
  return [
    tele,
    mjd,
    ...(chip === undefined ? [] : [chip]),
    ...(exposure === undefined ? [] : [exposureText(exposure)]),
  ].join('-');
}

/** Id of a job: unique in a night. */
export function jobId(stage: string, identity: JobIdentity): string {
  return `${stage}-${identityText(identity)}`;
}

/** Name of a product relative to the output directory; those of builds follow from their content. */
export function productName(stage: NightStage, identity: JobIdentity): string {
  return `${identity.tele}/${identity.mjd}/${stage.prefix}-${identityText(identity)}.fits`;
}

const BY: Readonly<Record<Drop['by'], string>> = {
  user: 'on the list of bad exposures',
  rule: 'by rule',
  pipeline: 'as an earlier run found',
};

const dropText = ({ by, reason }: Drop): string => `it is left out, ${BY[by]}: ${reason}`;

/** What a job finds of an exposure's raw file: the frame, or why there is none. */
function frameOf({ drop, frames }: Exposure, chip: string): RawFrame | string {
  if (drop !== undefined) return dropText(drop);
  const frame = frames.find((one) => one.chip === chip);
  if (frame === undefined) return `there is no raw file of chip ${chip}`;
  return frame.drop === undefined ? frame : dropText(frame.drop);
}

/** A job before it is known what it needs. */
type Start = Pick<Draft, 'id' | 'stage' | 'identity' | 'slice' | 'exposures' | 'drop'>;

/** Telescope by telescope: first which jobs there are (`add`), then what they need of one another (`connected`). */
class Graph {
  readonly #starts = new Map<string, Start>();
  readonly #stages: ReadonlyMap<string, NightStage>;

  constructor(stages: readonly NightStage[]) {
    this.#stages = new Map(stages.map((stage) => [stage.name, stage]));
  }

  /** All jobs of a stage. */
  add(stage: NightStage, night: readonly Exposure[], chips: readonly string[]): void {
    const taken = night.filter((exposure) => exposure.kind !== 'missing' && stage.takes(exposure, night));
    const [first] = taken;
    if (first === undefined) return;
    const { tele, mjd } = first;
    const live = taken.filter(({ drop }) => drop === undefined);
    const job = (identity: JobIdentity, exposures: readonly Exposure[], drop?: string) => {
      const id = jobId(stage.name, identity);
      this.#starts.set(id, { id, stage, identity, slice: identity.chip ?? JOIN, exposures, drop });
    };
    switch (stage.scope) {
      case 'chip':
        for (const exposure of taken) {
          for (const chip of chips) {
            const frame = frameOf(exposure, chip);
            const drop = typeof frame === 'string' ? frame : undefined;
            job({ tele, mjd, chip, exposure: exposure.exposure }, [exposure], drop);
          }
        }
        break;
      case 'exposure':
        for (const exposure of taken) {
          job({ tele, mjd, exposure: exposure.exposure }, [exposure], exposure.drop && dropText(exposure.drop));
        }
        break;
      case 'detector':
        for (const chip of chips) {
          const exposures = live.filter((exposure) => typeof frameOf(exposure, chip) !== 'string');
          if (exposures.length > 0) job({ tele, mjd, chip }, exposures);
        }
        break;
      case 'night':
        if (live.length > 0) job({ tele, mjd }, live);
        break;
    }
  }

  connected(night: readonly Exposure[], chips: readonly string[]): Draft[] {
    return [...this.#starts.values()].map((start) =>
      start.drop === undefined
        ? this.#connect(start, night, start.identity.chip === undefined ? chips : [start.identity.chip])
        : { ...start, raw: [], needs: [], least: {} },
    );
  }

  #connect(start: Start, night: readonly Exposure[], chips: readonly string[]): Draft {
    const { stage, identity } = start;
    const raw: RawNeed[] = [];
    const needs: Need[] = [];
    const least: Record<string, number> = {};
    let drop: string | undefined;
    for (const input of stage.inputs) {
      const lost = this.#take(start, input, night, chips, raw, needs);
      if (input.gate === true) continue;
      const { role } = input;
      const has = [...raw, ...needs].filter((one) => one.role === role).length;
      if (input.least === undefined) {
        drop ??= lost ?? (has === 0 ? `no exposure of the night is its ${role}` : undefined);
      } else {
        least[role] = input.least;
        if (has === 0 && lost === undefined && input.none !== undefined) drop ??= input.none;
        else if (has < input.least)
          drop ??= `${has} of at least ${input.least} ${role}${lost === undefined ? '' : ` (${lost})`}`;
      }
    }
    for (const name of stage.after) {
      for (const chip of chips) {
        const build = this.#jobOf(name, { ...identity, chip });
        if (build !== undefined) needs.push({ job: build.id, role: 'calibration', how: 'order' });
      }
    }
    return { ...start, raw, needs: unique(needs), least, drop };
  }

  /**
   * Adds what one input of a job is.
   * @returns why a part of it does not exist
   */
  #take(
    { stage, identity, exposures }: Start,
    input: StageInput,
    night: readonly Exposure[],
    chips: readonly string[],
    raw: RawNeed[],
    needs: Need[],
  ): string | undefined {
    const { role, from, of, gate = false, behind = false } = input;
    const { tele, mjd } = identity;
    const meant = of === undefined ? exposures : night.filter((e) => e.drop === undefined && of(e, night));
    // What speaks for the whole job has no exposure: it is not taken out of a join.
    const joins = stage.scope === 'detector' || stage.scope === 'night' || of !== undefined;
    let lost: string | undefined;
    const cells = meant.flatMap((exposure) => chips.map((chip) => ({ exposure, chip })));
    for (const { exposure, chip } of cells) {
      if (from.includes('raw')) {
        const frame = frameOf(exposure, chip);
        if (typeof frame === 'string') lost ??= `exposure ${exposure.exposure}: ${frame}`;
        else raw.push({ role, path: frame.path, exposure: exposure.exposure, chip });
        continue;
      }
      const cell = { tele, mjd, chip, exposure: exposure.exposure };
      const found = from.map((name) => this.#jobOf(name, cell)).find((draft) => draft !== undefined);
      if (found === undefined) {
        // A verdict is asked of those that have one.
        if (!gate) lost ??= `no stage makes the ${role} of exposure ${exposure.exposure}, chip ${chip}`;
        continue;
      }
      const ofOne = found.identity.exposure !== undefined;
      needs.push({
        job: found.id,
        role,
        how: gate ? 'gate' : 'input',
        ...(joins && ofOne && { exposure: exposure.exposure }),
      });
      if (!(gate && behind && joins && ofOne)) continue;
      const before = { ...cell, exposure: exposure.exposure - 1 };
      const other = from.map((name) => this.#jobOf(name, before)).find((draft) => draft !== undefined);
      if (other !== undefined) {
        needs.push({ job: other.id, role, how: 'gate', exposure: exposure.exposure, behind: true });
      }
    }
    return lost;
  }

  /** The job of a stage whose product belongs to this exposure of this chip. */
  #jobOf(name: string, { tele, mjd, chip, exposure }: JobIdentity): Start | undefined {
    const stage = this.#stages.get(name);
    if (stage === undefined) return undefined;
    const identity: JobIdentity = {
      tele,
      mjd,
      ...((stage.scope === 'chip' || stage.scope === 'detector') && { chip }),
      ...((stage.scope === 'chip' || stage.scope === 'exposure') && { exposure }),
    };
    return this.#starts.get(jobId(name, identity));
  }
}

/** The same job in the same role once: what is made for all chips is named by each. */
function unique(needs: readonly Need[]): Need[] {
  const seen = new Map(
    needs.map((need) => [`${need.job} ${need.role} ${need.how} ${need.exposure ?? ''} ${need.behind ?? ''}`, need]),
  );
  return [...seen.values()];
}

/**
 * The jobs of one night, each behind those it needs, detector by detector as far as that goes.
 * @param exposures of one night, of any number of telescopes
 * @param stages each behind those whose products it takes (nightStages)
 * @throws BugError for exposures of several nights
 */
export function nightGraph(exposures: readonly Exposure[], stages: readonly NightStage[]): Draft[] {
  const nights = new Set(exposures.map(({ mjd }) => mjd));
  if (nights.size > 1) throw new BugError(`expected exposures of one night, received ${[...nights].join(', ')}`);
  const drafts: Draft[] = [];
  for (const tele of [...new Set(exposures.map((exposure) => exposure.tele))].sort()) {
    const night = exposures.filter((exposure) => exposure.tele === tele).toSorted((a, b) => a.exposure - b.exposure);
    const chips = chipsOf(night);
    const graph = new Graph(stages);
    for (const stage of stages) graph.add(stage, night, chips);
    drafts.push(...graph.connected(night, chips));
  }
  return ordered(drafts, stages);
}

/** Chips of which there is any raw file, sorted. */
export function chipsOf(exposures: readonly Exposure[]): string[] {
  return [...new Set(exposures.flatMap(({ frames }) => frames.map(({ chip }) => chip)))].sort();
}

/**
 * Each job behind those it needs; as far as that goes one slice after the other, so that a worker keeps a detector's calibrations,
 * and there by stage and exposure.
 * @throws BugError for jobs that need one another
 */
function ordered(drafts: readonly Draft[], stages: readonly NightStage[]): Draft[] {
  const place = new Map(stages.map(({ name }, i) => [name, i]));
  const byId = new Map(drafts.map((draft) => [draft.id, draft]));
  // How often the way to a job changes slices.
  const phases = new Map<Draft, number>();
  const open = new Set<Draft>();
  // As deep as there are stages.
  const phaseOf = (draft: Draft): number => {
    const known = phases.get(draft);
    if (known !== undefined) return known;
    if (open.has(draft)) throw new BugError(`jobs need one another: ${[...open].map(({ id }) => id).join(', ')}`);
    open.add(draft);
    let phase = 0;
    for (const { job } of draft.needs) {
      const before = byId.get(job) as Draft;
      phase = Math.max(phase, phaseOf(before) + (before.slice === draft.slice ? 0 : 1));
    }
    open.delete(draft);
    phases.set(draft, phase);
    return phase;
  };
  const ranked = drafts.map((draft) => {
    const { identity, stage } = draft;
    const detector = [identity.tele, identity.chip ?? '~'];
    return { draft, rank: [phaseOf(draft), ...detector, place.get(stage.name) ?? 0, identity.exposure ?? 0] };
  });
  ranked.sort((a, b) => {
    const i = a.rank.findIndex((value, k) => value !== b.rank[k]);
    return i < 0 ? 0 : (a.rank[i] as number) < (b.rank[i] as number) ? -1 : 1;
  });
  const placed = new Set<Draft>();
  const put = (draft: Draft): void => {
    if (placed.has(draft)) return;
    for (const { job } of draft.needs) put(byId.get(job) as Draft);
    placed.add(draft);
  };
  for (const { draft } of ranked) put(draft);
  return [...placed];
}
