"""Horne's extraction of a chip in numpy, all fibres and columns at once: from profiles that are already there, and with profiles
looked up in a cumulative table (straight lines between samples, one node), as ours are. float32, whole arrays, one thread; pixels
come by flat index, which took less time than by row and column.

usage: numpy_horne.py FOLDER FIBRES ROWS COLS ROUNDS; image.f32, ivar.f32 [row][x], first.i32 [fibre][x] (first row of each
window) and profile.f32 [row of the window][fibre][x] and centre.f32 [fibre][x] lie in FOLDER. Prints the least CPU milliseconds of both.
"""

import sys
import time

import numpy as np

folder, (fibres, rows, cols, rounds) = sys.argv[1], map(int, sys.argv[2:6])
image = np.fromfile(f"{folder}/image.f32", np.float32).reshape(rows, cols)
ivar = np.fromfile(f"{folder}/ivar.f32", np.float32).reshape(rows, cols)
first = np.fromfile(f"{folder}/first.i32", np.int32).reshape(fibres, cols)
profile = np.fromfile(f"{folder}/profile.f32", np.float32).reshape(-1, fibres, cols)
centre = np.fromfile(f"{folder}/centre.f32", np.float32).reshape(fibres, cols)
pixel = first.astype(np.intp) * cols + np.arange(cols)  # of the lowest row of each window, in the flat image
table = np.cumsum(np.exp(-0.5 * ((np.arange(481) - 240) / 20.0) ** 2)).astype(np.float32)
table /= table[-1]


def cumulative(edge):
    z = np.clip((first + np.float32(edge) - centre) * 20 + 240, 0, 480)
    i = np.minimum(z.astype(np.int32), 479)
    below = table[i]
    return below + (table[i + 1] - below) * (z - i)


def looked_up():
    below = cumulative(-0.5)
    for j in range(len(profile)):
        above = cumulative(j + 0.5)
        yield above - below
        below = above


def extract(profiles):
    began = time.process_time()
    right = np.zeros((fibres, cols), np.float32)
    own = np.zeros((fibres, cols), np.float32)
    at = pixel.copy()
    for p in profiles():
        weighted = p * ivar.take(at)
        right += weighted * image.take(at)
        own += weighted * p
        at += cols
    with np.errstate(invalid="ignore"):
        right / own
    return 1e3 * (time.process_time() - began)


print(*(min(extract(way) for _ in range(rounds)) for way in (lambda: profile, looked_up)))
