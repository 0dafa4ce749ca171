/**
 * What the labs with untrained networks share: their weights, drawn as `shattering.py` draws them
 * so that Python can say what should be seen, and batch normalization with its derivative.
 *
 * Rows of units lie one after the other, in float64.
 *
 * @typedef {Object} Normalized
 * @property {Float64Array} out
 * @property {Float64Array} scale  what the derivative needs
 */
const untrained = (() => {
  "use strict";

  /** @type {Map<number, Float64Array>} */
  const known = new Map();

  /** Standard normal numbers: mulberry32, and of each two uniform ones a normal one. */
  function normals(seed, count) {
    const had = known.get(seed);
    if (had && had.length >= count) return had;
    let a = seed;
    const uniform = () => {
      a = (a + 0x6d2b79f5) | 0;
      let t = Math.imul(a ^ (a >>> 15), 1 | a);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return (((t ^ (t >>> 14)) >>> 0) + 0.5) / 2 ** 32;
    };
    const numbers = Float64Array.from({ length: count }, () => {
      const radius = Math.sqrt(-2 * Math.log(uniform()));
      return radius * Math.cos(2 * Math.PI * uniform());
    });
    known.set(seed, numbers);
    return numbers;
  }

  /** `rows`, and 0 where `open` is not above 0. */
  function passed(rows, open) {
    const found = new Float64Array(rows.length);
    for (let p = 0; p < rows.length; p++) if (open[p] > 0) found[p] = rows[p];
    return found;
  }

  const relu = (rows) => passed(rows, rows);

  /** one · a + two · b */
  function sum(one, a, two, b) {
    const found = new Float64Array(a.length);
    for (let p = 0; p < found.length; p++) found[p] = one * a[p] + two * b[p];
    return found;
  }

  /** The mean over the rows of each unit's `one` times its `two`. */
  function meanProducts(one, two, units) {
    const means = new Float64Array(units);
    for (let p = 0; p < one.length; p += units)
      for (let unit = 0; unit < units; unit++) means[unit] += one[p + unit] * two[p + unit];
    for (let unit = 0; unit < units; unit++) means[unit] *= units / one.length;
    return means;
  }

  /** The mean over the rows of each unit. */
  function means(rows, units) {
    const found = new Float64Array(units);
    for (let p = 0; p < rows.length; p += units)
      for (let unit = 0; unit < units; unit++) found[unit] += rows[p + unit];
    for (let unit = 0; unit < units; unit++) found[unit] *= units / rows.length;
    return found;
  }

  /** Batch normalization over the rows. @returns {Normalized} */
  function normalize(rows, units) {
    const mean = means(rows, units);
    const out = new Float64Array(rows.length);
    for (let p = 0; p < rows.length; p += units)
      for (let unit = 0; unit < units; unit++) out[p + unit] = rows[p + unit] - mean[unit];
    const scale = meanProducts(out, out, units);
    for (let unit = 0; unit < units; unit++) scale[unit] = 1 / Math.sqrt(scale[unit] + 1e-5);
    for (let p = 0; p < rows.length; p += units)
      for (let unit = 0; unit < units; unit++) out[p + unit] *= scale[unit];
    return { out, scale };
  }

  /** The derivative of a loss by what was normalized, from that by the `out`. */
  function throughNorm(gradient, { out, scale }) {
    const units = scale.length;
    const mean = means(gradient, units);
    const along = meanProducts(gradient, out, units);
    const found = new Float64Array(out.length);
    for (let p = 0; p < out.length; p += units)
      for (let unit = 0; unit < units; unit++)
        found[p + unit] =
          scale[unit] * (gradient[p + unit] - mean[unit] - out[p + unit] * along[unit]);
    return found;
  }

  return { normals, passed, relu, sum, normalize, throughNorm };
})();
