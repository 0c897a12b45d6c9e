// A thread goes down its rows of the output, a band of them at a time. A panel of e's channels at a
// time is made, as many rows as the band sees, and filtered while the first caches hold it; d is as
// high as the band and stays in the second cache. The rows of e that the next band sees as well are
// kept for it; where there is none in that image, one panel after the other takes the same memory.
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

// The depthwise kernel's plan, its weights scaled beforehand: they are few.
depthwise::Plan plan_of(const Depthwise& layer, const Shape& s, std::vector<float>& scaled) {
  const int64_t taps = s.vertical.taps * s.horizontal.taps;
  scaled.assign(layer.weight, layer.weight + s.middle * taps);
  if (layer.finish.scale)
    for (int64_t channel = 0; channel < s.middle; ++channel)
      for (int64_t tap = 0; tap < taps; ++tap)
        scaled[channel * taps + tap] *= layer.finish.scale[channel];
  return depthwise::Plan({s.images, s.middle, 1, s.vertical, s.horizontal, true}, scaled.data(),
                         layer.finish.shift, false);
}

// What all threads share.
struct Block {
  const float* x;
  const PackedPointwise* expand;  // or null
  const depthwise::Plan& plan;
  depthwise::Finish finish;
  const PackedPointwise& project;
  const Shape& shape;
  int64_t band_rows;
  bool keeps_rows;  // of e, for the next band
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
  int64_t scratch_size() const {
    return ring_size() + band_rows * shape.horizontal.output_size * plan.pitch.tap;
  }
};

class Worker {
 public:
  Worker(const Block& block, float* scratch)
      : block_(block),
        shape_(block.shape),
        ring_(scratch),
        band_(scratch + block.ring_size()),
        slots_(block.ring_rows()) {}

  // Rows `first` to first + count of an image's output; `made_` rows of e are in the ring.
  void run(int64_t image, int64_t first, int64_t count) {
    if (image != image_) image_ = image, made_ = 0;
    slices_.clear();
    if (const PackedPointwise* expand = block_.expand) {
      const Axis& vertical = shape_.vertical;
      const int64_t begin = std::max(made_, vertical.source(first, 0));
      const int64_t end =
          std::min(vertical.size, vertical.source(first + count - 1, vertical.taps - 1) + 1);
      for (int64_t p = 0; p < expand->panels(); ++p) {
        make_rows(p, begin, end);
        filter(first, count, {expand->first(p), expand->columns(p), expand->width(p)});
      }
      made_ = std::max(made_, end);
    } else {
      filter(first, count, {0, shape_.middle, shape_.middle});
    }
    const int64_t width = shape_.horizontal.output_size;
    const int64_t pixel = (image * shape_.vertical.output_size + first) * width;
    const float* const beside = shape_.shortcut ? block_.x + pixel * shape_.inputs : nullptr;
    const PackedPointwise& project = block_.project;
    for (int64_t p = 0; p < project.panels(); ++p) {
      const int64_t at = project.first(p);
      project.apply(p, slices_.data(), static_cast<int64_t>(slices_.size()), count * width,
                    {block_.y + pixel * shape_.outputs + at, project.columns(p), shape_.outputs,
                     beside ? beside + at : nullptr, true});
    }
  }

 private:
  // Channels that are worked on together, `pitch` floats to a pixel.
  struct Channels {
    int64_t first, count, pitch;
  };

  float* ring_row(const Channels& channels, int64_t r) const {
    const int64_t before = block_.keeps_rows ? slots_ * channels.first : 0;
    return ring_ + (before + r % slots_ * channels.pitch) * shape_.horizontal.size;
  }

  void make_rows(int64_t p, int64_t begin, int64_t end) {
    const PackedPointwise& expand = *block_.expand;
    const Channels channels = {expand.first(p), expand.columns(p), expand.width(p)};
    while (begin < end) {
      // As many rows as lie together, in the image and in the ring.
      const int64_t count = std::min(end - begin, slots_ - begin % slots_);
      const int64_t pixel = (image_ * shape_.vertical.size + begin) * shape_.horizontal.size;
      const Slice slice = {block_.x + pixel * shape_.inputs, shape_.inputs, shape_.inputs};
      // Past the last channel as well: zeros, and whole registers.
      expand.apply(p, &slice, 1, count * shape_.horizontal.size,
                   {ring_row(channels, begin), channels.pitch, channels.pitch, nullptr, false});
      begin += count;
    }
  }

