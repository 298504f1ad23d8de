/** Sizes that matter: one row of a dark of 47 reads. */
export default { planes: 47, rows: 1, cols: [512, 2048] };
