#include "common/test.h"

#include "common/derived.h"
#include "common/workspace.h"
#include "conv2d/conv2d.h"

using namespace lamina;
using namespace lamina::conv2d;
using test::Buffer;

namespace {

struct Case {
  int64_t images, inputs, outputs, groups, height, width;
  int64_t taps[2], stride[2], dilation[2], before[2], after[2];
};

Axis axis(const Case& c, int of) {
  const int64_t size = of ? c.width : c.height;
  const int64_t span = (c.taps[of] - 1) * c.dilation[of] + 1;
  const int64_t output = (size + c.before[of] + c.after[of] - span) / c.stride[of] + 1;
  return {size, output, c.taps[of], c.stride[of], c.dilation[of], c.before[of]};
}

Case square(int64_t images, int64_t inputs, int64_t outputs, int64_t side, int64_t taps,
            int64_t stride = 1, int64_t dilation = 1, int64_t groups = 1) {
  const int64_t before = (taps - 1) * dilation / 2;
  return {images,
          inputs,
          outputs,
          groups,
          side,
          side,
          {taps, taps},
          {stride, stride},
          {dilation, dilation},
          {before, before},
          {before, before}};
}

std::string describe(const char* algorithm, const Case& c) {
  std::string text = algorithm;
  for (int64_t value : {c.images, c.inputs, c.outputs, c.groups, c.height, c.width, c.taps[0],
                        c.taps[1], c.stride[0], c.stride[1], c.dilation[0], c.dilation[1],
                        c.before[0], c.before[1], c.after[0], c.after[1]})
    text.append(" ").append(std::to_string(value));
  return text;
}

// A start on a cache line and one beside it; the latter alone where plain loops, checked at every
// access, would take seconds.
std::vector<int> misalignments(const Case& c) {
  const int64_t macs = c.images * c.inputs / c.groups * c.outputs * c.height * c.width * c.taps[0] *
                       c.taps[1] / (c.stride[0] * c.stride[1]);
  return macs > 1'000'000 ? std::vector<int>{13} : std::vector<int>{0, 13};
}

// Winograd's transforms swell what they sum.
void compare(const char* algorithm, const Passes& tested, const Case& c, int misalignment,
             double tolerance, double gradient_tolerance, const Passes& truth = reference.direct) {
  std::mt19937 random(static_cast<unsigned>(c.inputs * 31 + c.height));
  const Shape shape = {c.images, c.inputs, c.outputs, c.groups, axis(c, 0), axis(c, 1)};
  const int64_t x_size = shape.pixels() * c.inputs, y_size = shape.positions() * c.outputs;
  const int64_t per_output = shape.group_inputs() * shape.taps();
  Buffer x(x_size, misalignment), w(c.outputs * per_output, misalignment), scale(c.outputs),
      shift(c.outputs, misalignment), dy(y_size, misalignment), addend(y_size, 5);
  for (Buffer* buffer : {&x, &w, &scale, &shift, &dy, &addend}) buffer->fill_normal(random);
  const std::string what = describe(algorithm, c);
  // With and without a tensor that is added; what the sums' registers clamp, and what is done
  // after.
  const auto finish = [&](int number, Buffer& y) -> Finish {
    const Addend beside = {addend.data(), y.data()};
    switch (number) {
      case 0:
        return {};
      case 1:
        return {nullptr, nullptr, {}, beside};
      case 2:
        return {scale.data(), shift.data(), {Activation::leaky_relu, 0.1f}, beside};
      default:
        return {nullptr, shift.data(), {Activation::relu, 0.f}, number == 3 ? beside : Addend{}};
    }
  };
  const auto filter_of = [&](bool channels_last_weight) {
    const int64_t inputs = shape.group_inputs(), taps = shape.taps(), columns = c.taps[1];
    return [=](auto* data) {
      using T = std::remove_pointer_t<decltype(data)>;
      if (channels_last_weight) return Filter<T>{data, per_output, 1, columns * inputs, inputs};
      return Filter<T>{data, per_output, taps, columns, 1};
    };
  };
  const float* const weight = w.data();
  const auto run = [&](const Passes& passes, bool channels_last_weight, Buffer& dx, Buffer& dw) {
    const auto filter = filter_of(channels_last_weight);
    passes.input_gradient(dy.data(), filter(weight), shape, dx.data());
    passes.weight_gradient(x.data(), dy.data(), shape, filter(dw.data()));
  };
  // Relative to the root of the number of terms, which is the size of a typical sum.
  const auto typical = [](int64_t terms) { return std::sqrt(static_cast<double>(terms)); };
  for (int number = 0; number < 5; ++number) {
    Buffer y(y_size, misalignment), expected_y(y_size);
    const auto filter = filter_of(number % 2);
    tested.forward(x.data(), filter(weight), shape, finish(number, y), y.data());
    truth.forward(x.data(), filter(weight), shape, finish(number, expected_y), expected_y.data());
    test::expect_close(y, expected_y, tolerance,
                       "output, finish " + std::to_string(number) + ", " + what,
                       typical(per_output));
  }
  for (bool channels_last_weight : {false, true}) {
    Buffer dx(x_size, misalignment), dw(w.size(), misalignment);
    Buffer expected_dx(x_size), expected_dw(w.size());
    run(tested, channels_last_weight, dx, dw);
    run(truth, channels_last_weight, expected_dx, expected_dw);
    test::expect_close(dx, expected_dx, tolerance, "input's gradient, " + what,
                       typical(shape.group_outputs() * shape.taps()));
    test::expect_close(dw, expected_dw, gradient_tolerance, "weight's gradient, " + what,
                       typical(shape.positions()));
  }
}

void compare_reorders(const Kernels& tested, int64_t channels, int64_t pixels, int misalignment) {
  std::mt19937 random(1);
  const int64_t size = 3 * channels * pixels;
  Buffer x(size, 3), y(size, misalignment), back(size, misalignment), expected(size);
  x.fill_normal(random);
  const std::string what = "reorder " + std::to_string(channels) + " " + std::to_string(pixels);
  tested.to_channels_last(x.data(), 3, channels, pixels, y.data());
  reference.to_channels_last(x.data(), 3, channels, pixels, expected.data());
  test::expect_close(y, expected, 0, "to channels-last, " + what);
  tested.from_channels_last(y.data(), 3, channels, pixels, back.data());
  test::expect_close(back, x, 0, "from channels-last, " + what);
}

void compare_reorders(const Kernels& tested) {
  for (int64_t channels : {1, 3, 16, 37})
    for (int64_t pixels : {1, 5, 64, 131}) compare_reorders(tested, channels, pixels, 5);
  // Past the caches, both ways and one.
  compare_reorders(tested, 64, 32784, 0);
  compare_reorders(tested, 48, 43700, 0);
}

// A block that was given back serves the next call; two at once are two.
void reuse_workspace() {
  const float* first;
  {
    Workspace one(1000), other(1000);
    first = one.data();
    if (one.data() == other.data()) std::printf("FAILED: workspace shared\n"), ++test::failures;
  }
  Workspace again(900), more(900);
  if (again.data() != first && more.data() != first)
    std::printf("FAILED: workspace not reused\n"), ++test::failures;
}

// A call that is made again keeps what it made of its weights until one of them is another.
void keep_weights(const Passes& passes, const char* name, const Case& c) {
  const Shape s = {c.images, c.inputs, c.outputs, c.groups, axis(c, 0), axis(c, 1)};
  const int64_t x_size = s.images * s.inputs * s.vertical.size * s.horizontal.size;
  const int64_t y_size = s.images * s.outputs * s.vertical.output_size * s.horizontal.output_size;
  Buffer x(x_size), w(s.outputs * s.group_inputs() * s.taps()), y(y_size), expected(y_size);
  std::mt19937 random(3);
  x.fill_normal(random), w.fill_normal(random);
  const Filter<const float> filter = {w.data(), s.group_inputs() * s.taps(), s.taps(),
                                      s.horizontal.taps, 1};
  Kept kept;
  for (int64_t change : {int64_t{-1}, int64_t{-1}, int64_t{0}, w.size() / 2, w.size() - 1}) {
    if (change >= 0) w[change] += 1;
    if (change == 0) std::swap(w[1], w[2]);
    passes.forward(x.data(), filter, s, {}, expected.data());
    const Keeping keeping(&kept);
    passes.forward(x.data(), filter, s, {}, y.data());
    test::expect_close(y, expected, 1e-6, std::string("kept weights, ") + name);
  }
}

// What is kept is limited, and given back.
void keep_no_more_than_allowed() {
  const int64_t most = kept_bytes_most / int64_t{sizeof(float)};
  Kept first, second;
  test::check(!first.next(most + 1), "more than is kept");
  test::check(second.next(most - 10) && !first.next(11), "together more than is kept");
  second = Kept();
  test::check(first.next(11), "what was given back may be kept again");
}

}  // namespace

