import { describe, expect, it } from 'vitest';
import { type BatchRequest, batchArguments, elementRanges, parsePartitions, parseQueue } from './client.js';

const REQUEST: BatchRequest = {
  name: 'rampline-1-ramp',
  script: '/out/state/run.sh',
  directory: '/out',
  stdout: '/out/%A-%a.out',
  stderr: '/out/%A-%a.err',
  elements: [0, 1, 2, 5],
  cpus: 2,
  memoryBytes: 1.5 * 2 ** 30 + 1,
  minutes: 7,
  after: [],
  more: [],
};

describe('what Slurm is told', () => {
  it('joins elements to ranges', () => {
    expect(elementRanges([0])).toBe('0');
    expect(elementRanges([0, 1, 2, 5, 7, 8])).toBe('0-2,5,7-8');
  });

  it('rounds memory up, asks for requeue and an early signal, and ends with the script', () => {
    const words = batchArguments(REQUEST);
    expect(words).toContain('--mem=1537M');
    expect(words).toContain('--array=0-2,5');
    expect(words).toContain('--requeue');
    expect(words).toContain('--signal=B:TERM@30');
    expect(words.at(-1)).toBe('/out/state/run.sh');
    expect(words.some((word) => word.startsWith('--dependency'))).toBe(false);
  });

  it('names dependencies, and lets further options win by coming last', () => {
    const words = batchArguments({
      ...REQUEST,
      after: [
        { how: 'aftercorr', id: 12 },
        { how: 'afterany', id: 9 },
      ],
      partition: 'big',
      account: 'survey',
      more: ['time=1', 'qos=night'],
    });
    expect(words).toContain('--dependency=aftercorr:12,afterany:9');
    expect(words).toContain('--partition=big');
    expect(words).toContain('--account=survey');
    expect(words.indexOf('--time=1')).toBeGreaterThan(words.indexOf('--time=7'));
  });
});

describe('what Slurm says', () => {
  it('reads arrays, elements and plain jobs of a queue, and passes over what is none', () => {
    expect(parseQueue('12|1-2,7|PENDING|Dependency\n12|0|RUNNING|None\n13|N/A|COMPLETING|None\nslurm: hm\n')).toEqual([
      { id: 12, elements: '1-2,7', state: 'PENDING', reason: 'Dependency' },
      { id: 12, elements: '0', state: 'RUNNING', reason: 'None' },
      { id: 13, elements: undefined, state: 'COMPLETING', reason: 'None' },
    ]);
  });

  it('adds up nodes that take jobs, by partition', () => {
    const lines = [
      'day*|64|256000|idle|infinite',
      'day*|32+|128000|mixed|infinite',
      'day*|64|256000|down*|infinite',
      'day*|64|256000|drained|infinite',
      'short|16|64000|allocated|1-02:30:00',
      'test|2|2000|idle|45:30',
    ];
    expect(parsePartitions(lines.join('\n'))).toEqual([
      {
        name: 'day',
        isDefault: true,
        nodes: 2,
        cpus: 96,
        nodeCpus: 32,
        memoryBytes: 128000 * 2 ** 20,
        maxMinutes: Number.POSITIVE_INFINITY,
      },
      {
        name: 'short',
        isDefault: false,
        nodes: 1,
        cpus: 16,
        nodeCpus: 16,
        memoryBytes: 64000 * 2 ** 20,
        maxMinutes: 1590,
      },
      { name: 'test', isDefault: false, nodes: 1, cpus: 2, nodeCpus: 2, memoryBytes: 2000 * 2 ** 20, maxMinutes: 45.5 },
    ]);
  });
});
