// Both layouts are rows of columns. In channels-last every column has coefficients of its own,
// and rows narrower than a few registers are folded, several pixels to a row. In NCHW a row is a
// part of one channel's plane and shares its coefficients.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "batch_norm2d/batch_norm2d.h"
#include "common/activation-inl.h"
#include "common/parallel_for.h"
#include "common/vector.h"

namespace lamina::batch_norm2d::LAMINA_ISA {
namespace {

// Float32 sums end in float64 after so many additions: values on a coarse grid, such as numbers
// near 1000, have squares whose roundings all go the same way.
constexpr int64_t block_additions = 256;
constexpr int64_t grain_elements = 16 * 1024;  // fewer do not repay a thread
constexpr int64_t chunk_elements = 16 * 1024;  // a fraction of the second cache

// ---- coefficients -----------------------------------------------------------------------------

struct PerColumn {
  const float* values;
  template <typename Width>
  Vector operator()(int64_t column, Width width) const {
    return load(values + column, width);
  }
};

struct Shared {
  Vector value;
  explicit Shared(float v) : value(broadcast(v)) {}
  template <typename Width>
  Vector operator()(int64_t, Width) const {
    return value;
  }
};

// y = activation((x - mean) * scale + bias)
template <typename C>
struct Normalization {
  C mean, scale, bias;
};

// dx = scale * dz + (x - mean) * slope + offset
template <typename C>
struct Gradient {
  C slope, offset;
};

// Per-channel arrays of the above, each repeated `times` so that one covers a folded row.
struct Coefficients {
  std::vector<float> mean, scale, bias, slope, offset;

  Coefficients(Shape shape, Affine affine, int64_t times) {
    const size_t size = static_cast<size_t>(shape.channels * times);
    mean.resize(size), scale.resize(size), bias.resize(size);
    for (size_t at = 0; at < size; ++at) {
      const size_t c = at % static_cast<size_t>(shape.channels);
      mean[at] = affine.mean[c];
      scale[at] = affine.inverse_deviation[c] * (affine.weight ? affine.weight[c] : 1.f);
      bias[at] = affine.bias ? affine.bias[c] : 0.f;
    }
  }

  void add_gradient(Shape shape, Affine affine, const float* gradient_weight,
                    const float* gradient_bias) {
    slope.resize(mean.size()), offset.resize(mean.size());
    if (!gradient_weight) return;
    const float share = 1.f / static_cast<float>(shape.count());
    for (size_t at = 0; at < mean.size(); ++at) {
      const size_t c = at % static_cast<size_t>(shape.channels);
      slope[at] = -scale[at] * affine.inverse_deviation[c] * gradient_weight[c] * share;
      offset[at] = -scale[at] * gradient_bias[c] * share;
    }
  }

