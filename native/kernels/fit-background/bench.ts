/** Sizes that matter: a cell of a chip. */
export default { planes: 47, rows: 1, cols: [2048] };
