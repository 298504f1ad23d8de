/** One line of a picture a quarter of the detector's size. */
export default { planes: 4, rows: 512, cols: [4] };
