// Who may import whom in src (dependency-cruiser). ARCHITECTURE.md has the same table in words.
// `npm run lint` runs it; test/layers.test.ts proves that a breach is seen.
const ROOMS = {
  core: [],
  store: ['core'],
  fits: ['core'],
  engine: ['core'],
  database: ['core'],
  calib: ['core', 'fits', 'store', 'database'],
  instruments: ['core'],
  almanac: ['core', 'fits', 'store', 'instruments'],
  ledger: ['core', 'store', 'database'],
  stages: ['core', 'engine', 'fits', 'calib'],
  simulate: ['core', 'engine', 'fits', 'store', 'instruments'],
  night: [
    'core',
    'engine',
    'fits',
    'store',
    'database',
    'calib',
    'instruments',
    'almanac',
    'ledger',
    'stages',
    'simulate',
  ],
};
// Which room may use which npm package; a package that is not named here is used by none.
const PACKAGES = {
  commander: 'cli',
  piscina: 'engine',
  h5wasm: 'almanac',
  kysely: 'database',
  'better-sqlite3': 'database',
  pg: 'database',
};

const room = (name, allowed) => ({
  name: `${name}-imports`,
  comment: `${name} may import ${allowed.length === 0 ? 'no other room' : allowed.join(', ')}`,
  severity: 'error',
  from: { path: `^src/${name}/` },
  to: { path: '^src/', pathNot: `^src/(${[name, ...allowed].join('|')})/` },
});

module.exports = {
  forbidden: [
    ...Object.entries(ROOMS).map(([name, allowed]) => room(name, allowed)),
    {
      name: 'no-circular',
      comment: 'nothing flows backwards',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    {
      name: 'nothing-imports-cli',
      comment: 'cli parses, calls and prints; what others need belongs in another room',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/cli/' },
      to: { path: '^src/cli/' },
    },
    {
      name: 'stages-never-import-one-another',
      comment: "a stage depends on the product type of the stage before it, in core, never on that stage's code",
      severity: 'error',
      from: { path: '^src/stages/([^/]+)/' },
      // Files of no stage's folder, the descriptor's type and the measuring of images, are for all.
      to: { path: '^src/stages/[^/]+/', pathNot: '^src/stages/$1/' },
    },
    {
      name: 'instruments-never-import-one-another',
      comment: 'an instrument is data about itself',
      severity: 'error',
      from: { path: '^src/instruments/([^/]+)/' },
      to: { path: '^src/instruments/[^/]+/', pathNot: '^src/instruments/$1/' },
    },
    {
      name: 'no-unknown-room',
      comment: 'a new room needs a line in .ci/layers.cjs and in ARCHITECTURE.md',
      severity: 'error',
      from: { path: '^src/[^/]+/', pathNot: `^src/(${[...Object.keys(ROOMS), 'cli'].join('|')})/` },
      to: { path: '^src/' },
    },
    {
      name: 'src-imports-src-alone',
      comment: 'the product never depends on test, bench or native sources',
      severity: 'error',
      from: { path: '^src/', pathNot: '[.]test[.]ts$' },
      to: { path: '^(test|bench|native)/' },
    },
    {
      name: 'packages-by-room',
      comment: `npm packages of the product: ${Object.keys(PACKAGES).join(', ')}`,
      severity: 'error',
      from: { path: '^src/', pathNot: '[.]test[.]ts$' },
      to: {
        dependencyTypes: ['npm', 'npm-dev', 'npm-no-pkg', 'npm-unknown'],
        pathNot: Object.keys(PACKAGES).map((name) => `node_modules/${name}/`),
      },
    },
    ...Object.entries(PACKAGES).map(([name, owner]) => ({
      name: `only-${owner}-uses-${name}`,
      severity: 'error',
      from: { path: '^src/', pathNot: `^src/${owner}/` },
      to: { path: `node_modules/${name}/` },
    })),
    {
      name: 'not-found',
      comment: 'an import that leads nowhere',
      severity: 'error',
      from: { pathNot: '[.]test[.]ts$' },
      to: { couldNotResolve: true },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^(build|node_modules)/' },
    tsPreCompilationDeps: true, // imports of types count too
    enhancedResolveOptions: {
      extensions: ['.ts', '.js', '.json'],
      exportsFields: ['exports'], // subpaths of packages, such as h5wasm/node
      conditionNames: ['import', 'node', 'default'],
    },
  },
};
