/** What is told of a night: plain data, written as `night.json` and drawn as `night.html`. Every number of the page is here. */

/** Layout of night.json. */
export const NIGHT_SCHEMA = 'night/1';

/**
 * - good: all that was planned is there, and nothing was dropped that a person had not dropped before
 * - look: something was dropped, is suspect, missing in the numbering, or to be looked at
 * - bad: a job failed, or so much was dropped that the night is of little use
 * - unfinished: jobs are still to be done
 * - empty: no exposure was taken
 */
export type NightGrade = 'good' | 'look' | 'bad' | 'unfinished' | 'empty';

/** A group of like findings: one line however many exposures it is about. */
export interface NightFinding {
  readonly level: 'fail' | 'warn' | 'note';
  readonly text: string;
  /** How many exposures, or jobs that join exposures. */
  readonly count: number;
  /** Numbers of exposures, sorted. */
  readonly exposures: readonly number[];
}

export interface NightStage {
  readonly name: string;
  /** What there is one job of: 'chip', 'exposure', 'detector', 'night'. */
  readonly scope: string;
  /** 0: reads raw files alone; else one more than the deepest stage whose products it reads. */
  readonly depth: number;
  readonly jobs: number;
  readonly done: number;
  readonly dropped: number;
  readonly failed: number;
  /** To be done, or cancelled. */
  readonly todo: number;
  /** Wall and CPU seconds of all its jobs, as the newest run that did each says. */
  readonly seconds: number;
  readonly cpuSeconds: number;
  /** False: some jobs could not tell their CPU time, and their wall time is in the sum instead. */
  readonly cpuKnown: boolean;
  readonly predictedCpuSeconds: number;
  /** Largest over its jobs [bytes]; null where no job said it. */
  readonly peakBytes: number | null;
  readonly predictedPeakBytes: number;
  readonly retries: number;
  /** Summed over its jobs, largest first. */
  readonly steps: readonly { readonly name: string; readonly seconds: number }[];
}

/** A bar of the flow chart. */
export interface FlowNode {
  /** 'raw', or the name of a stage. */
  readonly id: string;
  readonly depth: number;
  /** Exposures that come here, and those of them that are through with at least one chip and have nothing left to do. */
  readonly exposures: number;
  readonly done: number;
}

/** Exposures of one kind that go from one stage to another. */
export interface FlowLink {
  readonly from: string;
  readonly to: string;
  readonly kind: string;
  readonly exposures: number;
}

/** Exposures that end early, together as far as stage and reason agree. */
export interface FlowDrop {
  /** Where: 'raw' before any stage. */
  readonly at: string;
  /** 'user', 'rule', 'pipeline': as the almanac says; 'verdict': by a gate; else the class of the error. */
  readonly by: string;
  /** Of the first of them where they differ in numbers alone. */
  readonly reason: string;
  /** Chips lost, in exposures: one chip of three counts a third. */
  readonly share: number;
  /** What was lost: all chips where `chips` is empty. */
  readonly lost: readonly { readonly exposure: number; readonly chips: readonly string[] }[];
}

export interface NightFlow {
  readonly exposures: number;
  readonly kinds: readonly { readonly kind: string; readonly exposures: number }[];
  readonly nodes: readonly FlowNode[];
  readonly links: readonly FlowLink[];
  readonly drops: readonly FlowDrop[];
}

/**
 * 'done': every job of it is; 'partly': some of its chips were dropped; 'dropped', 'failed': nothing went through to the end;
 * 'todo': jobs are still to be done; 'missing': a hole in the numbering.
 */
export type ExposureState = 'done' | 'partly' | 'dropped' | 'failed' | 'todo' | 'missing';

