/** All verbs, in the order of the help. */
import type { Command } from 'commander';
import type { Define } from '../reply.js';
import { defineAlmanac } from './almanac.js';
import { defineBench } from './bench.js';
import { defineCalib } from './calib.js';
import { defineCheck } from './check.js';
import { defineDiff } from './diff.js';
import { defineDoctor } from './doctor.js';
import { defineExtract } from './extract.js';
import { defineInspect } from './inspect.js';
import { defineKernels } from './kernels.js';
import { defineModel } from './model.js';
import { definePlan } from './plan.js';
import { defineProfile } from './profile.js';
import { defineCalibrate, defineRamp } from './ramp.js';
import { defineReport } from './report.js';
import { defineRun } from './run.js';
import { defineRunChunk } from './run_chunk.js';
import { defineSimulate } from './simulate.js';
import { defineStatus } from './status.js';
import { defineTrace } from './trace.js';
import { defineVerify } from './verify.js';
import { defineView } from './view.js';

export function defineVerbs(program: Command, define: Define): void {
  defineSimulate(program, define);
  defineAlmanac(program, define);
  defineRamp(program, define);
  defineCalibrate(program, define);
  defineCalib(program, define);
  defineExtract(program, define);
  definePlan(program, define);
  defineRun(program, define);
  defineTrace(program, define);
  defineInspect(program, define);
  defineView(program, define);
  defineModel(program, define);
  defineProfile(program, define);
  defineReport(program, define);
  defineCheck(program, define);
  defineRunChunk(program, define);
  defineStatus(program, define);
  defineVerify(program, define);
  defineDiff(program, define);
  defineKernels(program, define);
  defineDoctor(program, define);
  defineBench(program, define);
}