int main() {
  return test::run([](Isa isa) {
    reuse_workspace();
    keep_no_more_than_allowed();
    const Kernels& tested = kernels(isa);
    compare_reorders(tested);

    const Case any[] = {
        square(1, 1, 1, 1, 1),
        square(2, 3, 5, 9, 7, 2),
        square(2, 6, 70, 8, 3, 2),
        square(1, 8, 12, 9, 3, 1, 2, 4),
        square(2, 9, 6, 11, 5, 3, 2, 3),
        square(1, 600, 40, 3, 1),
        square(1, 130, 140, 5, 3),
        {2, 5, 7, 1, 6, 9, {2, 3}, {1, 2}, {3, 1}, {0, 2}, {4, 1}},
        {1, 3, 4, 1, 7, 5, {1, 1}, {2, 3}, {1, 1}, {0, 0}, {0, 0}},
        {1, 2, 3, 1, 12, 10, {3, 2}, {4, 3}, {2, 6}, {1, 0}, {0, 3}},
        square(3, 20, 50, 40, 3),  // several threads, positions split
        {1, 150, 70, 1, 1, 17, {1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}},  // few pixels
        square(2, 40, 61, 2, 1),
        square(1, 37, 50, 1, 1),
        {1, 281, 270, 1, 1, 131, {1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}},
        {1, 1100, 140, 1, 1, 35, {1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}},
        {1, 300, 500, 1, 1, 95, {1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}},  // panels split
    };
    for (const Case& c : any)
      for (int misalignment : misalignments(c))
        compare("direct", tested.direct, c, misalignment, 3e-6, 3e-6);

    const Case pointwise[] = {
        square(1, 1, 1, 1, 1),     square(3, 5, 7, 3, 1),
        square(5, 70, 130, 7, 1),   // panels that begin in one image and end in another
        square(2, 66, 20, 40, 1),   // several threads, positions split
        square(1, 300, 500, 5, 1),  // rows split
        square(2, 1100, 9, 3, 1),   // a product in several stretches
        square(1, 4, 3, 33, 1),     // several tiles of one image
    };
    for (const Case& c : pointwise)
      for (int misalignment : misalignments(c))
        compare("planes", tested.planes, c, misalignment, 3e-6, 3e-6, reference.planes);

    const auto window = [](int64_t images, int64_t inputs, int64_t outputs, int64_t height,
                           int64_t width, int64_t taps, int64_t top, int64_t bottom, int64_t left,
                           int64_t right) {
      return Case{images,       inputs, outputs, 1,           height,         width,
                  {taps, taps}, {1, 1}, {1, 1},  {top, left}, {bottom, right}};
    };
    for (int64_t taps : {3, 5}) {
      const int64_t pad = taps / 2;
      const Case cases[] = {
          square(1, 1, 1, 1, taps),
          window(1, 1, 1, taps, taps, taps, 0, 0, 0, 0),
          window(2, 3, 5, 4, 4, taps, pad, pad, pad, pad),
          window(1, 17, 33, 7, 5, taps, pad, pad, pad, pad),
          window(3, 16, 64, 8, 9, taps, 0, 0, 0, 0),
          window(2, 8, 70, 5, 13, taps, 0, 1, 1, 0),
          window(1, 5, 7, 6, 6, taps, 2, 3, 4, 0),
          window(1, 4, 4, 9, 3, taps, 6, 0, 0, 7),
          window(2, 65, 15, 14, 14, taps, pad, pad, pad, pad),
          window(1, 150, 140, 3, 2, taps, 2, 2, 2, 2),
          // Enough tiles for blocks of every thread's own, the last of them not whole.
          window(3, 8, 24, 85, 66, taps, 1, 1, 1, 1),
      };
      for (const Case& c : cases)
        for (int misalignment : misalignments(c)) {
          if (taps == 3) {
            compare("winograd 4x4", tested.winograd_4x4, c, misalignment, 1e-5, 1e-4);
            compare("winograd 2x2", tested.winograd_2x2, c, misalignment, 3e-6, 3e-6);
          } else {
            compare("winograd 5x5", tested.winograd_5x5, c, misalignment, 3e-5, 1e-4);
          }
        }
    }
    // At stride 2, with tiles that begin at an even pixel of the padded image and at an odd one.
    const auto strided = [&](int64_t images, int64_t inputs, int64_t outputs, int64_t height,
                             int64_t width, int64_t top, int64_t left, int64_t after) {
      Case c = window(images, inputs, outputs, height, width, 3, top, after, left, after);
      c.stride[0] = c.stride[1] = 2;
      return c;
    };
    const Case halving[] = {
        strided(1, 1, 1, 1, 1, 1, 1, 1),
        strided(1, 1, 1, 3, 3, 0, 0, 0),
        strided(2, 3, 5, 4, 4, 1, 1, 1),
        strided(2, 3, 5, 16, 17, 1, 1, 0),
        strided(1, 17, 33, 9, 18, 0, 0, 1),
        strided(2, 8, 70, 11, 13, 0, 1, 2),
        strided(1, 5, 7, 6, 6, 5, 3, 2),
        strided(1, 4, 4, 9, 3, 6, 4, 7),
        strided(2, 65, 15, 15, 33, 1, 2, 0),
        strided(4, 8, 24, 130, 121, 1, 1, 1),  // blocks of every thread's own
        strided(2, 200, 300, 9, 8, 1, 1, 1),   // few tiles beside the weights
    };
    for (const Case& c : halving)
      for (int misalignment : misalignments(c)) {
        compare("strided 4x4", tested.strided_4x4, c, misalignment, 1e-5, 3e-5);
        compare("strided 2x2", tested.strided_2x2, c, misalignment, 3e-6, 3e-6);
      }
    keep_weights(tested.direct, "direct", square(1, 20, 70, 9, 3));
    keep_weights(tested.direct, "direct, pointwise", square(2, 40, 61, 20, 1));
    keep_weights(tested.winograd_4x4, "winograd 4x4", square(1, 20, 70, 9, 3));
    keep_weights(tested.winograd_2x2, "winograd 2x2", square(1, 290, 300, 5, 3));
    keep_weights(tested.winograd_2x2, "winograd 2x2, tiles apart", square(2, 16, 24, 70, 3));
    // Few tiles beside the weights.
    compare("winograd 4x4", tested.winograd_4x4, square(2, 200, 300, 7, 3), 3, 2e-5, 1e-4);
    compare("winograd 2x2", tested.winograd_2x2, square(1, 290, 300, 5, 3), 0, 3e-6, 3e-6);
    // More tiles than one block of the weight's gradient holds.
    compare("winograd 4x4", tested.winograd_4x4, window(2, 4, 190, 59, 61, 3, 1, 1, 1, 1), 0, 1e-5,
            1e-4);
  });
}
