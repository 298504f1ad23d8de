/** The matrices of a profile's fit: one for each pair of fibres. */
export default { planes: 98, rows: 150, cols: [98] };
