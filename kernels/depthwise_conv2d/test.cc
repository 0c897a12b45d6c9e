#include "common/test.h"

#include "depthwise_conv2d/depthwise_conv2d.h"

using namespace lamina;
using namespace lamina::depthwise_conv2d;
using test::Buffer;

namespace {

Axis axis(int64_t size, int64_t taps, int64_t stride, int64_t dilation, int64_t before,
          int64_t after) {
  const int64_t output = (size + before + after - (taps - 1) * dilation - 1) / stride + 1;
  return {size, output, taps, stride, dilation, before};
}

std::string describe(const Shape& shape, Epilogue epilogue, int misalignment) {
  std::string text = shape.channels_last ? "channels-last" : "NCHW";
  for (const auto& [name, value] :
       std::initializer_list<std::pair<const char*, int64_t>>{{"images", shape.images},
                                                              {"channels", shape.channels},
                                                              {"multiplier", shape.multiplier}})
    text += std::string(" ") + name + " " + std::to_string(value);
  for (const Axis& a : {shape.vertical, shape.horizontal})
    text += " (size " + std::to_string(a.size) + " taps " + std::to_string(a.taps) + " stride " +
            std::to_string(a.stride) + " dilation " + std::to_string(a.dilation) + " before " +
            std::to_string(a.before) + ")";
  return text + " activation " + std::to_string(static_cast<int>(epilogue.activation)) +
         " misalignment " + std::to_string(misalignment);
}

void compare(const Kernels& tested, const Shape& shape, Epilogue epilogue = {},
             int misalignment = 0, bool with_bias = true) {
  std::mt19937 random(static_cast<unsigned>(shape.channels * 31 + shape.horizontal.size));
  const int64_t inputs =
      shape.images * shape.channels * shape.vertical.size * shape.horizontal.size;
  const int64_t outputs =
      shape.images * shape.outputs() * shape.vertical.output_size * shape.horizontal.output_size;
  Buffer x(inputs, misalignment), dy(outputs, misalignment),
      weight(shape.outputs() * shape.taps(), misalignment), bias(shape.outputs(), misalignment),
      scale(shape.outputs());
  for (Buffer* buffer : {&x, &dy, &weight, &bias, &scale}) buffer->fill_normal(random);
  const float* b = with_bias ? bias.data() : nullptr;
  const std::string what = describe(shape, epilogue, misalignment);

  const float* const scales[] = {nullptr, scale.data()};
  for (const float* s : scales) {
    Buffer y(outputs, misalignment), expected_y(outputs);
    const Finish finish = {s, b, epilogue};
    tested.forward(x.data(), weight.data(), shape, finish, y.data());
    reference.forward(x.data(), weight.data(), shape, finish, expected_y.data());
    test::expect_close(y, expected_y, 2e-6, (s ? "scaled output, " : "output, ") + what, 1.0);
  }

  Buffer dx(inputs, misalignment), dweight(weight.size(), misalignment), dbias(bias.size()),
      expected_dx(inputs), expected_dweight(weight.size()), expected_dbias(bias.size());
  tested.backward(x.data(), dy.data(), weight.data(), b, shape, epilogue, dx.data(), dweight.data(),
                  dbias.data());
  reference.backward(x.data(), dy.data(), weight.data(), b, shape, epilogue, expected_dx.data(),
                     expected_dweight.data(), expected_dbias.data());
  test::expect_close(dx, expected_dx, 2e-6, "input's gradient, " + what, 1.0);
  test::expect_close(dweight, expected_dweight, 4e-6, "weight's gradient, " + what, 1.0);
  test::expect_close(dbias, expected_dbias, 4e-6, "bias's gradient, " + what, 1.0);

  // Each gradient by itself is the same.
  Buffer only_dx(inputs), only_dweight(weight.size());
  tested.backward(x.data(), dy.data(), weight.data(), b, shape, epilogue, only_dx.data(), nullptr,
                  nullptr);
  tested.backward(x.data(), dy.data(), weight.data(), b, shape, epilogue, nullptr,
                  only_dweight.data(), nullptr);
  test::expect_close(only_dx, dx, 0, "input's gradient alone, " + what);
  test::expect_close(only_dweight, dweight, 0, "weight's gradient alone, " + what);
}

}  // namespace

