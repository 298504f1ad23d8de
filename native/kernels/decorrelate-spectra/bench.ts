/** The columns of a chip. */
export default { planes: 5, rows: 1, cols: [2048] };
