/** rampline run RAW -o DIR --tele apo --mjd N, and rampline rerun, which does chosen jobs again. */
import { type Command, Option } from 'commander';
import { EXIT_CODES, UsageError } from '../../core/errors.js';
import type { NightEvent, Outcome } from '../../night/job.js';
import type { NightRun } from '../../night/run.js';
import { askedNight, type NightFlags, withNight } from '../night_options.js';
import { byteSize, realNumber } from '../options.js';
import { planReply } from '../plan_text.js';
import type { Define, GlobalOptions, Session } from '../reply.js';
import { printable, table } from '../table.js';
import { addSlurmOptions, type SlurmFlags, slurmOptionsOf } from './run_slurm.js';

interface RunFlags extends NightFlags, SlurmFlags {
  readonly executor: 'local' | 'slurm';
  readonly memory?: number;
  readonly isolate?: boolean;
  readonly timeout?: number;
  readonly wait?: boolean;
  readonly dryRun?: boolean;
}

const MORE =
  'RAW holds TELE/MJD/, MJD/, or the raw files themselves. What is done is not done again: its manifest carries the hashes of\n' +
  'input, calibrations, parameters and kernels. The same command goes on where a run was stopped or killed. An exposure that\n' +
  'cannot be reduced is dropped with its reason and the night goes on.\n\n' +
  'The exit code is that of the most serious failure, also of a dropped exposure; what a list of bad exposures or a verdict\n' +
  'leaves out is no failure. 30: another run works on the same night (--wait waits for it).\n' +
  'Products are in DIR/TELE/MJD, calibrations of the night in DIR/calib, logs in DIR/log, locks and the ledger in DIR/state.';

/** For people with a cluster; test/slurm.test.ts does what it says. */
const CLUSTER =
  '--executor slurm makes job arrays of the plan, one for each stage, in chunks that follow from what is predicted. Nodes must\n' +
  'see RAW, DIR, the calibrations and this program under the same paths. Chunks are requeued when they are preempted, and a\n' +
  'run again takes up what was lost. Ctrl-C cancels the arrays; --detach leaves them alone.\n\n' +
  'Six detectors apart and what joins them after all of them:\n' +
  '  for t in apo lco; do for c in a b c; do\n' +
  '    rampline run RAW -o DIR --tele $t --mjd N --chip $c --executor slurm --detach\n' +
  '  done; done\n' +
  '  rampline run RAW -o DIR --tele apo,lco --mjd N --join --executor slurm\n' +
  'The same with scripts of your own, each detector one job on one node:\n' +
  '  id=$(sbatch --parsable --requeue --cpus-per-task=4 --mem=8G --wrap \\\n' +
  '    "rampline run RAW -o DIR --tele apo --mjd N --chip a --jobs 4 --memory 7G")        # and five more\n' +
  '  sbatch --dependency=afterany:$id:$id2:... --wrap "rampline run RAW -o DIR --tele apo,lco --mjd N --join --wait"';

function withExecution(command: Command): Command {
  command
    .addOption(new Option('--executor <name>', 'where the jobs run').choices(['local', 'slurm']).default('local'))
    .option(
      '--memory <size>',
      'resident memory that the run may take, as 8G (default: 80 % of what is free)',
      byteSize('--memory'),
    )
    .option('--isolate', 'each job in a process of its own: a crash costs that job alone')
    .option(
      '--timeout <seconds>',
      'for one job (default: generous, from what is predicted)',
      realNumber('--timeout', 0.1, 1e7),
    )
    .option('--wait', 'wait for another run that works on the same night')
    .option('--dry-run', 'only say what would be done, what it costs, and what is done already: as rampline plan')
    .option('--ledger <url>', 'postgres:// URL, or none (default: SQLite in DIR/state)');
  return addSlurmOptions(command);
}

