/**
 * Nested classes: a target that the reader draws by thirteen points, the nearest function of a class
 * of waves, and how far it is, for classes that contain each other and for classes that do not.
 */
(() => {
  "use strict";
  const { element, drawn, picked, ranged, settings, attempt, note, followPointer } = labs;
  const [POINTS, MOST, LEVELS] = [13, 6, 10];
  const KINDS = [
    ["nested", "up to k"],
    ["alone", "k alone"],
  ];
  const DIGITS = "0123456789abcdefghijk"; // of a height from −10 to 10
  const BEGIN = "kiihb522ajje3";
  const [WIDTH, HEIGHT] = [340, 170];

  const x = (place) => 14 + ((WIDTH - 28) * place) / (POINTS - 1);
  const y = (value) => HEIGHT / 2 - (value * (HEIGHT / 2 - 12)) / LEVELS;
  const heights = (text) => [...text].map((digit) => DIGITS.indexOf(digit) - LEVELS);
  const length = (values) => Math.hypot(...values);

  /** The frequencies of a class: the constant is 0. */
  const frequencies = (kind, k) => (kind === "nested" ? [...Array(k + 1).keys()] : [k]);

  /** The nearest function of a class, at any place: waves are orthogonal on equal distances. */
  function nearest(target, kind, k) {
    const angle = (place) => (2 * Math.PI * place) / POINTS;
    const waves = frequencies(kind, k).map((frequency) => {
      const along = (wave) =>
        target.reduce((sum, value, i) => sum + value * wave(frequency * angle(i)), 0) / POINTS;
      const scale = frequency === 0 ? 1 : 2;
      return [frequency, scale * along(Math.cos), scale * along(Math.sin)];
    });
    return (place) =>
      waves.reduce((sum, [frequency, even, odd]) => {
        const at = frequency * angle(place);
        return sum + even * Math.cos(at) + odd * Math.sin(at);
      }, 0);
  }

  /** From the target to the nearest function, as a share of its norm. */
  function distance(target, kind, k) {
    const found = nearest(target, kind, k);
    return length(target.map((value, i) => value - found(i))) / (length(target) || 1);
  }
})();
