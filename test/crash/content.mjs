/** Products that tell by themselves whether they are whole. Shared by the test and by its children. */

/**
 * Half a megabyte and more, different in every byte range from one generation to another; the length varies too.
 * @param {string} name
 * @param {number} generation
 * @returns {Buffer}
 */
export function contentOf(name, generation) {
  const length = 500_000 + (generation % 7) * 33_333;
  const bytes = Buffer.alloc(length, `${name}/${generation}/0123456789abcdefghijklm;`);
  bytes.write(`${name} ${generation} ${length}\n`);
  return bytes;
}

/** The generation of a whole product; undefined for anything else. */
export function generationOf(bytes) {
  const end = bytes.indexOf(10);
  if (end < 0 || end > 100) return undefined;
  const [name, generation] = bytes.toString('utf8', 0, end).split(' ');
  return contentOf(name, Number(generation)).equals(bytes) ? Number(generation) : undefined;
}

export function chunksOf(bytes) {
  const chunks = [];
  for (let start = 0; start < bytes.length; start += 60_000) chunks.push(bytes.subarray(start, start + 60_000));
  return chunks;
}

export function recordOf(generation) {
  return {
    schema: 'crash-test/1',
    inputs: [{ name: 'none', sha256: '0'.repeat(64), role: 'raw', why: 'a test' }],
    calibrations: [],
    parameters: { generation },
    kernels: {},
    software: 'test',
  };
}
