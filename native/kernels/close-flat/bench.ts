/** One detector row, and a strip of it. */
export default { planes: 1, rows: 1, cols: [512, 2048] };
