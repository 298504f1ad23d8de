/** A whole 47-read exposure: the statistic is of whole reads. */
export default { planes: 47, rows: 2048, cols: [2560] };
