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

int64_t rows_of(const Plan& plan) {
  return plan.shape.images * plan.groups * plan.shape.vertical.output_size;
}

int threads_for(const Plan& plan) {
  const int64_t macs_per_row =
      plan.shape.horizontal.output_size * plan.pitch.column * plan.shape.taps();
  return thread_count_for(rows_of(plan), std::max<int64_t>(1, grain_macs / macs_per_row));
}

// Calls row(i) for the thread's rows, and begin(image, group) before those of a slice. A group's
// images follow one another: its weights and its sums stay in the first cache.
template <typename Begin, typename Body>
void for_rows(const Plan& plan, Range range, const Begin& begin, const Body& row) {
  const int64_t height = plan.shape.vertical.output_size;
  for (int64_t at = range.begin; at < range.end; ++at) {
    const int64_t slice = at / height, i = at % height;
    if (i == 0 || at == range.begin) begin(slice % plan.shape.images, slice / plan.shape.images);
    row(i);
  }
  streaming_fence();
}

// Streaming stores need every row to begin on a register's boundary. Channels-last they would go
// here and there, several columns of one register of channels at a time: that takes up to three
// times as long as ordinary ones.
bool should_stream(const float* tensor, const Shape& shape, int64_t channels, int64_t height,
                   int64_t width) {
  const int64_t bytes =
      shape.images * channels * height * width * static_cast<int64_t>(sizeof(float));
  return tensor && !shape.channels_last && bytes >= streaming_bytes && is_aligned(tensor) &&
         width % lanes == 0;
}

void forward(const float* x, const float* weight, const float* bias, const Shape& shape,
             Epilogue epilogue, float* y) {
  if (goes_by_planes(shape, weight)) return forward_planes(x, weight, bias, shape, epilogue, y);
  const Plan plan(shape, weight, bias, false);
  const Activator activator(epilogue);
  const bool streaming = should_stream(y, shape, shape.outputs(), shape.vertical.output_size,
                                       shape.horizontal.output_size);
  const int threads = threads_for(plan);
  parallel_threads(threads, [&](int thread) {
    Worker worker(plan, {x, nullptr, y, nullptr}, activator);
    for_rows(
        plan, share_of(rows_of(plan), thread, threads),
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
  const bool streaming =
      should_stream(gradient_x, shape, shape.channels, vertical.size, shape.horizontal.size);
  const bool with_sums = gradient_weight || gradient_bias;
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
        plan, share_of(rows_of(plan), thread, threads),
        [&](int64_t image, int64_t group) {
          if (group != current) flush();
          current = group;
          worker.begin(image, group);
        },
        [&](int64_t i) {
          if (own) worker.gradient_weight(i, *own);
          if (!gradient_x) return;
          // The input's rows at the height of this one of the output.
          const int64_t end = (i + 1) * vertical.size / vertical.output_size;
          for (int64_t r = i * vertical.size / vertical.output_size; r < end; ++r)
            worker.gradient_input(r, streaming);
        });
    flush();
  });

  if (!with_sums) return;
  for (int64_t o = 0; o < shape.outputs(); ++o) {
    const int64_t place = plan.place(o);
    const auto total = [&](int64_t tap) {
      double value = 0;
      for (const auto& part : sums) value += part->total(tap, place);
      return static_cast<float>(value);
    };
    for (int64_t tap = 0; gradient_weight && tap < shape.taps(); ++tap)
      gradient_weight[o * shape.taps() + tap] = total(tap);
    if (gradient_bias) gradient_bias[o] = total(shape.taps());
  }
}

}  // namespace

extern const Kernels table = {forward, backward};

}  // namespace lamina::depthwise_conv2d::LAMINA_ISA