int main() {
  return test::run([](Isa isa) {
    const Kernels& tested = kernels(isa);
    for (bool channels_last : {true, false}) {
      // Every loop with a size of its own, every block of columns, channels with and without rest.
      for (int64_t taps : {1, 2, 3, 4, 5, 6, 7, 9})
        for (int64_t stride : {1, 2, 3})
          for (int64_t size : {1, 3, 8, 14, 23}) {
            const int64_t before = taps / 2, after = (taps - 1) / 2;
            const Axis a = axis(size, taps, stride, 1, before, after);
            for (int64_t channels : {3, 16, 21})
              compare(tested, {2, channels, 1, a, a, channels_last}, {}, size % 3);
          }
      for (int64_t stride : {1, 2, 3, 4})
        for (int64_t dilation : {2, 3, 4}) {
          compare(tested, {1, 20, 1, axis(17, 3, stride, dilation, 0, 3),
                           axis(19, 5, stride, dilation, 6, 1), channels_last});
          compare(tested, {1, 5, 1, axis(9, 3, 1, dilation, 4, 4),
                           axis(13, 2, stride, dilation, 0, 0), channels_last});
        }
      for (int64_t multiplier : {2, 3, 16, 37})
        compare(tested,
                {2, 11, multiplier, axis(9, 3, 2, 1, 1, 1), axis(8, 3, 2, 1, 0, 1), channels_last},
                {Activation::relu, 0.f});
      // Padding wider than the window, a window higher than the image.
      compare(tested, {2, 18, 1, axis(3, 3, 1, 1, 5, 4), axis(4, 5, 1, 1, 9, 7), channels_last});
      compare(tested, {2, 18, 1, axis(3, 5, 1, 1, 2, 2), axis(30, 1, 1, 1, 0, 0), channels_last});
      for (Activation activation : {Activation::relu, Activation::relu6, Activation::leaky_relu,
                                    Activation::silu, Activation::hardswish})
        for (int64_t stride : {1, 2}) {
          const Axis a = axis(15, 3, stride, 1, 1, 1);
          compare(tested, {2, 21, 1, a, a, channels_last}, {activation, 0.1f}, 1,
                  activation != Activation::silu);
        }
      // Several bands to a plane, a rest of rows and of columns, some windows beyond the image.
      for (Activation activation : {Activation::none, Activation::silu})
        for (int64_t stride : {1, 2})
          for (int64_t taps : {3, 5, 7})
            for (int64_t before : {int64_t{0}, taps - 1})
              compare(tested,
                      {2, 3, 1, axis(93, taps, stride, 1, before, taps - 1 - before),
                       axis(77, taps, stride, 1, taps - 1 - before, before + 2), channels_last},
                      {activation, 0.f}, static_cast<int>(taps));
      // Planes so narrow that two rows fill a register, to the last lane or not; an odd number of
      // rows, no columns before.
      for (int64_t before : {0, 1, 2})
        for (int64_t height : {5, 11, 12})
          for (int64_t width : {5, 8, 13, 16})
            compare(tested,
                    {2, 3, 1, axis(height, 3, 2, 1, before, 2 - before),
                     axis(width, 3, 2, 1, before % 2, 1), channels_last},
                    {before == 1 ? Activation::silu : Activation::none, 0.f}, 1);
      // Large enough for threads and, the last, for stores past the caches, if they are aligned.
      const Axis a = axis(40, 3, 1, 1, 1, 1);
      compare(tested, {4, 35, 1, a, a, channels_last});
      compare(tested, {14, 64, 1, a, a, channels_last}, {}, 1);
      compare(tested,
              {2, 64, 1, axis(224, 3, 1, 1, 1, 1), axis(224, 3, 1, 1, 1, 1), channels_last});
      compare(tested,
              {2, 64, 1, axis(224, 3, 2, 1, 1, 1), axis(223, 3, 2, 1, 1, 1), channels_last});
    }
  });
}
