/** A chip. */
export default { planes: 1, rows: 2048, cols: [2048] };