  // Some channels of d, a slice of their own in the band.
  void filter(int64_t first, int64_t count, const Channels& channels) {
    const int64_t row_size = shape_.horizontal.output_size * channels.pitch;
    float* const to = band_ + count * shape_.horizontal.output_size * channels.first;
    for (int64_t i = 0; i < count; ++i) filter_row(first + i, channels, to + i * row_size);
    slices_.push_back({to, channels.count, channels.pitch});
  }

  const float* source_row(int64_t r, const Channels& channels) const {
    if (block_.expand) return ring_row(channels, r);
    return block_.x + (image_ * shape_.vertical.size + r) * shape_.horizontal.size * shape_.inputs;
  }

  void filter_row(int64_t i, const Channels& channels, float* to) {
    const depthwise::Plan& plan = block_.plan;
    const depthwise::Pitch pitch = {channels.pitch, plan.pitch.tap};
    depthwise::Finish finish = block_.finish;
    if (finish.bias) finish.bias += channels.first;
    for (const depthwise::PhaseOfTaps& phase : plan.forward) {
      lines_.clear();
      for (int64_t u = 0; u < shape_.vertical.taps; ++u) {
        const int64_t r = shape_.vertical.source(i, u);
        if (!shape_.vertical.contains(r)) continue;
        lines_.push_back({source_row(r, channels) + phase.source.start * pitch.column,
                          phase.weights + u * phase.taps * pitch.tap + channels.first});
      }
      phase.correlate(phase, lines_.data(), static_cast<int>(lines_.size()), pitch, finish, to);
    }
    finish.row(to, shape_.horizontal.output_size * channels.pitch);
  }

  const Block& block_;
  const Shape& shape_;
  float *const ring_, *const band_;
  const int64_t slots_;
  std::vector<depthwise::Line> lines_;
  std::vector<Slice> slices_;
  int64_t image_ = -1, made_ = 0;
};

void forward(const float* x, const Pointwise& expand, const Depthwise& layer,
             const Pointwise& project, const Shape& shape, float* y) {
  const bool expands = expand.weight != nullptr;
  const int64_t height = shape.vertical.output_size, width = shape.horizontal.output_size;
  const int64_t rows = shape.images * height;
  const int threads = thread_count_for(rows, 1);
  const int64_t most_rows = std::max<int64_t>(1, std::min(height, share_of(rows, 0, threads).end));
  const int64_t band_rows = std::clamp<int64_t>((band_positions + width - 1) / width, 1, most_rows);
  std::vector<float> scaled;
  const depthwise::Plan plan = plan_of(layer, shape, scaled);
  const int64_t expand_size =
      expands ? round_up(PackedPointwise::size(shape.inputs, shape.middle), line) : 0;
  const int64_t project_size = PackedPointwise::size(shape.middle, shape.outputs);
  Workspace weights(expand_size + project_size);
  const PackedPointwise first(expand, shape.inputs, shape.middle, weights.data());
  const PackedPointwise last(project, shape.middle, shape.outputs, weights.data() + expand_size);
  const int64_t pieces = expands ? first.pieces() : 0;
  parallel_for(pieces + last.pieces(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t piece = begin; piece < end; ++piece)
      piece < pieces ? first.pack_piece(piece) : last.pack_piece(piece - pieces);
  });

  const Block block = {x,         expands ? &first : nullptr,
                       plan,      depthwise::finish_of(layer.finish.epilogue, plan.bias),
                       last,      shape,
                       band_rows, band_rows < most_rows,
                       y};
  const int64_t scratch_size = round_up(block.scratch_size(), line);
  Workspace scratch(threads * scratch_size);
  parallel_threads(threads, [&](int thread) {
    Worker worker(block, scratch.data() + thread * scratch_size);
    const Range range = share_of(rows, thread, threads);
    for (int64_t row = range.begin; row < range.end;) {
      const int64_t at = row % height;
      const int64_t count = std::min({band_rows, height - at, range.end - row});
      worker.run(row / height, at, count);
      row += count;
    }
  });
}

}  // namespace

extern const Kernels table = {forward};

}  // namespace lamina::separable_conv2d::LAMINA_ISA