/** One line of the log on stderr for each event that a person wants to see go by. */
function tell(session: Session, { event, job, outcome, message, attempt }: NightEvent): void {
  const level = process.stderr.isTTY === true ? 'debug' : 'info';
  if (event === 'planned' || event === 'start' || event === 'finish') return;
  if (outcome === undefined) {
    session.log(event === 'message' ? 'info' : 'debug', event, { ...(job && { job }), attempt, message });
    return;
  }
  const { status, seconds, failure } = outcome;
  const bad = status === 'dropped' || status === 'failed' || event === 'retry';
  session.log(bad ? 'warn' : status === 'skipped' ? 'debug' : level, event === 'retry' ? event : status, {
    job,
    ...(outcome.attempt > 0 && { seconds: Number(seconds.toFixed(3)) }),
    ...(failure && { error: failure.error, message: failure.message }),
  });
}

const STATUSES = ['done', 'skipped', 'dropped', 'failed', 'cancelled'] as const;

/** Jobs of each stage by what became of them, and their time. */
export function stageTable({ plan, outcomes, unbegun }: Pick<NightRun, 'plan' | 'outcomes' | 'unbegun'>): string {
  const stageOf = new Map(plan.jobs.map(({ id, stage }) => [id, stage]));
  const stages = [...new Set(stageOf.values())];
  const left = unbegun.length > 0 ? ['left'] : [];
  const rows = stages.map((stage) => {
    const own = outcomes.filter(({ job }) => stageOf.get(job) === stage);
    return [
      stage,
      ...STATUSES.map((status) => String(own.filter((one) => one.status === status).length)),
      ...left.map(() => String(unbegun.filter((id) => stageOf.get(id) === stage).length)),
      own.reduce((sum, { seconds }) => sum + seconds, 0).toFixed(1),
    ];
  });
  const counts = [...STATUSES, ...left, 'seconds'];
  return table(['stage', ...counts], rows, counts);
}

/** What was dropped or failed, each reason once: what was dropped because of it is counted. */
function reasons(outcomes: readonly Outcome[]): string {
  const lost = outcomes.filter(({ status }) => status === 'dropped' || status === 'failed');
  if (lost.length === 0) return '';
  const isBehind = ({ failure }: Outcome) => /(^|: )because /.test(failure?.message ?? '');
  const roots = lost.filter((one) => !isBehind(one));
  const reasonOf = ({ failure }: Pick<Outcome, 'failure'>) => `${failure?.error}: ${failure?.message}`;
  const first = new Map(roots.toReversed().map((one) => [reasonOf(one), one]));
  const rows = roots
    .filter((one) => first.get(reasonOf(one)) === one)
    .map(({ job, status, failure }) => {
      const same = roots.filter((one) => one.failure?.message === failure?.message);
      const behind = lost.filter((one) =>
        same.some((root) => one.failure?.message.includes(`because ${root.job} was dropped`)),
      ).length;
      // Which calibration it is, say: the job's name does not tell.
      const file = failure?.file ?? '';
      const where = file !== '' && same.every((one) => one.failure?.file === file) ? ` (${printable(file)})` : '';
      const others = same.length === 1 ? '' : ` (and ${same.length - 1} more)`;
      return [
        `${job}${others}`,
        status,
        `${reasonOf({ failure })}${where}${behind === 0 ? '' : ` (and ${behind} jobs behind)`}`,
      ];
    });
  const orphans = lost.length - roots.length;
  return rows.length > 0 ? `\n${table(['job', 'is', 'why'], rows)}` : `\n${orphans} jobs dropped behind others\n`;
}

const megabytes = (bytes: number) => `${Math.round(bytes / 2 ** 20)} MB`;

