/** One row of an array, and a strip of it. */
export default { planes: 1, rows: 1, cols: [256, 1024] };
