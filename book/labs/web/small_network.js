/**
 * A small network before training, computed in the page: one stage of blocks between a ReLU and the
 * mean over the pixels, on images of noise. It is `small` in `thermometer.py`.
 */
const smallNetwork = (() => {
  "use strict";
  const { normals, passed, relu, sum, normalize, throughNorm } = untrained;
  const [CHANNELS, SIDE, IMAGES, CLASSES] = [8, 8, 4, 10];
  const PIXELS = SIDE ** 2;
  const SIZE = IMAGES * PIXELS * CHANNELS;
  const WEIGHTS = 9 * CHANNELS ** 2;
  const HEAD = SIZE + CLASSES * CHANNELS; // where the convolutions' weights begin

  /** 3×3 convolutions of all images by the engine, and back through them. */
  function convolutions(engine) {
    const [row, across] = [SIDE * CHANNELS, (SIDE + 2) * CHANNELS];
    const [image, output] = [0, 1].map(() => engine.take((SIDE + 2) * across));
    const none = new Float32Array();
    const places = { weights: engine.take(WEIGHTS), bias: engine.take(CHANNELS) };
    const layer = { inputs: CHANNELS, outputs: CHANNELS, gain: none, shift: none, ...places };

    /** One pixel around the image: zeros, or what is on its opposite side. */
    function pad(circular) {
      const { floats } = engine;
      const at = (y, x) => image + y * across + x * CHANNELS;
      const around = (place) => ((place + SIDE - 1) % SIDE) + 1;
      for (let y = 0; y < SIDE + 2; y++)
        for (let x = 0; x < SIDE + 2; x += y % (SIDE + 1) ? SIDE + 1 : 1) {
          const from = at(around(y), around(x));
          if (circular) floats.copyWithin(at(y, x), from, from + CHANNELS);
          else floats.fill(0, at(y, x), at(y, x) + CHANNELS);
        }
    }

    /** The weights in the kernel's order; on the way back turned round. */
    function load(weights, number, back) {
      const { floats } = engine;
      const scale = Math.sqrt(2 / (9 * CHANNELS));
      for (let o = 0; o < CHANNELS; o++)
        for (let i = 0; i < CHANNELS; i++)
          for (let k = 0; k < 9; k++) {
            const at = back ? ((8 - k) * CHANNELS + o) * 8 + i : (k * CHANNELS + i) * 8 + o;
            const from = HEAD + number * WEIGHTS + (o * CHANNELS + i) * 9 + k;
            floats[layer.weights + at] = weights[from] * scale;
          }
    }

    return function convolve(rows, weights, number, circular, back) {
      load(weights, number, back);
      // In float32 the numbers of deep networks would be too small, or too large.
      let most = 0;
      for (let p = 0; p < SIZE; p++) most = Math.max(most, Math.abs(rows[p]));
      const unit = most || 1;
      const { floats } = engine;
      const found = new Float64Array(SIZE);
      for (let start = 0; start < SIZE; start += PIXELS * CHANNELS) {
        for (let y = 0; y < SIDE; y++)
          for (let x = 0; x < row; x++)
            floats[image + (y + 1) * across + CHANNELS + x] = rows[start + y * row + x] / unit;
        pad(circular);
        engine.convolve(layer, image, 0, output, SIDE, SIDE, 1, false);
        for (let y = 0; y < SIDE; y++)
          for (let x = 0; x < row; x++)
            found[start + y * row + x] = floats[output + (y + 1) * across + CHANNELS + x] * unit;
      }
      return found;
    };
  }

  const size = (rows) => Math.sqrt(rows.reduce((total, value) => total + value ** 2, 0));

  /**
   * The derivative of the mean cross-entropy by the last block's output: the mean over the pixels,
   * the linear layer, and class number i for image number i.
   */
  function fromLoss(x, weights) {
    const gradient = new Float64Array(SIZE);
    const weight = (k, c) => weights[SIZE + k * CHANNELS + c] / Math.sqrt(CHANNELS);
    for (let image = 0; image < IMAGES; image++) {
      const start = image * PIXELS * CHANNELS;
      const mean = new Float64Array(CHANNELS);
      for (let p = 0; p < PIXELS * CHANNELS; p++) mean[p % CHANNELS] += x[start + p] / PIXELS;
      const logits = Array.from({ length: CLASSES }, (_, k) =>
        mean.reduce((total, value, c) => total + value * weight(k, c), 0),
      );
      const errors = inference.softmax(logits).map((share, k) => share - Number(k === image));
      const each = mean.map((_, c) =>
        errors.reduce((total, error, k) => total + error * weight(k, c), 0),
      );
      for (let p = 0; p < PIXELS * CHANNELS; p++)
        gradient[start + p] = each[p % CHANNELS] / (PIXELS * IMAGES);
    }
    return gradient;
  }

  /**
   * At the input of each block: the signal's root mean square over that at the first block, and the
   * gradient's norm over that at the last. `shortcut` (λ) is 0 in a plain network.
   */
  function sizes(through, { blocks, shortcut, branch, batchNorm, circular, seed }) {
    const weights = normals(seed, HEAD + 2 * blocks * WEIGHTS);
    const convolve = (rows, number, back = false) =>
      through(rows, weights, number, circular, back);
    const norm = (rows) => (batchNorm ? normalize(rows, CHANNELS) : { out: rows });
    const back = (gradient, step) => (batchNorm ? throughNorm(gradient, step) : gradient);

    let x = relu(weights.subarray(0, SIZE));
    const steps = [];
    const signal = [];
    for (let block = 0; block < blocks; block++) {
      signal.push(size(x));
      const one = norm(convolve(x, 2 * block));
      const two = norm(convolve(relu(one.out), 2 * block + 1));
      x = relu(sum(shortcut, x, branch, two.out));
      steps.push({ one, two, out: x });
    }
    let gradient = fromLoss(x, weights);
    const norms = [];
    for (let block = blocks - 1; block >= 0; block--) {
      const { one, two, out } = steps[block];
      gradient = passed(gradient, out);
      const middle = convolve(back(gradient, two), 2 * block + 1, true);
      const first = back(passed(middle, one.out), one);
      gradient = sum(shortcut, gradient, branch, convolve(first, 2 * block, true));
      norms.unshift(size(gradient));
    }
    return {
      signal: signal.map((value) => value / signal[0]),
      gradient: norms.map((value) => value / norms[blocks - 1]),
    };
  }

  /** What computes `sizes` with the engine. */
  function on(engine) {
    const through = convolutions(engine);
    return (settings) => sizes(through, settings);
  }

  return { on };
})();
