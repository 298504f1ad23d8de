/** A whole 47-read exposure: the noise is followed over whole reads. */
export default { planes: 47, rows: 2048, cols: [2560] };
