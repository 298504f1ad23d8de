/** The profiles of a chip: 300 fibres at nine places. */
export default { planes: 1, rows: 2700, cols: [1] };
