/** The part of a night's events that the ledger keeps: `NightEvent` of src/night/job.ts fits it. Data only. */

export type JobStatus = 'planned' | 'running' | 'done' | 'skipped' | 'dropped' | 'failed' | 'cancelled';

export interface LedgerFailure {
  readonly error: string;
  readonly message: string;
  readonly file?: string | undefined;
}

export interface LedgerOutcome {
  readonly job: string;
  readonly status: 'done' | 'skipped' | 'dropped' | 'failed' | 'cancelled';
  readonly products: readonly string[];
  readonly key?: string | undefined;
  readonly attempt: number;
  readonly seconds: number;
  readonly cpuSeconds?: number | undefined;
  readonly peakBytes?: number | undefined;
  readonly verdict?: { readonly verdict: 'ok' | 'suspect' | 'drop'; readonly reason: string } | undefined;
  readonly failure?: LedgerFailure | undefined;
  readonly where?: string | undefined;
}

export interface LedgerAbout {
  readonly host: string;
  readonly pid: number;
  readonly born?: string | undefined;
  readonly request: Readonly<Record<string, unknown>>;
  readonly counts?: Readonly<Record<string, number>> | undefined;
  readonly exitCode?: number | undefined;
}

export interface LedgerEvent {
  readonly time: string;
  readonly run: string;
  readonly event: 'start' | 'planned' | 'begin' | 'retry' | 'end' | 'warning' | 'message' | 'finish';
  readonly job?: string | undefined;
  readonly stage?: string | undefined;
  readonly state?: 'done' | 'todo' | 'dropped' | undefined;
  readonly key?: string | undefined;
  readonly attempt?: number | undefined;
  readonly where?: string | undefined;
  readonly outcome?: LedgerOutcome | undefined;
  readonly about?: LedgerAbout | undefined;
  readonly message?: string | undefined;
}
