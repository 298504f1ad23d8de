#!/usr/bin/env python3
"""Makes apogee.json: the figures of the real instrument that the mock detector draws its scene from.

usage: make.py DATA_DIR > apogee.json        (needs numpy, h5py and astropy; Debian: python3-h5py python3-astropy)
       make.py DATA_DIR fibres > ../instruments/apogee_fibres.json

Taken from, below DATA_DIR:
  apogee/calibration/traceCenterPositions_*.h5       y of 300 traces near the chip centre (ApogeeReduction.jl, MIT)
  apogee/calibration/quartzTraceProfileParams_*.h5   Gauss-Hermite profile heights as polynomials in the fibre (same, MIT)
  apogee/calibration/rough_poly_coeffs.csv           wavelength polynomial of each chip (same, MIT)
  apogee/lamps-sky-fpi/apogee_det_map.txt            ZEMAX spot positions: trace tilt and slit curvature (apogee_drp, BSD-3)
  apogee/visits/*                                    real spectra of stars and a telluric model (SDSS DR16/DR17, public)
  lines/rousselot_list_v2.0.dat                      OH airglow, vacuum (Rousselot et al. 2000, A&A 354, 1134)
  lines/UNe.vac.apogee, lines/tharne.lines.vac.apogee  lamp lines as met in APOGEE (apogee_drp, BSD-3)

Everything is 0-based in the output; wavelengths are vacuum Angstrom.
"""
import base64
import json
import sys

import h5py
import numpy as np
from astropy.io import fits

data = sys.argv[1]
calibration = data + '/apogee/calibration/'
DATES = {'apo': ('60782', '59549_39870035'), 'lco': ('60768', '60044_44820015')}
CHIPS = {'a': 'R', 'b': 'G', 'c': 'B'}
# The apStar grid: 10^(4.179 + 6e-6 j), j < 8575.
GRID_START, GRID_STEP, GRID_SIZE = 4.179, 6e-6, 8575
grid = 10 ** (GRID_START + GRID_STEP * np.arange(GRID_SIZE))


def significant(value, digits):
    return float(f'{value:.{digits}g}')


def rough_polynomials():
    out = {}
    for line in open(calibration + 'rough_poly_coeffs.csv'):
        if line.startswith(('#', 'tele')):
            continue
        tele, colour, *numbers = line.strip().split(',')
        out[tele, colour] = [float(n) for n in numbers[:5]]
    return out


polynomials = rough_polynomials()
spots = np.array([[float(n) for n in line.split(',')] for line in open(data + '/apogee/lamps-sky-fpi/apogee_det_map.txt')
                  if line[:1].isdigit()])
spots = spots[(spots[:, 2] != 0) | (spots[:, 3] != 0)]  # the map has zeros where the optics were not traced


def optics(coefficients):
    """Magnification along the trace (relative to the chip centre) and slit curvature [px at the slit's end]."""
    u = np.linspace(-0.5, 0.5, 401)
    wave_of_u = sum(c * u ** k for k, c in enumerate(coefficients))
    inside = (spots[:, 0] * 1e4 > wave_of_u.min()) & (spots[:, 0] * 1e4 < wave_of_u.max())
    s = spots[inside]
    # Wavelength falls with x, so np.interp wants both reversed.
    position = np.interp(s[:, 0] * 1e4, wave_of_u[::-1], u[::-1])
    edge = s[:, 1] == 1.0
    fit = np.polyfit(position[edge], s[edge, 2], 2)
    # The middle field is the reference; 18 micron pixels; x grows as the wavelength falls, which is +y in the map.
    middle = s[:, 1] == 3.0
    curvature = np.median((s[edge, 3] - s[middle, 3]) / 0.018)
    return [significant(fit[1] / fit[2], 5), significant(fit[0] / fit[2], 5)], significant(curvature, 4)


def pack(values, scale):
    return base64.b64encode(np.clip(np.rint(values * scale), 0, 255).astype(np.uint8).tobytes()).decode()


def normalised_star(flux):
    """Flux over a running 95th percentile (301 px), 1 where there is none."""
    good = np.isfinite(flux) & (flux > 0)
    out = np.ones(GRID_SIZE)
    for j in np.flatnonzero(good):
        window = flux[max(0, j - 150):j + 151]
        out[j] = flux[j] / np.percentile(window[window > 0], 95)
    out[~good] = 1
    return np.clip(out, 0.02, 1.25)