function textOf(result: NightRun, output: string): string {
  const { outcomes, unbegun, stopped, left, seconds, cpuSeconds, peakBytes, memoryBytes } = result;
  const count = (status: string) => outcomes.filter((outcome) => outcome.status === status).length;
  const counts = STATUSES.filter((status) => count(status) > 0).map((status) => `${count(status)} ${status}`);
  if (unbegun.length > 0) counts.push(`${unbegun.length} left`);
  const memory = peakBytes === undefined ? '' : `, ${megabytes(peakBytes)} of ${megabytes(memoryBytes)} of memory`;
  const why = stopped === undefined ? '' : `\nstopped: ${stopped.error}: ${printable(stopped.message)}\n`;
  const away =
    left === undefined
      ? ''
      : `\n${left.jobs} jobs go on through Slurm (arrays ${left.arrays.join(', ')}); rampline status shows how far they are\n`;
  return (
    stageTable(result) +
    reasons(outcomes) +
    why +
    away +
    `\n${counts.join(', ')} in ${seconds.toFixed(2)} s (${cpuSeconds.toFixed(1)} s of CPU${memory}); ${printable(output)}\n`
  );
}

async function runVerb(words: readonly unknown[], options: GlobalOptions & RunFlags, session: Session, again: boolean) {
  const asked = askedNight(words, options);
  if (options.dryRun === true) return planReply(asked, {}, options, session);
  const { runNight } = await import('../../night/run.js');
  const executor =
    options.executor === 'slurm'
      ? (await import('../../night/slurm/executor.js')).slurmExecutor(slurmOptionsOf(options))
      : (await import('../../night/local.js')).localExecutor();
  const { output, from, to, only } = asked;
  const result = await runNight({
    ...asked,
    executor,
    jobs: options.jobs,
    memoryBytes: options.memory,
    isolate: options.isolate,
    timeoutSeconds: options.timeout,
    wait: options.wait,
    again: again || options.force === true,
    about: { verb: again ? 'rerun' : 'run', from, to, only },
    signal: session.interrupt.signal,
    signalCode: () => session.interrupt.exitCode(),
    onProgress: session.progress,
    onEvent: (event) => tell(session, event),
  });
  const { plan: _, ...told } = result;
  const reply = { json: { output, ...told }, text: textOf(result, output), exitCode: result.exitCode };
  // A thread that does not end would keep the process for ever.
  if (result.hung === true) setTimeout(() => process.exit(result.exitCode || EXIT_CODES.bug), 1000);
  return reply;
}

export function defineRun(program: Command, define: Define): void {
  define<RunFlags>(
    program,
    {
      name: 'run',
      summary: 'reduce a night: every exposure from raw files to the last stage there is',
      more: `${MORE}\n\n${CLUSTER}`,
      examples: [
        ['rampline run /data/raw -o out --tele apo --mjd 60855 --calib cal', 'a night'],
        ['rampline run /data/raw -o out --tele apo,lco --mjd 60855 --memory 8G --jobs 4', 'both telescopes, in 8 GiB'],
        ['rampline run /data/raw -o out --tele apo --mjd 60855 --chip a', 'one chip of it; others may run beside'],
        ['rampline run /data/raw -o out --tele apo --mjd 60855 --join --wait', 'then what joins the chips'],
        ['rampline run /data/raw -o out --tele apo --mjd 60855 --executor slurm', 'on a cluster'],
      ],
    },
    (command) => withExecution(withNight(command)),
    (words, options, session) => runVerb(words, options, session, false),
  );
  define<RunFlags>(
    program,
    {
      name: 'rerun',
      summary: 'do chosen jobs of a night again, and what depends on them',
      more: `Takes what run takes; --from, --to and --only choose the jobs.\n\n${MORE}`,
      examples: [
        [
          'rampline rerun /data/raw -o out --tele apo --mjd 60855 --from calibrate --only 12-a',
          'exposure 12 of chip a, from calibrate on',
        ],
      ],
    },
    (command) => withExecution(withNight(command)),
    (words, options, session) => {
      if (options.from === undefined && options.only === undefined) {
        throw new UsageError('expected --from STAGE or --only EXPOSURE: what is to be done again');
      }
      return runVerb(words, options, session, true);
    },
  );
}
