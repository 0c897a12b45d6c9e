// A thread goes down its rows of the output, a band of them at a time: the rows of e that the band
// sees wait in a ring, d is as high as the band, and both stay in the second cache.
#include <algorithm>
#include <vector>

#include "common/finish-inl.h"
#include "common/panels-inl.h"
#include "common/parallel_for.h"
#include "common/workspace.h"
#include "depthwise_conv2d/plan-inl.h"
#include "separable_conv2d/separable_conv2d.h"

namespace lamina::separable_conv2d::LAMINA_ISA {
namespace {

namespace depthwise = depthwise_conv2d::LAMINA_ISA;

// Positions of a band: a panel of weights that comes by should meet some blocks.
constexpr int64_t band_positions = 48;

// A matrix of weights in panels, with what follows it.
class PackedPointwise {
 public:
  PackedPointwise(const Pointwise& layer, int64_t sources, int64_t results, float* to)
      : sources_(sources), panels_{results, sources}, data_(to), finish_(layer.finish) {
    if (!layer.weight) return;
    parallel_for(panels_.per_group(), 1, [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p)
        pack_rows(layer.weight + panels_.first(p) * sources, 1, sources, sources,
                  panels_.columns(p), panels_.width(p), to + panels_.start(p));
    });
    // Padded as the panels are.
    float* after = to + panels_.group_size();
    for (const float** parameter : {&finish_.scale, &finish_.shift}) {
      if (!*parameter) continue;
      std::copy_n(*parameter, results, after);
      std::fill(after + results, after + round_up(results, lanes), 0.f);
      *parameter = after;
      after += round_up(results, lanes);
    }
  }

  static int64_t size(int64_t sources, int64_t results) {
    return (sources + 2) * round_up(results, lanes);
  }

  // Adjacent pixels of `from` to those of `to`; `beside`, laid out as `to`, is added last.
  void apply(const float* from, int64_t pixels, const float* beside, float* to) const {
    const int64_t results = panels_.depth;
    alignas(64) float sums[block_rows * panel];
    for (int64_t p = 0; p < panels_.per_group(); ++p) {
      const int64_t first = panels_.first(p), columns = panels_.columns(p);
      const int64_t width = panels_.width(p);
      const Finish finish = finish_.from(first);
      const Clamp clamp = clamp_of(finish);
      const bool clamps = is_clamp(finish), in_place = clamps && width == columns;
      for (int64_t pixel = 0; pixel < pixels; pixel += block_rows) {
        const int64_t count = std::min<int64_t>(block_rows, pixels - pixel);
        const float *rows[block_rows], *next[block_rows];
        for (int64_t r = 0; r < count; ++r) {
          rows[r] = from + (pixel + r) * sources_;
          next[r] = rows[r] + (pixel + 2 * block_rows <= pixels ? block_rows * sources_ : 0);
        }
        float* const result = to + pixel * results + first;
        const Columns target = {data_ + panels_.start(p),   width, in_place ? result : sums,
                                in_place ? results : width, false, clamps ? &clamp : nullptr};
        block_product(count, width, Stretches{rows, next, 1, sources_, 0, 1}, target);
        for (int64_t r = 0; r < count; ++r) {
          float* const row = result + r * results;
          if (!clamps) {
            finish_row(sums + r * width, columns, finish, row);
          } else if (!in_place) {
            move(sums + r * width, nullptr, columns, row);
          }
          if (beside) move(row, beside + (pixel + r) * results + first, columns, row);
        }
      }
    }
  }

 private:
  static void move(const float* from, const float* beside, int64_t count, float* to) {
    for_registers(count, [&](int64_t at, auto part) {
      const Vector v = load(from + at, part);
      store(to + at, beside ? v + load(beside + at, part) : v, part);
    });
  }

  const int64_t sources_;
  const Panels panels_;
  const float* data_;
  Finish finish_;
};

// The depthwise kernel's plan, its weights scaled beforehand: they are few.
depthwise::Plan plan_of(const Depthwise& layer, const Shape& s, std::vector<float>& scaled) {
  const int64_t taps = s.vertical.taps * s.horizontal.taps;
  scaled.assign(layer.weight, layer.weight + s.middle * taps);
  if (layer.finish.scale)
    for (int64_t at = 0; at < s.middle * taps; ++at) scaled[at] *= layer.finish.scale[at / taps];
  return depthwise::Plan({s.images, s.middle, 1, s.vertical, s.horizontal, true}, scaled.data(),
                         layer.finish.shift, false);
}

class Worker {
 public:
  Worker(const float* x, const PackedPointwise* expand, const depthwise::Plan& plan,
         const Finish& finish, const PackedPointwise& project, const Shape& shape,
         int64_t band_rows, float* scratch, float* y)
      : x_(x),
        expand_(expand),
        plan_(plan),
        project_(project),
        shape_(shape),
        slots_(ring_rows(shape, band_rows)),
        ring_(scratch),
        band_(scratch + (expand ? slots_ * row_size() : 0)),
        y_(y) {
    finish_ = depthwise::finish_of(finish.epilogue, plan.bias);
  }

