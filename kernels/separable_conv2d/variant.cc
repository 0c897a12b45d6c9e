// A thread goes down its rows of the output, a band of them at a time. A panel of e's channels at a
// time is made, as many rows as the band sees, and filtered while the first caches hold it; d is as
// high as the band and stays in the second cache. The rows of e that the next band sees as well are
// kept for it; where there is none in that image, one panel after the other takes the same memory.
// Of few pixels threads share the channels between the pointwise convolutions and not the rows.
#include <algorithm>
#include <vector>

#include "common/parallel_for.h"
#include "common/workspace.h"
#include "depthwise_conv2d/plan-inl.h"
#include "separable_conv2d/pointwise-inl.h"
#include "separable_conv2d/separable_conv2d.h"

namespace lamina::separable_conv2d::LAMINA_ISA {
namespace {

namespace depthwise = depthwise_conv2d::LAMINA_ISA;

// Positions of a band: a panel of weights that comes by should meet many blocks, of which the last
// makes some pixels once more, and the rows of d should stay in the second cache.
constexpr int64_t band_positions = 256;

// What all threads share.
struct Shared {
  const float* x;
  const PackedPointwise* expand;  // or null
  const depthwise::Plan& plan;
  depthwise::RowFinish finish;
  const PackedPointwise& project;
  const Shape& shape;
  int64_t band_rows;
  bool keeps_rows;  // of e, for the next band
  bool in_turn;     // a panel of e's channels after the other, to the sums of y
  float* y;

  // Rows of e that a band sees.
  int64_t ring_rows() const {
    const Axis& axis = shape.vertical;
    return (band_rows - 1) * axis.stride + (axis.taps - 1) * axis.dilation + 1;
  }
  int64_t ring_size() const {
    if (!expand) return 0;
    const int64_t channels = keeps_rows ? plan.pitch.tap : expand->widest();
    return ring_rows() * shape.horizontal.size * channels;
  }
  int64_t band_size() const {
    const int64_t channels = in_turn ? expand->widest() : plan.pitch.tap;
    return band_rows * shape.horizontal.output_size * channels;
  }
  int64_t scratch_size() const { return ring_size() + band_size(); }
};

class Worker {
 public:
  Worker(const Shared& shared, float* scratch)
      : shared_(shared),
        shape_(shared.shape),
        ring_(scratch),
        band_(scratch + shared.ring_size()),
        slots_(shared.ring_rows()) {}

  // Rows `first` to first + count of an image's output; `made_` rows of e are in the ring.
  void run(int64_t image, int64_t first, int64_t count) {
    if (image != image_) image_ = image, made_ = 0;
    slices_.clear();
    if (const PackedPointwise* expand = shared_.expand) {
      const Axis& vertical = shape_.vertical;
      const int64_t begin = std::max(made_, vertical.source(first, 0));
      const int64_t end =
          std::min(vertical.size, vertical.source(first + count - 1, vertical.taps - 1) + 1);
      for (int64_t p = 0; p < expand->panels(); ++p) {
        expand->pack_in_turn(p);
        make_rows(p, begin, end);
        filter(first, count, {expand->first(p), expand->columns(p), expand->width(p)});
        if (!shared_.in_turn) continue;
        project(image, first, count, {expand->first(p), p == 0, p + 1 == expand->panels()});
        slices_.clear();
      }
      made_ = std::max(made_, end);
    } else {
      filter(first, count, {0, shape_.middle, shape_.middle});
    }
    if (!shared_.in_turn) project(image, first, count, {});
  }

 private:
  // Channels that are worked on together, `pitch` floats to a pixel.
  struct Channels {
    int64_t first, count, pitch;
  };

  // The slices' part of y.
  void project(int64_t image, int64_t first, int64_t count, const SourceRange& part) const {
    const int64_t width = shape_.horizontal.output_size;
    const int64_t pixel = (image * shape_.vertical.output_size + first) * width;
    const float* const beside = shape_.shortcut ? shared_.x + pixel * shape_.inputs : nullptr;
    const PackedPointwise& layer = shared_.project;
    for (int64_t p = 0; p < layer.panels(); ++p) {
      const int64_t at = layer.first(p);
      layer.apply(p, slices_.data(), static_cast<int64_t>(slices_.size()), count * width,
                  {shared_.y + pixel * shape_.outputs + at, layer.columns(p), shape_.outputs,
                   beside ? beside + at : nullptr, true},
                  part);
    }
  }

