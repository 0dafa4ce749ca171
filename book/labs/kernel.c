// A 3×3 convolution with bias, and if wanted an addition and a ReLU, for WebAssembly SIMD.
//
// Images are float32 with their channels side by side, and have one pixel of zeros all around:
// (height + 2, width + 2, channels). Weights are in groups of eight output channels:
// (output channels / 8, 3, 3, input channels, 8). Four pixels of an output row are computed
// together, so that each weight is loaded once for the four.
#include <wasm_simd128.h>

#define EXPORT(name) __attribute__((export_name(name)))

extern unsigned char __heap_base;

// The first byte that is free for images and weights.
EXPORT("heap") int heap(void) { return (int)&__heap_base; }

// `rows` and `columns` are the output's, at least 4; `added` is null, or an image like the output.
EXPORT("convolve")
void convolve(const float *restrict image, const float *restrict weights,
              const float *restrict bias, const float *restrict added, float *restrict output,
              int rows, int columns, int image_columns, int channels, int output_channels,
              int stride, int relu) {
  const int image_row = (image_columns + 2) * channels;
  const int output_row = (columns + 2) * output_channels;
  const int step = stride * channels;
  const v128_t zero = wasm_f32x4_splat(0);
  for (int group = 0; group < output_channels; group += 8, weights += 9 * channels * 8) {
    for (int row = 0; row < rows; row++) {
      for (int start = 0; start < columns; start += 4) {
        // The last four may overlap those before them.
        const int column = start + 4 <= columns ? start : columns - 4;
        v128_t sums[8];
        for (int i = 0; i < 8; i++) sums[i] = wasm_v128_load(bias + group + i % 2 * 4);
        const float *weight = weights;
        for (int y = 0; y < 3; y++) {
          const float *pixel = image + (row * stride + y) * image_row + column * step;
          for (int k = 3 * channels; k; k--, pixel++, weight += 8) {
            const v128_t low = wasm_v128_load(weight), high = wasm_v128_load(weight + 4);
#pragma unroll
            for (int i = 0; i < 4; i++) {
              const v128_t value = wasm_v128_load32_splat(pixel + i * step);
              sums[2 * i] = wasm_f32x4_add(sums[2 * i], wasm_f32x4_mul(value, low));
              sums[2 * i + 1] = wasm_f32x4_add(sums[2 * i + 1], wasm_f32x4_mul(value, high));
            }
          }
        }
        const int first = (row + 1) * output_row + (column + 1) * output_channels + group;
        for (int i = 0; i < 8; i++) {
          const int at = first + i / 2 * output_channels + i % 2 * 4;
          if (added) sums[i] = wasm_f32x4_add(sums[i], wasm_v128_load(added + at));
          if (relu) sums[i] = wasm_f32x4_pmax(zero, sums[i]);
          wasm_v128_store(output + at, sums[i]);
        }
      }
    }
  }
}
