/** A whole chip. */
export default { planes: 2048, rows: 1, cols: [2048] };
