// Colours as edits have them (#rrggbb, a CSS name, or [a, b] of CIELAB) as colours of CSS.

const MIDDLE = 62; // lightness at which [a, b] is shown

export function css(color) {
  if (color === null || color === undefined) return 'transparent';
  return typeof color === 'string' ? color : labToHex(MIDDLE, ...color);
}

function labToHex(lightness, a, b) {
  const fy = (lightness + 16) / 116;
  const [x, y, z] = [0.95047 * inverse(fy + a / 500), inverse(fy), 1.08883 * inverse(fy - b / 200)];
  const linear = [
    3.2406 * x - 1.5372 * y - 0.4986 * z,
    -0.9689 * x + 1.8758 * y + 0.0415 * z,
    0.0557 * x - 0.204 * y + 1.057 * z,
  ];
  return '#' + linear.map((value) => byte(value).toString(16).padStart(2, '0')).join('');
}

function inverse(t) {
  return t > 6 / 29 ? t ** 3 : (3 * 36 * (t - 4 / 29)) / 841;
}

function byte(linear) {
  const value = linear <= 0.0031308 ? 12.92 * linear : 1.055 * linear ** (1 / 2.4) - 0.055;
  return Math.round(255 * Math.min(1, Math.max(0, value)));
}
