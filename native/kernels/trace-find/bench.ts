/** The band in the middle of a whole detector. */
export default { planes: 1, rows: 2048, cols: [200] };