stars = []
for name in ('2M05392474+4038437', '2M13564148+4342587'):
    with fits.open(f'{data}/apogee/visits/{name}/apStar-r6-{name}.fits') as f:
        stars.append({'name': name, 'flux': pack(normalised_star(np.asarray(f[1].data[0], float)), 200)})
with fits.open(data + '/apogee/visits/dr16/apVisit-r13-5095-55844-128.fits') as f:
    wave, flux, telluric = (np.concatenate([f[h].data[c][::-1] for c in (2, 1, 0)]).astype(float) for h in (4, 1, 7))
    both = np.where(np.isfinite(telluric) & (telluric > 0.02), telluric, 1)
    spectrum = np.interp(grid, wave, np.where(np.isfinite(flux) & (both > 0.3), flux / both, 0))
    stars.append({'name': 'apVisit-r13-5095-55844-128', 'flux': pack(normalised_star(spectrum), 200)})
    telluric = pack(np.interp(grid, wave, both), 250)

detectors = {}
positions = {}
for tele, (trace_date, profile_date) in DATES.items():
    for chip, colour in CHIPS.items():
        with h5py.File(f'{calibration}traceCenterPositions_{tele}_{trace_date}_{colour}.h5') as f:
            # 1-based in the file
            centres = np.asarray(f['fiber_trace_pos_near_chip_center']) - 1
        with h5py.File(f'{calibration}quartzTraceProfileParams_{tele}_{profile_date}_{colour}.h5') as f:
            heights = [[significant(c, 8) for c in f[f'gh_{j}_height_coeffs']] for j in range(int(f['gh_order'][0]) + 1)]
            fibres = np.asarray(f['fiber_index'])
        coefficients = polynomials[tele, colour]
        tilt, curvature = optics(coefficients)
        positions[f'{tele}-{chip}'] = [round(float(c), 3) for c in centres]
        detectors[f'{tele}-{chip}'] = {
            # highest power first, in the 1-based fibre index, which is clamped to profileFibres
            'profileHeights': heights,
            'profileFibres': [int(fibres.min()) + 1, int(fibres.max()) + 1],
            'wavelength': coefficients,
            'magnification': tilt,
            'slitCurvaturePx': curvature,
        }

if sys.argv[2:] == ['fibres']:
    about = ('Rows (0-based) of the 300 traces of each APOGEE detector near the middle column, ascending. '
             'Made by data/simulate/make.py from traceCenterPositions_*.h5 (ApogeeReduction.jl, MIT).')
    print(f'{{\n"about": {json.dumps(about)},\n"column": 1024,\n"positions": {{')
    print(',\n'.join(f'"{name}": {json.dumps(rows, separators=(",", ":"))}' for name, rows in positions.items()))
    print('}\n}')
    sys.exit()

oh = []
for line in open(data + '/lines/rousselot_list_v2.0.dat'):
    if line.startswith('#') or not line.strip():
        continue
    wave, intensity = (float(n) for n in line.split()[:2])
    if 15090 < wave < 17000 and intensity > 0.05:
        oh.append([round(wave, 3), significant(intensity, 4)])


def lamp(path, wave_column, flux_column):
    out = []
    for line in open(data + '/lines/' + path):
        if line.startswith('#') or not line.strip():
            continue
        words = line.split()
        out.append([round(float(words[wave_column]), 3), significant(float(words[flux_column]), 4)])
    return sorted(out)


document = {
    'about': 'Figures of the real instrument for the mock detector. Made by make.py, which names the sources; 0-based indices, vacuum Angstrom.',
    'grid': {'log10Start': GRID_START, 'log10Step': GRID_STEP, 'size': GRID_SIZE, 'starScale': 200, 'telluricScale': 250},
    # Mean over exposures of the cavity fits: lambda = twoL / (m + offset) (ApogeeReduction.jl)
    'fpi': {'apo': {'cavityTwoLAngstrom': 3.7363125e7, 'offset': 0.225}, 'lco': {'cavityTwoLAngstrom': 3.73610e7, 'offset': 0.20}},
    'oh': oh,
    'une': lamp('UNe.vac.apogee', 3, 4),
    'thar': lamp('tharne.lines.vac.apogee', 3, 5),
    'detectors': detectors,
    'telluric': telluric,
    'stars': stars,
}
# One key a line: a diff then says what changed.
print('{')
last = list(document)[-1]
for key, value in document.items():
    print(f'{json.dumps(key)}: {json.dumps(value, separators=(",", ":"))}{"" if key == last else ","}')
print('}')
