/** Sizes that matter: a strip of a chip, a block of fibres. */
export default { planes: 47, rows: 1, cols: [64, 256] };
