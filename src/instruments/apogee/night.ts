/**
 * Raw files of an APOGEE night: where they lie, which card says what, what is too short to reduce.
 * Sources: sdss/almanac (cards, kinds, folders, chip flags), ApogeeReduction.jl (FPI and other lamps, the run list's
 * prefilters), apogee_drp (layout of .apz).
 */
import type { ExpectedCard, NightRules } from '../../core/night_rules.js';

const cards = (type: ExpectedCard['type'], required: boolean, names: string): ExpectedCard[] =>
  names.split(' ').map((keyword) => ({ keyword, type, required }));

const READ_COLUMNS = 2560;
const ROWS = 2048;

export const NIGHT_RULES: NightRules = {
  telescopes: ['apo', 'lco'],
  folders: ['{tele}/{mjd}', '{mjd}', ''],
  chips: ['a', 'b', 'c'],
  dictionary: {
    kind: ['IMAGETYP', 'EXPTYPE'],
    reads: ['NREAD', 'NFRAMES'],
    start: ['DATE-OBS'],
    exposureSeconds: ['EXPTIME'],
    quartz: ['LAMPQRTZ'],
    thar: ['LAMPTHAR'],
    une: ['LAMPUNE'],
    ditherPixels: ['DITHPIX'],
    plate: ['PLATEID'],
    design: ['DESIGNID'],
    configuration: ['CONFIGID'],
    field: ['FIELDID'],
    cartridge: ['CARTID'],
    map: ['MAPID'],
    comment: ['OBSCMNT'],
    chip: ['CHIP'],
    serial: ['DETSER'],
    bad: [], // no card of the known headers says so; sdss/almanac keeps its flagged_bad outside of the files
  },
  kinds: {
    object: 'object',
    dark: 'dark',
    internalflat: 'internalflat',
    domeflat: 'domeflat',
    quartzflat: 'quartzflat',
    quartz: 'quartzflat',
    twilightflat: 'twilightflat',
    arclamp: 'arclamp',
    arc: 'arclamp',
    blackbody: 'blackbody',
  },
  // An arc exposure with neither lamp is the Fabry-Perot.
  lampRules: [{ kind: 'arclamp', lamps: { thar: 0, une: 0 }, becomes: 'fpi' }],
  // More than three reads; a quartz flat may have three.
  prefilters: { leastReads: { quartzflat: 3, else: 4 }, chips: ['a', 'b', 'c'] },
  datamodel: {
    formats: {
      apz: [
        { kind: 'image', axes: [], bitpix: 0, compression: '' },
        { kind: 'image', axes: [READ_COLUMNS, ROWS], bitpix: 32, compression: 'RICE_1' },
      ],
      fits: [
        { kind: 'image', axes: [], bitpix: 0, compression: '' },
        { kind: 'image', axes: [READ_COLUMNS, ROWS], bitpix: 16, compression: '' },
      ],
    },
    cards: [
      ...cards('string', true, 'DATE-OBS IMAGETYP'),
      ...cards('number', true, 'EXPTIME NREAD LAMPQRTZ LAMPTHAR LAMPUNE'),
      ...cards('string', false, 'EXPTYPE TIMESYS CHIP DETSER CARTID NAME OBSCMNT PLATETYP'),
      ...cards('number', false, 'NFRAMES INTOFF INTDELAY DITHPIX PLATEID MAPID FIELDID DESIGNID CONFIGID SEEING FOCUS'),
      ...cards('number', false, 'COLLPIST COLPITCH TCAMMID TLSDETB'),
      // of the mock
      ...cards('number', false, 'FRAMENUM SIMSEED SIMDSEED'),
    ],
  },
};
