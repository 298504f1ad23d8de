import { defineConfig } from 'vitest/config';

// Tests that prove something by time never gate; the limits here only end what hangs.
export default defineConfig({
  root: new URL('..', import.meta.url).pathname,
  test: {
    include: ['src/**/*.test.ts', 'native/**/*.test.ts', 'test/**/*.test.ts'],
    pool: 'forks', // the addon keeps a thread team: a process for each file, so that one crash cannot take the rest along
    testTimeout: 120_000,
    hookTimeout: 120_000,
    teardownTimeout: 20_000,
    reporters: [
      'default',
      ['json', { outputFile: 'build/test-results.json' }],
      new URL('../.ci/skips.mjs', import.meta.url).pathname,
    ],
    coverage: {
      provider: 'v8',
      include: ['src/**/*.ts'],
      exclude: ['src/**/*.test.ts', 'src/engine/generated/**'],
      reportsDirectory: 'build/coverage',
      reporter: ['html', 'json-summary', 'text-summary'],
    },
  },
});
