/** The unknowns of a profile's fit, a block for each pair of fibres and each of eight places. */
export default { planes: 1200, rows: 1, cols: [98] };
