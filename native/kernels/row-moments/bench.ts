/** Sizes that matter: a whole detector. */
export default { planes: 4, rows: 2048, cols: [2048] };
