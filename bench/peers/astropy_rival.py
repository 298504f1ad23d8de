"""astropy.io.fits: the pixels as a native-endian array of their own type, as every other rival delivers them."""

import numpy as np
from astropy.io import fits

from rival import path, serve


def reader(name, hdu, dtype):
    def prepare():
        def run():
            return [np.ascontiguousarray(fits.getdata(path(name + ".fits"), hdu, memmap=False), dtype)]

        return run

    return prepare


serve(
    {
        "u16-rice": reader("u16-rice", 1, np.uint16),
        "i32-rice": reader("i32-rice", 1, np.int32),
        "u16": reader("u16", 0, np.uint16),
        "f32": reader("f32", 0, np.float32),
    }
)
