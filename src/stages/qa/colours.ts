/** Colours of data-quality bits: the same on every page. They must be told apart on light and on dark ground. */

/** Those that calibrations use, by name. */
const COLOURS: Readonly<Record<string, string>> = {
  REFERENCE_PIXEL: '#8c8c8c',
  BAD_REFERENCE: '#5f6b7a',
  NO_DARK: '#a3a35c',
  NEGATIVE_DARK: '#2a7fd4',
  HOT: '#e0442a',
  LOW_FLAT: '#1f9e5a',
  BAD_CHI2: '#b0722f',
  SATURATED: '#d0679d',
  PARTLY_SATURATED: '#d9a0c0',
  NO_DATA: '#6e6e6e',
  NO_CALIBRATION: '#8a54c9',
  PERSISTENCE: '#e69a00',
  UNSTABLE_FLAT: '#1ba8c4',
  HIGH_FLAT: '#9c8a00',
  NOISY: '#b5651d',
  TELEGRAPH: '#e05aa8',
  NO_FLAT: '#7a7a2a',
};
/** For the others, in turn. */
const OTHERS = ['#4f9d9d', '#9d4f6e', '#6e9d4f', '#4f5f9d', '#9d7d4f', '#7d4f9d'];

export function bitColour(bit: number, name: string): string {
  return COLOURS[name] ?? (OTHERS[bit % OTHERS.length] as string);
}

/** Of amplifiers and other few lines in one plot (after Okabe and Ito 2008, without yellow). */
export const LINE_COLOURS = ['#2a7fd4', '#e0442a', '#1f9e5a', '#b06fd0', '#e69a00', '#1ba8c4', '#9c8a00', '#d0679d'];