  Normalization<PerColumn> columns() const { return {{&mean[0]}, {&scale[0]}, {&bias[0]}}; }
  Gradient<PerColumn> gradient_columns() const { return {{&slope[0]}, {&offset[0]}}; }
  Normalization<Shared> channel(int64_t c) const {
    return {Shared(mean[c]), Shared(scale[c]), Shared(bias[c])};
  }
  Gradient<Shared> gradient_channel(int64_t c) const {
    return {Shared(slope[c]), Shared(offset[c])};
  }
};

// ---- one row, elementwise ---------------------------------------------------------------------

template <Activation A, bool Streaming, typename C>
void normalize_row(const float* x, int64_t width, const Normalization<C>& by, float negative_slope,
                   float* y) {
  for_registers(width, [&](int64_t at, auto part) {
    const Vector z =
        (load(x + at, part) - by.mean(at, part)) * by.scale(at, part) + by.bias(at, part);
    put<Streaming>(y + at, activate<A>(z, negative_slope), part);
  });
}

template <Activation A, typename C, typename Width>
[[gnu::always_inline]] inline Vector preactivation_gradient(Vector centred, Vector dy, int64_t at,
                                                            Width part, const Normalization<C>& by,
                                                            float negative_slope) {
  if constexpr (A == Activation::none) return dy;
  const Vector z = centred * by.scale(at, part) + by.bias(at, part);
  return dy * activation_gradient<A>(z, negative_slope);
}

template <Activation A, bool Streaming, typename C>
void gradient_row(const float* x, const float* dy, int64_t width, const Normalization<C>& by,
                  const Gradient<C>& gradient, float negative_slope, float* dx) {
  for_registers(width, [&](int64_t at, auto part) {
    const Vector centred = load(x + at, part) - by.mean(at, part);
    const Vector dz =
        preactivation_gradient<A>(centred, load(dy + at, part), at, part, by, negative_slope);
    put<Streaming>(
        dx + at,
        by.scale(at, part) * dz + (centred * gradient.slope(at, part) + gradient.offset(at, part)),
        part);
  });
}

// ---- walking a tensor -------------------------------------------------------------------------

struct Folding {
  int64_t pixels;  // to a row
  explicit Folding(Shape shape)
      : pixels(shape.channels >= 4 * lanes ? 1 : lanes / std::gcd<int64_t>(shape.channels, lanes)) {
  }
};

// Streaming stores need every row to begin on a register's boundary.
bool should_stream(const float* y, Shape shape, int64_t row_width) {
  const int64_t bytes = shape.outer * shape.channels * shape.inner * int64_t{sizeof(float)};
  return bytes >= streaming_bytes && is_aligned(y) && row_width % lanes == 0;
}

// Calls row(offset, width, coefficients' first channel or 0) for every row. The pass before read
// the last rows last, so a thread begins with them, which the caches still hold; but in chunks,
// each from its start on, as the prefetcher wants it.
template <typename Row>
void for_rows_backwards(Shape shape, const Row& row) {
  const bool channels_last = shape.inner == 1;
  const int64_t pixels = channels_last ? Folding(shape).pixels : 1;
  const int64_t width = channels_last ? pixels * shape.channels : shape.inner;
  const int64_t rows = channels_last ? shape.outer / pixels : shape.outer * shape.channels;
  const int64_t rest = channels_last ? shape.outer % pixels : 0;
  const int64_t chunk = std::max<int64_t>(1, chunk_elements / width);
  if (rest) row(rows * width, rest * shape.channels, 0);
  parallel_for(rows, std::max<int64_t>(1, grain_elements / width), [&](int64_t begin, int64_t end) {
    for (int64_t stop = end; stop > begin; stop -= chunk)
      for (int64_t r = std::max(begin, stop - chunk); r < stop; ++r)
        row(r * width, width, channels_last ? 0 : r % shape.channels);
    streaming_fence();
  });
}

void normalize(const float* x, Shape shape, Affine affine, Epilogue epilogue, float* y) {
  const bool channels_last = shape.inner == 1;
  const int64_t times = channels_last ? Folding(shape).pixels : 1;
  const Coefficients by(shape, affine, times);
  const bool stream = should_stream(y, shape, channels_last ? times * shape.channels : shape.inner);
  with_activation(epilogue.activation, [&]<Activation A>() {
    for_rows_backwards(shape, [&](int64_t offset, int64_t width, int64_t channel) {
      const auto run = [&](const auto& coefficients) {
        if (stream) {
          normalize_row<A, true>(x + offset, width, coefficients, epilogue.negative_slope,
                                 y + offset);
        } else {
          normalize_row<A, false>(x + offset, width, coefficients, epilogue.negative_slope,
                                  y + offset);
        }
      };
      channels_last ? run(by.columns()) : run(by.channel(channel));
    });
  });
}

void gradient_input(const float* x, const float* dy, Shape shape, Affine affine, Epilogue epilogue,
                    const float* gradient_weight, const float* gradient_bias, float* dx) {
  const bool channels_last = shape.inner == 1;
  const int64_t times = channels_last ? Folding(shape).pixels : 1;
  Coefficients by(shape, affine, times);
  by.add_gradient(shape, affine, gradient_weight, gradient_bias);
  const bool stream =
      should_stream(dx, shape, channels_last ? times * shape.channels : shape.inner);
  const float slope = epilogue.negative_slope;
  with_activation(epilogue.activation, [&]<Activation A>() {
    for_rows_backwards(shape, [&](int64_t offset, int64_t width, int64_t channel) {
      const auto run = [&](const auto& coefficients, const auto& gradient) {
        if (stream) {
          gradient_row<A, true>(x + offset, dy + offset, width, coefficients, gradient, slope,
                                dx + offset);
        } else {
          gradient_row<A, false>(x + offset, dy + offset, width, coefficients, gradient, slope,
                                 dx + offset);
        }
      };
      channels_last ? run(by.columns(), by.gradient_columns())
                    : run(by.channel(channel), by.gradient_channel(channel));
    });
  });
}

// ---- sums over rows: channels-last -------------------------------------------------------------

// sums[k][c] += sum over rows of term(row, c)[k]; the sums of a block stay in the first-level
// cache.
template <int Terms, typename Term>
[[gnu::always_inline]] inline void add_rows(int64_t rows, int64_t width,
                                            float* const (&sums)[Terms], const Term& term) {
  constexpr int unroll = 4;
  const auto add = [&](int64_t row, auto count) {
    for_registers(width, [&](int64_t c, auto part) {
      Vector total[Terms];
      for (int k = 0; k < Terms; ++k) total[k] = load(sums[k] + c, part);
      for (int step = 0; step < count; ++step) term(row + step, c, part, total);
      for (int k = 0; k < Terms; ++k) store(sums[k] + c, total[k], part);
    });
  };
  int64_t row = 0;
  for (; row + unroll <= rows; row += unroll) add(row, std::integral_constant<int, unroll>{});
  for (; row < rows; ++row) add(row, std::integral_constant<int, 1>{});
}

// Mean and sum of squared deviations of `count` values.
struct Moments {
  double count = 0, mean = 0, squares = 0;

