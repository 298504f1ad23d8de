/** A group of eight exposures: one detector row and a strip of it. */
export default { planes: 8, rows: 1, cols: [512, 2048] };
