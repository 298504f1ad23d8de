/** Sizes that matter: one detector row of a 47-read exposure, and a strip of it. */
export default { planes: 46, rows: 1, cols: [512, 2048] };