export interface NightExposure {
  readonly exposure: number;
  /** As header and lamps say. */
  readonly kind: string;
  readonly chips: readonly string[];
  readonly reads: number;
  /** MJD of the first read. */
  readonly start: number | null;
  readonly seconds: number;
  readonly field: string;
  readonly comment: string;
  readonly state: ExposureState;
  /** What happened and why, one sentence; '' where there is nothing to say. */
  readonly what: string;
  /** What the light says, where a stage looked. */
  readonly light: {
    readonly kind: string;
    readonly verdict: 'ok' | 'suspect' | 'drop';
    readonly reason: string;
  } | null;
  /** Percent of pixels with a quality bit of each sort, mean of the chips. */
  readonly percent: Readonly<Record<string, number>>;
  readonly warnings: number;
  /** Relative to the directory of the page. */
  readonly products: readonly { readonly stage: string; readonly chip: string; readonly href: string }[];
  readonly log: string;
}

/** A calibration that products of the night were made with, or that was looked at and refused. */
export interface NightCalibration {
  readonly chip: string;
  readonly kind: string;
  readonly name: string;
  readonly sha256: string;
  readonly why: string;
  readonly used: boolean;
  /** Products that have it so in their PROVENANCE. */
  readonly products: number;
  /** Made from this night's own exposures. */
  readonly built: boolean;
  /** Of its QA page relative to the page; '' where there is none. */
  readonly qa: string;
  /** In its QA's verdict; '' where there is none. */
  readonly grade: string;
}

/** A number of each exposure and chip over the night. */
export interface NightSeries {
  /** That say it. */
  readonly stages: readonly string[];
  readonly name: string;
  readonly unit: string;
  readonly points: readonly {
    readonly exposure: number;
    readonly chip: string;
    readonly kind: string;
    readonly value: number;
    /** Where the stage states it. */
    readonly error?: number | undefined;
  }[];
}

export interface NightReport {
  readonly schema: typeof NIGHT_SCHEMA;
  readonly instrument: string;
  readonly tele: string;
  readonly mjd: number;
  readonly chips: readonly string[];
  readonly grade: NightGrade;
  /** The verdict in one sentence, with counts. */
  readonly sentence: string;
  /** Worst first. */
  readonly findings: readonly NightFinding[];
  /** Holes in the numbering. */
  readonly missing: readonly number[];
  readonly stages: readonly NightStage[];
  readonly flow: NightFlow;
  readonly exposures: readonly NightExposure[];
  readonly calibrations: readonly NightCalibration[];
  readonly series: readonly NightSeries[];
  readonly warnings: readonly NightFinding[];
  readonly totals: {
    /** Raw files and their bytes. */
    readonly files: number;
    readonly bytes: number;
    readonly productBytes: number;
    readonly cpuSeconds: number;
    /** False: neither jobs nor runs could tell it, and the wall time of the jobs stands for it. */
    readonly cpuKnown: boolean;
    /** From the first event to the last, of each run, added. */
    readonly wallSeconds: number;
    /** Of all chips of an exposure, mean of those with a job that ran; null where none did. */
    readonly cpuSecondsPerExposure: number | null;
    readonly peakBytes: number | null;
    readonly retries: number;
    readonly runs: number;
  };
  /** UTC of the first and the last event; '' where nothing ran. */
  readonly began: string;
  readonly ended: string;
  /** The night's list of bad exposures that the pipeline found, relative to the page; '' where it found none. */
  readonly badList: string;
  /** Rows of that list. */
  readonly outliers: readonly { readonly exposure: number; readonly reason: string }[];
  /** Other pages and files, relative to the page. */
  readonly links: readonly { readonly label: string; readonly href: string }[];
  /** Directory of products as the user names it. */
  readonly output: string;
  /** Lines for a shell that give what the panels show. */
  readonly commands: {
    /** `OUT --tele TELE --mjd MJD`, as report, check and status take it. */
    readonly night: string;
    /** `RAW -o OUT ...`, as plan and run take it: what the newest run was asked. */
    readonly run: string;
    readonly almanac: string;
    readonly explain: string;
    readonly warnings: string;
    readonly bad: string;
  };
}