  // Chan, Golub & LeVeque (1983), "Algorithms for computing the sample variance", eq. 2.1.
  void merge(const Moments& other) {
    if (other.count == 0) return;
    const double total = count + other.count, delta = other.mean - mean;
    mean += delta * other.count / total;
    squares += other.squares + delta * delta * count * other.count / total;
    count = total;
  }
};

// Moments of a block from the sums of its deviations from `centre`, and of their squares. The
// centre is the mean of what came before: how far it is off the block's own mean is part of the
// whole variance, so float32 sums lose nothing against that, however large the mean.
Moments moments_about(double count, double centre, double deviations, double squares) {
  return {count, centre + deviations / count, squares - deviations * deviations / count};
}

// The Moments of every column, in arrays: what depends on the count alone is worked out once.
class ColumnMoments {
 public:
  explicit ColumnMoments(int64_t width)
      : mean_(width), squares_(width), centre_(width), deviations_(width), products_(width) {}

  void add(const float* x, int64_t rows, int64_t width) {
    if (count_ == 0) centre_on(x, rows, width);
    std::fill_n(deviations_.begin(), width, 0.f);
    std::fill_n(products_.begin(), width, 0.f);
    add_rows<2>(rows, width, {deviations_.data(), products_.data()},
                [&](int64_t row, int64_t c, auto part, Vector* total) {
                  const Vector deviation =
                      load(x + row * width + c, part) - load(&centre_[c], part);
                  total[0] += deviation;
                  total[1] += deviation * deviation;
                });
    merge(static_cast<double>(rows), width);
  }

  Moments operator[](int64_t column) const { return {count_, mean_[column], squares_[column]}; }

 private:
  // The first block's mean, summed as deviations from its first row.
  void centre_on(const float* x, int64_t rows, int64_t width) {
    std::fill_n(deviations_.begin(), width, 0.f);
    add_rows<1>(rows, width, {deviations_.data()},
                [&](int64_t row, int64_t c, auto part, Vector* total) {
                  total[0] += load(x + row * width + c, part) - load(x + c, part);
                });
    for (int64_t c = 0; c < width; ++c)
      centre_[c] = x[c] + deviations_[c] / static_cast<float>(rows);
  }

  // Moments::merge with moments_about, for all columns at once.
  void merge(double rows, int64_t width) {
    const double each = 1 / rows, share = rows / (count_ + rows), weight = count_ * share;
    for (int64_t c = 0; c < width; ++c) {
      const double sum = deviations_[c];
      const double delta = centre_[c] + sum * each - mean_[c];
      squares_[c] += products_[c] - sum * sum * each + delta * delta * weight;
      mean_[c] += delta * share;
      centre_[c] = static_cast<float>(mean_[c]);
    }
    count_ += rows;
  }

