// Rows of the output fall to threads. A thread goes down its rows once, and the backward pass
// takes both gradients on the way: x and dy are read from memory a single time.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "common/parallel_for.h"
#include "depthwise_conv2d/planar-inl.h"
#include "depthwise_conv2d/worker-inl.h"

namespace lamina::depthwise_conv2d::LAMINA_ISA {
namespace {

constexpr int64_t grain_macs = 128 * 1024;  // fewer do not repay a thread

int threads_for(const Plan& plan) {
  const Shape& shape = plan.shape;
  const int64_t macs = shape.images * shape.vertical.output_size * shape.horizontal.output_size *
                       plan.groups * plan.pitch.column * shape.taps();
  return thread_count_for(macs, grain_macs);
}

// Calls row(i) for the thread's rows of slices so high, and begin(image, group) before those of a
// slice. A group's images follow one another: its weights and its sums stay in the first cache.
template <typename Begin, typename Body>
void for_rows(const Plan& plan, int64_t height, Range range, const Begin& begin, const Body& row) {
  for (int64_t at = range.begin; at < range.end; ++at) {
    const int64_t slice = at / height, i = at % height;
    if (i == 0 || at == range.begin) begin(slice % plan.shape.images, slice / plan.shape.images);
    row(i);
  }
  streaming_fence();
}

// A result is found again in a cache if the call reads and writes fewer bytes than this. From there
// on even a layer that reads the result next gains by streaming: an ordinary store fetches its line
// first, and drives out what the call itself reads.
constexpr int64_t cached_bytes = int64_t{8} << 20;

int64_t bytes_of(const Shape& shape, int64_t channels, int64_t height, int64_t width) {
  return shape.images * channels * height * width * static_cast<int64_t>(sizeof(float));
}
int64_t input_bytes(const Shape& shape) {
  return bytes_of(shape, shape.channels, shape.vertical.size, shape.horizontal.size);
}
int64_t output_bytes(const Shape& shape) {
  return bytes_of(shape, shape.outputs(), shape.vertical.output_size, shape.horizontal.output_size);
}

// Streaming stores need registers on their boundaries. Channels-last they go here and there, some
// columns of one register of channels at a time: halves of lines in seven columns at once take 1.8
// times as long as ordinary stores, in four they do not.
bool should_stream(const float* tensor, const Shape& shape, int64_t channels, int64_t width,
                   int64_t bytes, int columns_at_once) {
  const bool fills_lines = lanes == 16 || (lanes == 8 && columns_at_once <= 4);
  const bool fits = shape.channels_last ? fills_lines && channels % lanes == 0 : width % lanes == 0;
  return tensor && fits && bytes >= cached_bytes && is_aligned(tensor);
}

void forward(const float* x, const float* weight, const Shape& shape, const Finish& finish,
             float* y) {
  const float* const bias = finish.shift;
  const Epilogue epilogue = finish.epilogue;
  std::vector<float> scaled;
  weight = scaled_weight(weight, finish.scale, shape.outputs(), shape.taps(), scaled);
  if (goes_by_planes(shape, weight)) return forward_planes(x, weight, bias, shape, epilogue, y);
  const Plan plan(shape, weight, bias, false);
  const Activator activator(epilogue);
  const bool streaming = should_stream(y, shape, shape.outputs(), shape.horizontal.output_size,
                                       input_bytes(shape) + output_bytes(shape), output_columns);
  const int64_t height = shape.vertical.output_size, rows = shape.images * plan.groups * height;
  const int threads = threads_for(plan);
  parallel_threads(threads, [&](int thread) {
    Worker worker(plan, {x, nullptr, y, nullptr}, activator);
    for_rows(
        plan, height, share_of(rows, thread, threads),
        [&](int64_t image, int64_t group) { worker.begin(image, group); },
        [&](int64_t i) { worker.forward(i, streaming); });
  });
}

void backward(const float* x, const float* dy, const float* weight, const float* bias,
              const Shape& shape, Epilogue epilogue, float* gradient_x, float* gradient_weight,
              float* gradient_bias) {
  const Activator activator(epilogue);
  if (goes_by_planes(shape, weight) && backward_planes(x, dy, weight, bias, shape, activator,
                                                       gradient_x, gradient_weight, gradient_bias))
    return;
  const Plan plan(shape, weight, bias, true);
  const Axis& vertical = shape.vertical;
  const bool with_sums = gradient_weight || gradient_bias;
  const bool streaming = should_stream(
      gradient_x, shape, shape.channels, shape.horizontal.size,
      (with_sums ? 2 : 1) * input_bytes(shape) + output_bytes(shape), gradient_columns);
  const int64_t height = vertical.size, rows = shape.images * plan.groups * height;
  const int threads = threads_for(plan);
  std::vector<std::unique_ptr<GradientSums>> sums(static_cast<size_t>(threads));
  parallel_threads(threads, [&](int thread) {
    Worker worker(plan, {x, dy, nullptr, gradient_x}, activator);
    auto& own = sums[static_cast<size_t>(thread)];
    if (with_sums) own = std::make_unique<GradientSums>(plan);
    int64_t current = -1;
    const auto flush = [&] {
      if (own && current >= 0)
        own->flush(current * plan.group_width, (current + 1) * plan.group_width);
    };
    for_rows(
        plan, height, share_of(rows, thread, threads),
        [&](int64_t image, int64_t group) {
          if (group != current) flush();
          current = group;
          worker.begin(image, group);
        },
        [&](int64_t r) {
          worker.gradient(r, own.get(), streaming);
          if (!gradient_bias) return;
          // The output's rows at the height of this one of the input.
          const int64_t end = (r + 1) * vertical.output_size / height;
          for (int64_t i = r * vertical.output_size / height; i < end; ++i)
            worker.gradient_bias(i, *own);
        });
    flush();
  });

  const auto total = [&](int64_t at, int64_t o) {
    double value = 0;
    for (const auto& part : sums) value += part->total(at, plan.place(o));
    return static_cast<float>(value);
  };
  for (int64_t o = 0; gradient_bias && o < shape.outputs(); ++o)
    gradient_bias[o] = total(plan.gradient_taps, o);
  if (!gradient_weight) return;
  std::fill_n(gradient_weight, shape.outputs() * shape.taps(), 0.f);
  for (const PhaseOfTaps& phase : plan.gradient)
    plan.for_taps(phase, [&](int64_t tap, int64_t at) {
      for (int64_t o = 0; o < shape.outputs(); ++o)
        gradient_weight[o * shape.taps() + tap] += total(phase.place + at, o);
    });
}

}  // namespace

extern const Kernels table = {forward, backward};

}  // namespace lamina::depthwise_conv2d::LAMINA_ISA
