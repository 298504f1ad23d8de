/** The fibres of a chip. */
export default { planes: 300, rows: 1, cols: [2048] };
