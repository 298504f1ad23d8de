/** The unknowns of a profile's fit, one block for each pair of fibres. */
export default { planes: 150, rows: 1, cols: [98] };