  double count_ = 0;
  std::vector<double> mean_, squares_;
  std::vector<float> centre_, deviations_, products_;
};

template <typename Body>
void for_blocks(Range rows, const Body& body) {
  for (int64_t row = rows.begin; row < rows.end; row += block_additions)
    body(row, std::min(block_additions, rows.end - row));
}

std::vector<Moments> statistics_channels_last(const float* x, Shape shape) {
  const int64_t pixels = Folding(shape).pixels, width = pixels * shape.channels;
  const int64_t rows = shape.outer / pixels, rest = shape.outer % pixels;
  const int threads = thread_count_for(rows * width, grain_elements);
  std::vector<ColumnMoments> partial(threads, ColumnMoments(width));
  parallel_threads(threads, [&](int thread) {
    for_blocks(share_of(rows, thread, threads), [&](int64_t row, int64_t count) {
      partial[thread].add(x + row * width, count, width);
    });
  });
  std::vector<Moments> channels(shape.channels);
  for (const ColumnMoments& columns : partial)
    for (int64_t column = 0; column < width; ++column)
      channels[column % shape.channels].merge(columns[column]);
  for (int64_t at = rows * width; at < rows * width + rest * shape.channels; ++at)
    channels[(at - rows * width) % shape.channels].merge({1, x[at], 0});
  return channels;
}

// ---- sums over planes: NCHW --------------------------------------------------------------------

// Sums over the planes of one channel, kept in a register's lanes until a block is full.
template <int Terms>
struct PlaneSums {
  static constexpr int unroll = 4;  // independent chains hide the adder's latency
  static constexpr int64_t capacity = block_additions * unroll * lanes;
  Vector total[Terms] = {};
  int64_t count = 0;

  // Adds term(at)[k] over [0, size).
  template <typename Term>
  [[gnu::always_inline]] void add(int64_t size, const Term& term) {
    Vector chain[unroll][Terms] = {};
    int64_t at = 0;
    for (; at + unroll * lanes <= size; at += unroll * lanes)
      for (int step = 0; step < unroll; ++step) term(at + step * lanes, Whole{}, chain[step]);
    for_registers(size - at, [&](int64_t rest, auto part) { term(at + rest, part, chain[0]); });
    for (int k = 0; k < Terms; ++k)
      total[k] += (chain[0][k] + chain[1][k]) + (chain[2][k] + chain[3][k]);
    count += size;
  }

  bool has_room(int64_t size) const { return count + size <= capacity; }
  float of(int term) const { return sum(total[term]); }
};

// What each channel's planes come to: add(state, channel, offset, count) for parts of planes that
// are no larger than a block. Every thread walks planes that follow each other in memory, and has
// a state of its own for each channel.
template <typename State, typename Add>
auto over_planes(Shape shape, const Add& add) {
  const int64_t planes = shape.outer * shape.channels;
  const int threads = static_cast<int>(
      std::min<int64_t>(planes, thread_count_for(planes * shape.inner, grain_elements)));
  std::vector<std::vector<State>> partial(threads);
  parallel_threads(threads, [&](int thread) {
    std::vector<State> states(shape.channels);
    const Range own = share_of(planes, thread, threads);
    for (int64_t plane = own.begin; plane < own.end; ++plane) {
      const int64_t channel = plane % shape.channels;
      for (int64_t start = 0; start < shape.inner; start += PlaneSums<2>::capacity)
        add(states[channel], channel, plane * shape.inner + start,
            std::min(PlaneSums<2>::capacity, shape.inner - start));
    }
    for (State& state : states) state.flush();
    partial[thread] = std::move(states);
  });
  std::vector<decltype(State::result)> channels(shape.channels);
  for (const std::vector<State>& states : partial)
    for (int64_t c = 0; c < shape.channels; ++c) channels[c].merge(states[c].result);
  return channels;
}

struct ChannelMoments {
  Moments result;
  PlaneSums<2> sums;
  float centre = 0;

  void add(const float* x, int64_t size) {
    if (result.count + static_cast<double>(sums.count) == 0) centre_on(x, size);
    if (!sums.has_room(size)) flush();
    sums.add(size, [&](int64_t at, auto part, Vector* total) {
      // Lanes past the end would count as deviations of -centre.
      const Vector deviation = keep(load(x + at, part) - broadcast(centre), part);
      total[0] += deviation;
      total[1] += deviation * deviation;
    });
  }

  void flush() {
    if (sums.count == 0) return;
    result.merge(moments_about(static_cast<double>(sums.count), centre, sums.of(0), sums.of(1)));
    centre = static_cast<float>(result.mean);
    sums = {};
  }