  float* ring_row(const Channels& channels, int64_t r) const {
    const int64_t before = shared_.keeps_rows ? slots_ * channels.first : 0;
    return ring_ + (before + r % slots_ * channels.pitch) * shape_.horizontal.size;
  }

  void make_rows(int64_t p, int64_t begin, int64_t end) {
    const PackedPointwise& expand = *shared_.expand;
    const Channels channels = {expand.first(p), expand.columns(p), expand.width(p)};
    while (begin < end) {
      // As many rows as lie together, in the image and in the ring.
      const int64_t count = std::min(end - begin, slots_ - begin % slots_);
      const int64_t pixel = (image_ * shape_.vertical.size + begin) * shape_.horizontal.size;
      const Slice slice = {shared_.x + pixel * shape_.inputs, shape_.inputs, shape_.inputs};
      // Past the last channel as well: zeros, and whole registers.
      expand.apply(p, &slice, 1, count * shape_.horizontal.size,
                   {ring_row(channels, begin), channels.pitch, channels.pitch, nullptr, false});
      begin += count;
    }
  }

  // Some channels of d, a slice of their own in the band.
  void filter(int64_t first, int64_t count, const Channels& channels) {
    const int64_t row_size = shape_.horizontal.output_size * channels.pitch;
    const int64_t before = shared_.in_turn ? 0 : channels.first;
    float* const to = band_ + count * shape_.horizontal.output_size * before;
    for (int64_t i = 0; i < count; ++i) filter_row(first + i, channels, to + i * row_size);
    slices_.push_back({to, channels.count, channels.pitch});
  }

  const float* source_row(int64_t r, const Channels& channels) const {
    if (shared_.expand) return ring_row(channels, r);
    return shared_.x + (image_ * shape_.vertical.size + r) * shape_.horizontal.size * shape_.inputs;
  }

  void filter_row(int64_t i, const Channels& channels, float* to) {
    const depthwise::Plan& plan = shared_.plan;
    const depthwise::Pitch pitch = {channels.pitch, plan.pitch.tap};
    depthwise::RowFinish finish = shared_.finish;
    if (finish.bias) finish.bias += channels.first;
    for (const depthwise::PhaseOfTaps& phase : plan.forward) {
      kernel_rows_.clear();
      for (int64_t u = 0; u < shape_.vertical.taps; ++u) {
        const int64_t r = shape_.vertical.source(i, u);
        if (!shape_.vertical.contains(r)) continue;
        kernel_rows_.push_back({source_row(r, channels) + phase.source.start * pitch.column,
                                phase.weights + u * phase.taps * pitch.tap + channels.first});
      }
      phase.correlate(phase, kernel_rows_.data(), static_cast<int>(kernel_rows_.size()), pitch,
                      finish, to);
    }
    finish.row(to, shape_.horizontal.output_size * channels.pitch);
  }

  const Shared& shared_;
  const Shape& shape_;
  float *const ring_, *const band_;
  const int64_t slots_;
  std::vector<depthwise::KernelRow> kernel_rows_;
  std::vector<Slice> slices_;
  int64_t image_ = -1, made_ = 0;
};

// `project_stride`: floats from an output's weights to the next one's.
void forward_by_rows(const float* x, const Pointwise& expand, const Depthwise& layer,
                     const Pointwise& project, int64_t project_stride, const Shape& shape,
                     float* y) {
  const bool expands = expand.weight != nullptr;
  const int64_t height = shape.vertical.output_size, width = shape.horizontal.output_size;
  const int64_t rows = shape.images * height;
  const int threads = thread_count_for(rows, 1);
  const int64_t most_rows = std::max<int64_t>(1, std::min(height, share_of(rows, 0, threads).end));
  const int64_t band_rows = std::clamp<int64_t>((band_positions + width - 1) / width, 1, most_rows);
  std::vector<float> scaled;
  const float* const weight =
      depthwise::scaled_weight(layer.weight, layer.finish.scale, shape.middle,
                               shape.vertical.taps * shape.horizontal.taps, scaled);
  const depthwise::Plan plan(
      {shape.images, shape.middle, 1, shape.vertical, shape.horizontal, true}, weight,
      layer.finish.shift, false);
  // A single band of a single thread takes a panel of the middle from end to end, so that it stays
  // in the first caches, and packs its weights on the way.
  const bool in_turn = expands && threads == 1 && rows <= band_rows;
  PackedPointwise first(expand, shape.inputs, shape.inputs, shape.middle, in_turn);
  PackedPointwise last(project, project_stride, shape.middle, shape.outputs, false);
  const int64_t first_size = expands ? first.size() : 0;
  Workspace weights(first_size + last.size());
  first.place_at(weights.data()), last.place_at(weights.data() + first_size);
  const int64_t pieces = expands && !in_turn ? first.pieces() : 0;
  parallel_for(pieces + last.pieces(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t piece = begin; piece < end; ++piece)
      piece < pieces ? first.pack_piece(piece) : last.pack_piece(piece - pieces);
  });

