/** All fibres of a chip. */
export default { planes: 1, rows: 300, cols: [128] };