 private:
  // The first part's mean, summed as deviations from its first value.
  void centre_on(const float* x, int64_t size) {
    PlaneSums<1> first;
    first.add(size, [&](int64_t at, auto part, Vector* total) {
      total[0] += keep(load(x + at, part) - broadcast(*x), part);
    });
    centre = *x + first.of(0) / static_cast<float>(size);
  }
};

std::vector<Moments> statistics_nchw(const float* x, Shape shape) {
  return over_planes<ChannelMoments>(shape, [&](ChannelMoments& moments, int64_t, int64_t offset,
                                                int64_t count) { moments.add(x + offset, count); });
}

void statistics(const float* x, Shape shape, float* mean, float* variance) {
  const std::vector<Moments> channels =
      shape.inner == 1 ? statistics_channels_last(x, shape) : statistics_nchw(x, shape);
  for (int64_t c = 0; c < shape.channels; ++c) {
    mean[c] = static_cast<float>(channels[c].mean);
    variance[c] = static_cast<float>(channels[c].squares / channels[c].count);
  }
}

// ---- gradients of weight and bias --------------------------------------------------------------

// Sums of dz and of dz * (x - mean).
struct GradientSums {
  double dz = 0, product = 0;
  void merge(const GradientSums& other) { dz += other.dz, product += other.product; }
};

template <Activation A>
std::vector<GradientSums> gradient_sums_channels_last(const float* x, const float* dy, Shape shape,
                                                      const Affine& affine, float negative_slope) {
  const int64_t pixels = Folding(shape).pixels, width = pixels * shape.channels;
  const int64_t rows = shape.outer / pixels, rest = shape.outer % pixels;
  const Coefficients coefficients(shape, affine, pixels);
  const Normalization<PerColumn> by = coefficients.columns();
  const int threads = thread_count_for(rows * width, grain_elements);
  std::vector<std::vector<GradientSums>> partial(threads, std::vector<GradientSums>(width));

  const auto add_block = [&](int64_t offset, int64_t count, int64_t columns, GradientSums* into) {
    std::vector<float> sums(2 * columns);
    float* const totals[2] = {sums.data(), sums.data() + columns};
    add_rows<2>(count, columns, totals, [&](int64_t row, int64_t c, auto part, Vector* total) {
      const int64_t at = offset + row * columns + c;
      const Vector centred = load(x + at, part) - by.mean(c, part);
      const Vector dz =
          preactivation_gradient<A>(centred, load(dy + at, part), c, part, by, negative_slope);
      total[0] += dz;
      total[1] += dz * centred;
    });
    for (int64_t c = 0; c < columns; ++c) into[c].merge({totals[0][c], totals[1][c]});
  };

  parallel_threads(threads, [&](int thread) {
    for_blocks(share_of(rows, thread, threads), [&](int64_t row, int64_t count) {
      add_block(row * width, count, width, partial[thread].data());
    });
  });
  std::vector<GradientSums> channels(shape.channels);
  add_block(rows * width, rest, shape.channels, channels.data());
  for (const std::vector<GradientSums>& columns : partial)
    for (int64_t column = 0; column < width; ++column)
      channels[column % shape.channels].merge(columns[column]);
  return channels;
}

struct ChannelGradientSums {
  GradientSums result;
  PlaneSums<2> sums;

  void flush() {
    result.merge({sums.of(0), sums.of(1)});
    sums = {};
  }
};

template <Activation A>
std::vector<GradientSums> gradient_sums_nchw(const float* x, const float* dy, Shape shape,
                                             const Affine& affine, float negative_slope) {
  const Coefficients coefficients(shape, affine, 1);
  return over_planes<ChannelGradientSums>(
      shape, [&](ChannelGradientSums& into, int64_t channel, int64_t offset, int64_t count) {
        const Normalization<Shared> by = coefficients.channel(channel);
        if (!into.sums.has_room(count)) into.flush();
        into.sums.add(count, [&](int64_t at, auto part, Vector* total) {
          // dy is zero in the lanes past the end, and so are both terms.
          const Vector centred = load(x + offset + at, part) - by.mean(0, part);
          const Vector dz = preactivation_gradient<A>(centred, load(dy + offset + at, part), 0,
                                                      part, by, negative_slope);
          total[0] += dz;
          total[1] += dz * centred;
        });
      });
}

void reduce_gradients(const float* x, const float* dy, Shape shape, Affine affine,
                      Epilogue epilogue, float* gradient_weight, float* gradient_bias) {
  with_activation(epilogue.activation, [&]<Activation A>() {
    const float slope = epilogue.negative_slope;
    const std::vector<GradientSums> channels =
        shape.inner == 1 ? gradient_sums_channels_last<A>(x, dy, shape, affine, slope)
                         : gradient_sums_nchw<A>(x, dy, shape, affine, slope);
    for (int64_t c = 0; c < shape.channels; ++c) {
      gradient_weight[c] = static_cast<float>(channels[c].product * affine.inverse_deviation[c]);
      gradient_bias[c] = static_cast<float>(channels[c].dz);
    }
  });
}

}  // namespace

extern const Kernels table = {statistics, normalize, reduce_gradients, gradient_input};

}  // namespace lamina::batch_norm2d::LAMINA_ISA
