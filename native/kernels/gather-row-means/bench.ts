/** A whole exposure of a dark. */
export default { planes: 47, rows: 2048, cols: [2560] };
