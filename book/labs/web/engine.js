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
 *
 * @typedef {Object} Block
 * @property {Layer} first  has the stride
 * @property {Layer} second
 * @property {number} stride
 * @property {number} before  pixels a side of its input
 * @property {number} after  and of its output
 */
(() => {
  "use strict";

  function bytes(base64) {
    const text = atob(base64);
    return Uint8Array.from(text, (letter) => letter.charCodeAt(0));
  }

  async function inflate(base64) {
    if (!globalThis.DecompressionStream) throw new Error("this browser cannot decompress the data");
    const stream = new Blob([bytes(base64)]).stream();
    const inflated = stream.pipeThrough(new DecompressionStream("deflate-raw"));
    return new Uint8Array(await new Response(inflated).arrayBuffer());
  }

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
    /** With the compiled kernel, in base64, if the browser can run it. */
    static async create(kernel) {
      const engine = new Engine();
      try {
        engine.compiled = (await WebAssembly.instantiate(bytes(kernel))).instance.exports;
        engine.memory = engine.compiled.memory;
      } catch {
        engine.compiled = null;
        engine.memory = { buffer: new ArrayBuffer(32 << 20) };
      }
      engine.next = engine.compiled ? engine.compiled.heap() >> 2 : 4;
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
    convolve(layer, image, added, output, before, after, stride) {
      const sizes = [after, after, before, layer.inputs, layer.outputs, stride, 1];
      if (this.compiled) {
        const places = [image, layer.weights, layer.bias, added, output].map((at) => at * 4);
        this.compiled.convolve(...places, ...sizes);
      } else {
        convolve(this.floats, image, layer.weights, layer.bias, added, output, ...sizes);
      }
    }
  }

  class Network {
    /** From what `take_apart.py` wrote. */
    static async create(engine, content) {
      const network = new Network();
      const whole = new Int8Array((await inflate(content.weights)).buffer);
      const numbers = new Float32Array((await inflate(content.numbers)).buffer);
      let [read, taken] = [0, 0];
      const take = (count) => numbers.subarray(taken, (taken += count));
      const layers = content.layers.map(([inputs, outputs]) => {
        const [scale, bias] = [take(outputs), take(outputs)];
        const weights = engine.take(9 * inputs * outputs);
        const layer = { inputs, outputs, weights, bias: engine.take(outputs) };
        engine.floats.set(bias, layer.bias);
        for (let o = 0; o < outputs; o++)
          for (let i = 0; i < inputs; i++)
            for (let k = 0; k < 9; k++) {
              const at = (((o >> 3) * 9 + k) * inputs + i) * 8 + (o & 7);
              engine.floats[weights + at] = whole[read++] * scale[o];
            }
        return layer;
      });
      const linear = { weight: take(10 * layers.at(-1).outputs), bias: take(10) };
      Object.assign(network, { engine, residual: content.residual, linear });
      network.stem = layers[0];
      network.stride = content.stride;
      network.side = Math.ceil(28 / content.stride);
      /** @type {Block[]} */
      network.blocks = [];
      let before = network.side;
      for (let at = 1; at < layers.length; at += 2) {
        const [first, second] = layers.slice(at, at + 2);
        const stride = first.inputs === first.outputs ? 1 : 2;
        const after = Math.ceil(before / stride);
        network.blocks.push({ first, second, stride, before, after });
        before = after;
      }
      const padded = (side, channels) => engine.take((side + 2) ** 2 * channels);
      network.image = padded(28, 1);
      /** Four images for each size: a block's input, middle, shortcut and output. */
      network.images = {};
      for (const { after, second } of network.blocks)
        network.images[after] ??= [0, 1, 2, 3].map(() => padded(after, second.outputs));
      return network;
    }

    /**
     * The ten logits of a gray image of 28 by 28 bytes.
     * @param {Uint8Array} pixels
     * @param {number} offset  where it begins among them
     * @param {number[]} order  the blocks, by index, as they come one after the other
     * @param {Set<number>} off  the blocks that compute nothing
     */
    run(pixels, offset, order, off) {
      const { engine } = this;
      for (let y = 0; y < 28; y++)
        for (let x = 0; x < 28; x++) {
          const value = (pixels[offset + y * 28 + x] / 255 - 0.286) / 0.353;
          engine.floats[this.image + (y + 1) * 30 + x + 1] = value;
        }
      let x = this.images[this.side][0];
      engine.convolve(this.stem, this.image, 0, x, 28, this.side, this.stride);
      for (const index of order) {
        const block = this.blocks[index];
        const { first, second, stride, before, after } = block;
        const [middle, output, other] = this.images[after].filter((image) => image !== x);
        let added = 0;
        if (this.residual) added = stride === 1 ? x : this.shortcut(block, x, other);
        if (off.has(index)) {
          if (this.residual) x = added; // it has no negative value that a ReLU would change
          continue;
        }
        engine.convolve(first, x, 0, middle, before, after, stride);
        engine.convolve(second, middle, added, output, after, after, 1);
        x = output;
      }
      return this.classify(x);
    }

    /** Where the shape changes: every second pixel, and zeros for the new channels. */
    shortcut({ first, before, after }, image, output) {
      const { floats } = this.engine;
      const { inputs, outputs } = first;
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
      const { after: side, second } = this.blocks.at(-1);
      const mean = new Float64Array(second.outputs);
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

  Object.assign(labs, { Engine, Network, softmax, bytes, inflate });
})();
