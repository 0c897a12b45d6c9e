#include "common/test.h"

#include "separable_conv2d/separable_conv2d.h"

using namespace lamina;
using namespace lamina::separable_conv2d;
using test::Buffer;

namespace {

struct Case {
  int64_t images, inputs, middle, outputs, height, width, taps, stride, dilation, before, after;
  bool expands, shortcut;
  Activation activation = Activation::relu6, last = Activation::none;
};

void compare(const Kernels& tested, const Case& c, int misalignment) {
  std::mt19937 random(static_cast<unsigned>(c.middle * 31 + c.height));
  const auto axis = [&](int64_t size) {
    const int64_t span = (c.taps - 1) * c.dilation + 1;
    return Axis{size,       (size + c.before + c.after - span) / c.stride + 1,
                c.taps,     c.stride,
                c.dilation, c.before};
  };
  const Shape shape = {c.images,       c.inputs,      c.middle,  c.outputs,
                       axis(c.height), axis(c.width), c.shortcut};
  const int64_t y_size =
      c.images * shape.vertical.output_size * shape.horizontal.output_size * c.outputs;
  Buffer x(c.images * c.height * c.width * c.inputs, misalignment);
  Buffer expand(c.middle * c.inputs), filter(c.middle * c.taps * c.taps, misalignment);
  Buffer project(c.outputs * c.middle), scale(c.middle), shift(c.middle), bias(c.outputs);
  for (Buffer* buffer : {&x, &expand, &filter, &project, &scale, &shift, &bias})
    buffer->fill_normal(random);
  const Epilogue inner = {c.activation, 0.1f}, outer = {c.last, 0.1f};
  const Pointwise first = {c.expands ? expand.data() : nullptr,
                           {scale.data(), shift.data(), inner}};
  const Depthwise second = {filter.data(), {scale.data(), shift.data(), inner}};
  const Pointwise last = {project.data(), {nullptr, bias.data(), outer}};
  Buffer y(y_size, misalignment), expected(y_size);
  tested.forward(x.data(), first, second, last, shape, y.data());
  reference.forward(x.data(), first, second, last, shape, expected.data());
  std::string what;
  for (int64_t value : {c.images, c.inputs, c.middle, c.outputs, c.height, c.width, c.taps,
                        c.stride, c.dilation, c.before, c.after})
    what.append(" ").append(std::to_string(value));
  test::expect_close(y, expected, 1e-5, "separable" + what, 6. * std::sqrt(double(c.middle)));
}

}  // namespace

int main() {
  return test::run([](Isa isa) {
    const Case cases[] = {
        {1, 1, 1, 1, 1, 1, 3, 1, 1, 1, 1, false, false},
        {2, 5, 5, 7, 8, 9, 3, 1, 1, 1, 1, false, false},
        {1, 33, 33, 65, 11, 10, 5, 2, 1, 2, 1, false, false},
        {3, 6, 36, 6, 7, 7, 3, 1, 1, 1, 1, true, true},
        {1, 16, 96, 24, 15, 14, 3, 2, 1, 1, 1, true, false},
        {2, 10, 60, 70, 9, 6, 3, 1, 2, 2, 2, true, false},
        {2, 3, 18, 3, 60, 50, 3, 1, 1, 1, 1, true, true},
        {1, 4, 8, 5, 9, 9, 2, 3, 1, 0, 4, true, false},
        {1, 7, 20, 7, 5, 4, 7, 1, 1, 3, 3, true, true},
        // Several bands to a thread, of rows that overlap or do not.
        {1, 2, 18, 5, 80, 60, 3, 2, 1, 1, 1, true, false},
        {2, 2, 9, 3, 43, 60, 3, 1, 2, 2, 2, true, false},
        {1, 3, 3, 4, 61, 45, 5, 1, 1, 2, 2, false, false},
        // Panels of every width, also beside each other, and fewer pixels than a block has rows.
        {1, 20, 200, 100, 6, 17, 3, 1, 1, 1, 1, true, false},
        {1, 17, 144, 40, 3, 3, 3, 1, 1, 1, 1, true, false, Activation::relu},
        // Few pixels, whose channels threads share.
        {1, 24, 144, 24, 5, 6, 3, 1, 1, 1, 1, true, true, Activation::silu, Activation::hardswish},
        {1, 40, 261, 33, 7, 9, 3, 2, 1, 1, 1, true, false, Activation::relu6, Activation::relu},
        {2, 18, 100, 18, 4, 4, 5, 1, 1, 2, 2, true, true},
        // One row, hence one thread, of several panels that add to the same sums.
        {1, 6, 90, 6, 1, 130, 3, 1, 1, 1, 1, true, true, Activation::silu, Activation::hardswish},
        {2, 30, 66, 30, 9, 8, 3, 1, 1, 1, 1, true, true, Activation::silu, Activation::hardswish},
        {1, 50, 50, 50, 7, 5, 3, 1, 1, 1, 1, false, true, Activation::leaky_relu, Activation::silu},
    };
    for (const Case& c : cases)
      for (int misalignment : {0, 13}) compare(kernels(isa), c, misalignment);
  });
}
