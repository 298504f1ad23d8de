/** A whole detector of an echelle spectrograph. */
export default { planes: 1, rows: 1024, cols: [1024] };
