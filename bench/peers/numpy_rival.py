"""numpy, float32, whole-array operations; the ramps in blocks of 16384 pixels, which its temporaries like best."""

import numpy as np

from rival import path, serve

SIZE, C2, C3, LIMIT = 2048, np.float32(1.5e-6), np.float32(-4e-12), np.float32(60000)
PLANES, BLOCK, THRESHOLD = 46, 16384, np.float32(20.25)
ONE, TINY = np.float32(1), np.float32(1e-30)


def kernel():
    x = np.fromfile(path("kernel.f32"), np.float32)

    def run():
        y = x * C3
        y += C2
        y *= x
        y *= x
        y += x
        y[x > LIMIT] = np.nan
        return [y]

    return run


def trimmed_mean(d, good):
    count = good.sum(0, dtype=np.float32)
    total = d.sum(0, dtype=np.float32)
    most = np.where(good, d, np.float32(-1e30)).max(0)
    least = np.where(good, d, np.float32(1e30)).min(0)
    many = count > 2
    total = np.where(many, total - most - least, total)
    return total / np.maximum(np.where(many, count - 2, count), ONE), count


def sweep(d, good, start, gain, variance):
    """Rate, chi2, greatest fall of chi2 by one omission and the difference it belongs to."""
    n = len(d)
    a = np.maximum(start, 0) / (gain * variance) + np.float32(2)
    p, zd, z1 = np.empty_like(d), np.empty_like(d), np.empty_like(d)
    r = np.where(good, d - start, np.float32(0))
    p0 = zd0 = z0 = c = b = np.zeros_like(start)
    for k in range(n):
        zd0 = np.multiply(p0, zd0, out=zd[k])
        zd0 += r[k]
        z0 = np.multiply(p0, z0, out=z1[k])
        z0 += ONE
        p0 = np.divide(good[k], a - p0, out=p[k])
        pz = p0 * z0
        c = c + pz * z0
        b = b + pz * zd0
    c = np.maximum(c, TINY)
    change = b / c
    y = h = diag = best = square = np.zeros_like(start)
    worst = np.full(start.shape, -1)
    for k in range(n - 1, -1, -1):
        pk = p[k]
        y = pk * (zd[k] - change * z1[k] + y)
        h = pk * (z1[k] + h)
        diag = pk + pk * pk * diag
        square = square + (r[k] - change) * y
        fall = y * y / np.maximum(diag - h * h / c, TINY)
        better = fall > best
        worst[better] = k
        best = np.maximum(fall, best)
    return start + change, np.maximum(square, 0) / variance, best / variance, worst


def ramp():
    given = np.fromfile(path("ramp.f32"), np.float32).reshape(PLANES, -1)
    gain, variance = np.fromfile(path("gain.f32"), np.float32), np.fromfile(path("variance.f32"), np.float32)

    def block(s):
        good = given[:, s] == given[:, s]
        d = np.where(good, given[:, s], np.float32(0))
        g, v = gain[s], variance[s]
        jumps = np.zeros(g.shape, np.uint16)
        fitted = np.empty_like(g)
        index = np.arange(len(g))
        dd, gg = d, good
        while len(index):
            start, count = trimmed_mean(dd, gg)
            rate, _, best, worst = sweep(dd, gg, start, g[index], v[index])
            fitted[index] = rate
            hit = (best > THRESHOLD) & (count > 2)
            index, worst = index[hit], worst[hit]
            good[worst, index] = False
            d[worst, index] = 0
            jumps[index] += 1
            dd, gg = d[:, index], good[:, index]
        rate, chi2, _, _ = sweep(d, good, fitted, g, v)
        return rate, chi2, jumps

    def run():
        parts = [block(slice(i, i + BLOCK)) for i in range(0, len(gain), BLOCK)]
        return [np.concatenate(column) for column in zip(*parts)]

    return run


serve({"kernel": kernel, "ramp": ramp})
