/** Text of `rampline kernels list` and `rampline kernels describe NAME`, from kernel.json alone. */
import { UsageError } from '../core/errors.js';
import { didYouMean } from '../core/suggest.js';
import { KERNELS } from './generated/kernels.js';
import type { KernelDescription, PortDescription } from './kernel.js';
import { rangeText } from './params.js';

/** @throws UsageError, with the nearest name, when no kernel is called so. */
export function findKernel(name: string, kernels: readonly KernelDescription[] = KERNELS): KernelDescription {
  const found = kernels.find((kernel) => kernel.name === name);
  if (found) return found;
  const near = didYouMean(
    name,
    kernels.map((kernel) => kernel.name),
  );
  throw new UsageError(`no kernel "${name}"${near || '; rampline kernels list names them all'}`);
}

/** Rows as columns of the width of their widest cell; the last column is not padded. */
function columns(rows: readonly (readonly string[])[], indent = ''): string[] {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => row[i]!.length)));
  return rows.map(
    (row) => indent + row.map((cell, i) => (i + 1 < row.length ? cell.padEnd(widths[i]!) : cell)).join('  '),
  );
}

/** One line for each kernel: name, version, class, stage, summary. */
export function listKernels(kernels: readonly KernelDescription[] = KERNELS): string {
  if (kernels.length === 0) return 'no kernels\n';
  const rows = kernels.map((k) => [k.name, k.version, k.class, k.stage ?? '-', k.summary]);
  return `${columns(rows).join('\n')}\n`;
}

function portRow(port: PortDescription): string[] {
  const marks = [port.optional ? 'optional' : '', port.nan ? 'NaN is missing' : ''].filter(Boolean).join(', ');
  const axes = port.axes.length === 0 ? 'one value' : `[${port.axes.join(', ')}]`;
  return [port.name, port.direction, port.dtype, axes, port.unit || '-', marks ? `${port.doc} (${marks})` : port.doc];
}

/** Everything that kernel.json says of one kernel. */
export function describeKernel(kernel: KernelDescription): string {
  const lines = [`${kernel.name} ${kernel.version}  (${kernel.class}${kernel.stage ? `, stage ${kernel.stage}` : ''})`];
  lines.push(kernel.summary, '');
  lines.push('Arrays:', ...columns(kernel.ports.map(portRow), '  '));
  if (kernel.params.length > 0) {
    const rows = kernel.params.map((p) => [p.name, p.type, rangeText(p), `default ${p.default}`, p.doc]);
    lines.push('', 'Parameters:', ...columns(rows, '  '));
  } else {
    lines.push('', 'No parameters.');
  }
  const { relative, absolute } = kernel.tolerance;
  lines.push('', `Agrees with its scalar reference within ${absolute} + ${relative} |value|.`);
  lines.push(`Costs ${kernel.cost.bytes} bytes and ${kernel.cost.flops} flops a pixel and plane.`);
  if (kernel.dq?.reads?.length) lines.push(`Reads DQ ${kernel.dq.reads.join(', ')}.`);
  if (kernel.dq?.sets?.length) lines.push(`Sets DQ ${kernel.dq.sets.join(', ')}.`);
  if (kernel.notes) lines.push(`Notes: ${kernel.notes}`);
  if (kernel.source) lines.push(`Source: ${kernel.source}`);
  lines.push(`Sources' hash ${kernel.hash}; the maths is in native/kernels/${kernel.name}/README.md.`);
  return `${lines.join('\n')}\n`;
}