  static int64_t ring_rows(const Shape& s, int64_t band_rows) {
    const Axis& axis = s.vertical;
    return (band_rows - 1) * axis.stride + (axis.taps - 1) * axis.dilation + 1;
  }
  static int64_t scratch(const Shape& s, bool expands, int64_t band_rows) {
    const int64_t ring = expands ? ring_rows(s, band_rows) * s.horizontal.size : 0;
    return round_up((ring + band_rows * s.horizontal.output_size) * s.middle, 16);
  }

  // Rows `first` to first + count of an image's output; `made_` rows of e are in the ring.
  void run(int64_t image, int64_t first, int64_t count) {
    if (image != image_) image_ = image, made_ = 0;
    const Axis& vertical = shape_.vertical;
    if (expand_)
      make_rows(vertical.source(first, 0),
                vertical.source(first + count - 1, vertical.taps - 1) + 1);
    const int64_t width = shape_.horizontal.output_size;
    for (int64_t i = 0; i < count; ++i) filter_row(first + i, band_ + i * width * shape_.middle);
    const int64_t pixel = (image * vertical.output_size + first) * width;
    project_.apply(band_, count * width, shape_.shortcut ? x_ + pixel * shape_.inputs : nullptr,
                   y_ + pixel * shape_.outputs);
  }

 private:
  int64_t row_size() const { return shape_.horizontal.size * shape_.middle; }

  void make_rows(int64_t begin, int64_t end) {
    begin = std::max<int64_t>({begin, made_, 0});
    end = std::min(end, shape_.vertical.size);
    while (begin < end) {
      // As many rows as lie together, in the image and in the ring.
      const int64_t slot = begin % slots_, count = std::min(end - begin, slots_ - slot);
      const int64_t pixel = (image_ * shape_.vertical.size + begin) * shape_.horizontal.size;
      expand_->apply(x_ + pixel * shape_.inputs, count * shape_.horizontal.size, nullptr,
                     ring_ + slot * row_size());
      begin += count;
    }
    made_ = std::max(made_, end);
  }

  const float* row(int64_t r) const {
    if (expand_) return ring_ + r % slots_ * row_size();
    return x_ + (image_ * shape_.vertical.size + r) * row_size();
  }

  void filter_row(int64_t i, float* to) {
    for (const depthwise::PhaseOfTaps& phase : plan_.forward) {
      lines_.clear();
      for (int64_t u = 0; u < shape_.vertical.taps; ++u) {
        const int64_t r = shape_.vertical.source(i, u);
        if (!shape_.vertical.contains(r)) continue;
        lines_.push_back({row(r) + phase.source.start * plan_.pitch.column,
                          phase.weights + u * phase.taps * plan_.pitch.tap});
      }
      phase.correlate(phase, lines_.data(), static_cast<int>(lines_.size()), plan_.pitch, finish_,
                      to);
    }
    finish_.row(to, shape_.horizontal.output_size * shape_.middle);
  }

  const float* const x_;
  const PackedPointwise* const expand_;
  const depthwise::Plan& plan_;
  const PackedPointwise& project_;
  const Shape& shape_;
  const int64_t slots_;
  float *const ring_, *const band_, *const y_;
  depthwise::Finish finish_;
  std::vector<depthwise::Line<const float>> lines_;
  int64_t image_ = -1, made_ = 0;
};

void forward(const float* x, const Pointwise& expand, const Depthwise& layer,
             const Pointwise& project, const Shape& shape, float* y) {
  const bool expands = expand.weight != nullptr;
  const int64_t height = shape.vertical.output_size, width = shape.horizontal.output_size;
  const int64_t rows = shape.images * height;
  const int threads = thread_count_for(rows, 1);
  const int64_t band_rows =
      std::clamp<int64_t>((band_positions + width - 1) / width, 1,
                          std::max<int64_t>(1, std::min(height, rows / threads)));
  std::vector<float> scaled;
  const depthwise::Plan plan = plan_of(layer, shape, scaled);
  const int64_t expand_size = expands ? PackedPointwise::size(shape.inputs, shape.middle) : 0;
  const int64_t project_size = PackedPointwise::size(shape.middle, shape.outputs);
  const int64_t scratch = Worker::scratch(shape, expands, band_rows);
  Workspace workspace(round_up(expand_size, 16) + round_up(project_size, 16) + threads * scratch);
  float* at = workspace.data();
  const PackedPointwise packed_expand(expand, shape.inputs, shape.middle, at);
  at += round_up(expand_size, 16);
  const PackedPointwise packed_project(project, shape.middle, shape.outputs, at);
  at += round_up(project_size, 16);

  parallel_threads(threads, [&](int thread) {
    Worker worker(x, expands ? &packed_expand : nullptr, plan, layer.finish, packed_project, shape,
                  band_rows, at + thread * scratch, y);
    const Range range = share_of(rows, thread, threads);
    for (int64_t row = range.begin; row < range.end;) {
      const int64_t first = row % height;
      const int64_t count = std::min({band_rows, height - first, range.end - row});
      worker.run(row / height, first, count);
      row += count;
    }
  });
}

}  // namespace

extern const Kernels table = {forward};

}  // namespace lamina::separable_conv2d::LAMINA_ISA
