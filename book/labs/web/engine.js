/**
 * Residual and plain networks in the reader's browser: convolutions by the kernel in WebAssembly
 * SIMD (`kernel.c`), or in plain JavaScript where there is none.
 *
 * Images are float32 in one memory, with their channels side by side and a pixel of zeros around.
 *
 * @typedef {Object} Layer
 * @property {number} inputs  channels
 * @property {number} outputs  channels, a multiple of eight
 * @property {number} weights  where they are, in floats
 * @property {number} bias
 * @property {Float32Array} gain  of the batch normalization that is folded into it
 * @property {Float32Array} shift
 *
 * @typedef {Object} Linear
 * @property {Float32Array} weight  ten rows
 * @property {Float32Array} bias
 *
 * @typedef {Object} Block
 * @property {number} at  which layer its first is, the one with the stride
 * @property {number} inputs  channels
 * @property {number} outputs
 * @property {number} stride
 * @property {number} before  pixels a side of its input
 * @property {number} after  and of its output
 */
const inference = (() => {
  "use strict";

  /** The kernel in plain JavaScript; positions are in floats, `added` is 0 where nothing is. */
  function convolve(
    f, image, weights, bias, added, output,
    rows, columns, imageColumns, channels, outputs, stride, relu,
  ) {
    const imageRow = (imageColumns + 2) * channels;
    const outputRow = (columns + 2) * outputs;
    for (let group = 0; group < outputs; group += 8, weights += 9 * channels * 8)
      for (let row = 0; row < rows; row++)
        for (let column = 0; column < columns; column++) {
          const b = bias + group;
          let s0 = f[b], s1 = f[b + 1], s2 = f[b + 2], s3 = f[b + 3];
          let s4 = f[b + 4], s5 = f[b + 5], s6 = f[b + 6], s7 = f[b + 7];
          let w = weights;
          for (let y = 0; y < 3; y++) {
            let p = image + (row * stride + y) * imageRow + column * stride * channels;
            for (const end = p + 3 * channels; p < end; p++, w += 8) {
              const value = f[p];
              if (value === 0) continue; // after a ReLU, about half of them
              s0 += value * f[w]; s1 += value * f[w + 1];
              s2 += value * f[w + 2]; s3 += value * f[w + 3];
              s4 += value * f[w + 4]; s5 += value * f[w + 5];
              s6 += value * f[w + 6]; s7 += value * f[w + 7];
            }
          }
          const at = (row + 1) * outputRow + (column + 1) * outputs + group;
          const sums = [s0, s1, s2, s3, s4, s5, s6, s7];
          for (let i = 0; i < 8; i++) {
            const sum = added ? sums[i] + f[added + at + i] : sums[i];
            f[output + at + i] = relu && sum < 0 ? 0 : sum;
          }
        }
  }

  class Engine {
    /** @type {any} what the compiled kernel exports, or null */
    compiled = null;
    /** @type {any} */
    memory = { buffer: new ArrayBuffer(0) };
    next = 4; // the first free float
    floats = new Float32Array(0);

    /** With the compiled kernel, in base64, if the browser can run it. */
    static async create(kernel) {
      const engine = new Engine();
      try {
        engine.compiled = (await WebAssembly.instantiate(labs.bytes(kernel))).instance.exports;
        engine.memory = engine.compiled.memory;
      } catch {
        engine.compiled = null;
        engine.memory = { buffer: new ArrayBuffer(32 << 20) };
      }
      if (engine.compiled) engine.next = engine.compiled.heap() >> 2;
      engine.floats = new Float32Array(engine.memory.buffer);
      return engine;
    }

    /** The position, in floats, of so many zeros. */
    take(count) {
      const at = this.next;
      this.next = (at + count + 3) & ~3;
      const missing = this.next * 4 - this.memory.buffer.byteLength;
      if (missing > 0) {
        this.memory.grow(Math.ceil(missing / 65536) + 16);
        this.floats = new Float32Array(this.memory.buffer);
      }
      return at;
    }

    /** Convolution, addition and ReLU; `before` and `after` are pixels a side. */
    convolve(layer, image, added, output, before, after, stride, relu) {
      const sizes = [after, after, before, layer.inputs, layer.outputs, stride, Number(relu)];
      if (this.compiled) {
        const places = [image, layer.weights, layer.bias, added, output].map((at) => at * 4);
        this.compiled.convolve(...places, ...sizes);
      } else {
        const places = [image, layer.weights, layer.bias, added, output];
        convolve(...[this.floats, ...places, ...sizes]);
      }
    }
  }

  /** @returns {Layer} without weights and bias yet */
  function emptyLayer(engine, inputs, outputs, gain, shift) {
    const weights = engine.take(9 * inputs * outputs);
    return { inputs, outputs, weights, bias: engine.take(outputs), gain, shift };
  }

  /** Call for each pixel of an image, with the place of its first channel. */
  function eachPixel(side, channels, call) {
    for (let y = 1; y <= side; y++)
      for (let x = 1; x <= side; x++) call((y * (side + 2) + x) * channels);
  }

  const EPSILON = 1e-5;

  /** Batch normalization by these statistics, addition and ReLU, in place. */
  function normalize(image, side, { outputs, gain, shift }, mean, variance, added) {
    const factor = Float64Array.from(gain, (g, c) => g / Math.sqrt(variance[c] + EPSILON));
    eachPixel(side, outputs, (p) => {
      for (let c = 0; c < outputs; c++) {
        const value = (image[p + c] - mean[c]) * factor[c] + shift[c];
        image[p + c] = Math.max(0, added ? value + added[p + c] : value);
      }
    });
  }

  /**
   * Fold statistics over `n` values a channel into weights. The variance is corrected for being
   * taken around these values' own mean, as PyTorch's running variance is.
   */
  function settle(engine, from, to, mean, variance, n) {
    const { inputs, outputs, gain, shift } = from;
    const { floats } = engine;
    for (let o = 0; o < outputs; o++) {
      const factor = gain[o] / Math.sqrt((variance[o] * n) / (n - 1) + EPSILON);
      floats[to.bias + o] = (floats[from.bias + o] - mean[o]) * factor + shift[o];
      for (let i = 0; i < 9 * inputs; i++) {
        const at = ((o >> 3) * 9 * inputs + i) * 8 + (o & 7);
        floats[to.weights + at] = floats[from.weights + at] * factor;
      }
    }
  }

  class Network {
    /**
     * What `take_apart.py` wrote of a network.
     * @param {Engine} engine
     * @param {any} content
     * @param {{ layers: Layer[], linear: Linear }} parts
     */
    constructor(engine, content, { layers, linear }) {
      this.engine = engine;
      /** @type {string} */
      this.name = content.name;
      /** @type {boolean} */
      this.residual = content.residual;
      /** Right answers of the whole network. @type {number} */
      this.whole = content.right;
      /** Right answers after each lesion that was tried. @type {Map<string, number>} */
      this.answers = new Map();
      /** @type {number} */
      this.stride = content.stride;
      this.side = Math.ceil(28 / this.stride);
      this.linear = linear;
      /** With the statistics from training. */
      this.trained = layers;
      /** The same weights with other statistics; `renew` computes them. @type {Layer[]} */
      this.renewed = [];
      /** @type {Block[]} */
      this.blocks = [];
      let before = this.side;
      for (let at = 1; at < layers.length; at += 2) {
        const { inputs, outputs } = layers[at];
        const stride = inputs === outputs ? 1 : 2;
        const after = Math.ceil(before / stride);
        this.blocks.push({ at, inputs, outputs, stride, before, after });
        before = after;
      }
      const padded = (side, channels) => engine.take((side + 2) ** 2 * channels);
      this.image = padded(28, 1);
      /** Four images for each size: a block's input, middle, shortcut and output.
       * @type {Object<number, number[]>} */
      this.images = {};
      for (const { after, outputs } of this.blocks)
        this.images[after] ??= [0, 1, 2, 3].map(() => padded(after, outputs));
    }

    /** From what `take_apart.py` wrote. */
    static async create(engine, content) {
      const whole = new Int8Array((await labs.inflate(content.weights)).buffer);
      const numbers = new Float32Array((await labs.inflate(content.numbers)).buffer);
      let [read, taken] = [0, 0];
      const take = (count) => numbers.subarray(taken, (taken += count));
      const layers = content.layers.map(([inputs, outputs]) => {
        const [scale, bias, gain, shift] = [0, 1, 2, 3].map(() => take(outputs));
        const layer = emptyLayer(engine, inputs, outputs, gain, shift);
        engine.floats.set(bias, layer.bias);
        for (let o = 0; o < outputs; o++)
          for (let i = 0; i < inputs; i++)
            for (let k = 0; k < 9; k++) {
              const at = (((o >> 3) * 9 + k) * inputs + i) * 8 + (o & 7);
              engine.floats[layer.weights + at] = whole[read++] * scale[o];
            }
        return layer;
      });
      const linear = { weight: take(10 * layers.at(-1).outputs), bias: take(10) };
      return new Network(engine, content, { layers, linear });
    }

    /** Put a gray image of 28 by 28 bytes before the stem. */
    enter(pixels, offset) {
      for (let y = 0; y < 28; y++)
        for (let x = 0; x < 28; x++) {
          const value = (pixels[offset + y * 28 + x] / 255 - 0.286) / 0.353;
          this.engine.floats[this.image + (y + 1) * 30 + x + 1] = value;
        }
    }

    /**
     * The ten logits of a gray image of 28 by 28 bytes.
     * @param {Uint8Array} pixels
     * @param {number} offset  where it begins among them
     * @param {number[]} order  the blocks, by index, as they come one after the other
     * @param {Set<number>} off  the blocks that compute nothing
     * @param {Layer[]} [layers]  `trained`, or `renewed`
     */
    run(pixels, offset, order, off, layers = this.trained) {
      const { engine } = this;
      this.enter(pixels, offset);
      let x = this.images[this.side][0];
      engine.convolve(layers[0], this.image, 0, x, 28, this.side, this.stride, true);
      for (const index of order) {
        const block = this.blocks[index];
        const { at, stride, before, after } = block;
        const [middle, output, other] = this.images[after].filter((image) => image !== x);
        let added = 0;
        if (this.residual) added = stride === 1 ? x : this.shortcut(block, x, other);
        if (off.has(index)) {
          if (this.residual) x = added; // it has no negative value that a ReLU would change
          continue;
        }
        engine.convolve(layers[at], x, 0, middle, before, after, stride, true);
        engine.convolve(layers[at + 1], middle, added, output, after, after, 1, true);
        x = output;
      }
      return this.classify(x);
    }

    /**
     * Compute `renewed`: batch normalization with the mean and the variance that its inputs have
     * over these images, in this order and without the blocks that are off. It pauses after each
     * image.
     * @param {Uint8Array} pixels
     * @param {number} count  of images
     * @param {number[]} order
     * @param {Set<number>} off
     * @param {() => Promise<boolean>} pause  whether to go on
     * @returns {Promise<boolean>} whether it came to the end
     */
    async renew(pixels, count, order, off, pause) {
      const { engine } = this;
      if (!this.renewed.length)
        this.renewed = this.trained.map(({ inputs, outputs, gain, shift }) =>
          emptyLayer(engine, inputs, outputs, gain, shift),
        );

      /** All images after one layer, which `compute` puts into the engine's image `output`. */
      const through = async (at, side, output, compute, added) => {
        const layer = this.trained[at];
        const size = (side + 2) ** 2 * layer.outputs;
        const all = new Float32Array(count * size);
        const each = async (call) => {
          for (let i = 0; i < count; i++) {
            call(all.subarray(i * size, (i + 1) * size), i);
            if (!(await pause())) return false;
          }
          return true;
        };
        const n = count * side ** 2;
        const mean = new Float64Array(layer.outputs);
        const variance = new Float64Array(layer.outputs);
        const passes = [
          (image, i) => {
            compute(i);
            image.set(engine.floats.subarray(output, output + size));
            eachPixel(side, layer.outputs, (p) => {
              for (let c = 0; c < mean.length; c++) mean[c] += image[p + c] / n;
            });
          },
          (image) =>
            eachPixel(side, layer.outputs, (p) => {
              for (let c = 0; c < mean.length; c++)
                variance[c] += (image[p + c] - mean[c]) ** 2 / n;
            }),
          (image, i) => normalize(image, side, layer, mean, variance, added(i)),
        ];
        for (const pass of passes) if (!(await each(pass))) return null;
        settle(engine, layer, this.renewed[at], mean, variance, n);
        return all;
      };

      /** Put one of the images, which lie one after the other, into the engine. */
      const put = (all, i, image) => {
        const size = all.length / count;
        engine.floats.set(all.subarray(i * size, (i + 1) * size), image);
      };

      const [first] = this.images[this.side];
      const stem = (i) => {
        this.enter(pixels, i * 784);
        engine.convolve(this.trained[0], this.image, 0, first, 28, this.side, this.stride, false);
      };
      let all = await through(0, this.side, first, stem, () => null);
      for (const index of order) {
        if (!all) return false;
        const block = this.blocks[index];
        const { at, stride, before, after } = block;
        if (off.has(index) && !(this.residual && stride === 2)) continue;
        const [x, middle, output] = this.images[after];
        const [source] = this.images[before];
        const input = all;
        const size = (after + 2) ** 2 * block.outputs;
        const added = (i) => {
          if (!this.residual) return null;
          if (stride === 1) return input.subarray(i * size, (i + 1) * size);
          put(input, i, source);
          const shortcut = this.shortcut(block, source, output);
          return engine.floats.subarray(shortcut, shortcut + size);
        };
        if (off.has(index)) {
          all = new Float32Array(count * size);
          for (let i = 0; i < count; i++) all.set(added(i) ?? [], i * size);
          continue;
        }
        const one = (i) => {
          put(input, i, source);
          engine.convolve(this.trained[at], source, 0, middle, before, after, stride, false);
        };
        const middles = await through(at, after, middle, one, () => null);
        if (!middles) return false;
        const two = (i) => {
          put(middles, i, middle);
          engine.convolve(this.trained[at + 1], middle, 0, x, after, after, 1, false);
        };
        all = await through(at + 1, after, x, two, added);
      }
      return all !== null;
    }

    /** Where the shape changes: every second pixel, and zeros for the new channels. */
    shortcut({ inputs, outputs, before, after }, image, output) {
      const { floats } = this.engine;
      const zeros = (outputs - inputs) >> 1;
      for (let y = 0; y < after; y++)
        for (let x = 0; x < after; x++) {
          const from = image + ((2 * y + 1) * (before + 2) + 2 * x + 1) * inputs;
          const to = output + ((y + 1) * (after + 2) + x + 1) * outputs;
          floats.fill(0, to, to + outputs);
          floats.copyWithin(to + zeros, from, from + inputs);
        }
      return output;
    }

    /** The mean over the image, and the linear layer. */
    classify(image) {
      const { floats } = this.engine;
      const { after: side, outputs } = this.blocks[this.blocks.length - 1];
      const mean = new Float64Array(outputs);
      for (let y = 1; y <= side; y++)
        for (let x = 1; x <= side; x++) {
          const pixel = image + (y * (side + 2) + x) * mean.length;
          for (let c = 0; c < mean.length; c++) mean[c] += floats[pixel + c] / side ** 2;
        }
      const { weight, bias } = this.linear;
      return Float32Array.from(bias, (start, k) =>
        mean.reduce((sum, value, c) => sum + value * weight[k * mean.length + c], start),
      );
    }
  }

  /** Probabilities of logits. */
  function softmax(logits) {
    const top = Math.max(...logits);
    const powers = Array.from(logits, (value) => Math.exp(value - top));
    const sum = powers.reduce((one, two) => one + two);
    return powers.map((value) => value / sum);
  }

  return { Engine, Network, softmax };
})();