  const Shared shared = {x,         expands ? &first : nullptr,
                         plan,      depthwise::finish_of(layer.finish.epilogue, plan.bias),
                         last,      shape,
                         band_rows, band_rows < most_rows,
                         in_turn,   y};
  const int64_t scratch_size = round_up(shared.scratch_size(), line);
  Workspace scratch(threads * scratch_size);
  parallel_threads(threads, [&](int thread) {
    Worker worker(shared, scratch.data() + thread * scratch_size);
    const Range range = share_of(rows, thread, threads);
    for (int64_t row = range.begin; row < range.end;) {
      const int64_t at = row % height;
      const int64_t count = std::min({band_rows, height - at, range.end - row});
      worker.run(row / height, at, count);
      row += count;
    }
  });
}

// Threads that each take some of the middle's channels, all rows, and sum up the outputs of them:
// no row of e is made twice, and no thread reads weights that another one packed. 1 where the
// outputs' sums would be more than the weights, or rows more than a band.
int threads_by_channels(const Pointwise& expand, const Shape& s) {
  const int64_t pixels = s.images * s.vertical.size * s.horizontal.size;
  if (!expand.weight || pixels > band_positions) return 1;
  const int threads = thread_count_for(s.middle, lanes);
  const int64_t sums = s.images * s.vertical.output_size * s.horizontal.output_size * s.outputs;
  return s.middle * (s.inputs + s.outputs) < threads * sums ? 1 : threads;
}

void forward_by_channels(const float* x, const Pointwise& expand, const Depthwise& layer,
                         const Pointwise& project, const Shape& shape, int threads, float* y) {
  const int64_t taps = shape.vertical.taps * shape.horizontal.taps;
  const int64_t pixels = shape.images * shape.vertical.output_size * shape.horizontal.output_size;
  const int64_t size = round_up(pixels * shape.outputs, line);
  Workspace sums(threads * size);
  parallel_threads(threads, [&](int thread) {
    const Range range = share_of((shape.middle + lanes - 1) / lanes, thread, threads);
    const int64_t first = range.begin * lanes;
    Shape part = shape;
    part.middle = std::min(range.end * lanes, shape.middle) - first, part.shortcut = false;
    const Pointwise expand_part = {expand.weight + first * shape.inputs, expand.finish.from(first)};
    const Depthwise layer_part = {layer.weight + first * taps, layer.finish.from(first)};
    // One of them begins at the shift; what follows waits for the other sums.
    const Pointwise project_part = {
        project.weight + first,
        {project.finish.scale, thread == 0 ? project.finish.shift : nullptr, {}}};
    forward_by_rows(x, expand_part, layer_part, project_part, shape.middle, part,
                    sums.data() + thread * size);
  });
  const Epilogue& epilogue = project.finish.epilogue;
  with_activation(epilogue.activation, [&]<Activation A>() {
    parallel_for(pixels * shape.outputs, 4096, [&](int64_t begin, int64_t end) {
      for_registers(end - begin, [&](int64_t at, auto part) {
        const int64_t place = begin + at;
        Vector sum = load(sums.data() + place, part);
        for (int thread = 1; thread < threads; ++thread)
          sum += load(sums.data() + thread * size + place, part);
        sum = activate<A>(sum, epilogue.negative_slope);
        if (shape.shortcut) sum += load(x + place, part);
        store(y + place, sum, part);
      });
    });
  });
}

void forward(const float* x, const Pointwise& expand, const Depthwise& layer,
             const Pointwise& project, const Shape& shape, float* y) {
  const int threads = threads_by_channels(expand, shape);
  if (threads > 1) return forward_by_channels(x, expand, layer, project, shape, threads, y);
  forward_by_rows(x, expand, layer, project, shape.middle, shape, y);
}

}  // namespace

extern const Kernels table = {forward};

}  // namespace lamina::separable_conv2d::LAMINA_ISA
