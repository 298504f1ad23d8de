/** A chip: 300 fibres, 32 blocks of 64 columns. */
export default { planes: 300, rows: 32, cols: [64] };
