#include "common/test.h"

#include "common/workspace.h"
#include "conv2d/conv2d.h"

using namespace lamina;
using namespace lamina::conv2d;
using test::Buffer;

namespace {

struct Case {
  int64_t batch, inputs, outputs, height, width;
  int64_t top, bottom, left, right;
};

std::string describe(const Case& c, bool channels_last) {
  std::string text = channels_last ? "channels-last" : "NCHW";
  for (int64_t value :
       {c.batch, c.inputs, c.outputs, c.height, c.width, c.top, c.bottom, c.left, c.right})
    text.append(" ").append(std::to_string(value));
  return text;
}

template <typename T>
Image<T> image(T* data, int64_t n, int64_t c, int64_t h, int64_t w, bool channels_last) {
  if (channels_last) return {data, n, c, h, w, h * w * c, 1, w * c, c};
  return {data, n, c, h, w, c * h * w, h * w, w, 1};
}

void compare(const Kernels& tested, const Case& c, bool channels_last, int misalignment,
             bool with_bias) {
  std::mt19937 random(static_cast<unsigned>(c.inputs * 31 + c.height));
  const int64_t height = c.height + c.top + c.bottom - 2, width = c.width + c.left + c.right - 2;
  const int64_t x_size = c.batch * c.inputs * c.height * c.width;
  const int64_t y_size = c.batch * c.outputs * height * width;
  Buffer x(x_size, misalignment), w(c.outputs * c.inputs * 9, misalignment), bias(c.outputs),
      dy(y_size, misalignment);
  x.fill_normal(random), w.fill_normal(random), bias.fill_normal(random), dy.fill_normal(random);
  const std::string what = describe(c, channels_last);
  const Offset padding = {c.top, c.left};
  const Filter<const float> filter = {w.data(), c.outputs, c.inputs, c.inputs * 9, 9, 3, 1};
  const auto x_image =
      image<const float>(x.data(), c.batch, c.inputs, c.height, c.width, channels_last);
  const auto dy_image =
      image<const float>(dy.data(), c.batch, c.outputs, height, width, channels_last);
  const auto run = [&](const Kernels& kernels, Buffer& y, Buffer& dx, Buffer& dw) {
    kernels.winograd(x_image, filter, with_bias ? bias.data() : nullptr, padding,
                     image(y.data(), c.batch, c.outputs, height, width, channels_last));
    kernels.winograd(dy_image, flipped(filter), nullptr, flipped(padding),
                     image(dx.data(), c.batch, c.inputs, c.height, c.width, channels_last));
    kernels.winograd_weight_gradient(x_image, dy_image, padding,
                                     {dw.data(), c.outputs, c.inputs, c.inputs * 9, 9, 3, 1});
  };
  Buffer y(y_size, misalignment), dx(x_size, misalignment), dw(w.size(), misalignment);
  Buffer expected_y(y_size), expected_dx(x_size), expected_dw(w.size());
  run(tested, y, dx, dw);
  run(reference, expected_y, expected_dx, expected_dw);
  // Relative to the root of the number of terms, which is the size of a typical sum.
  const double terms = std::sqrt(9. * static_cast<double>(std::max(c.inputs, c.outputs)));
  test::expect_close(y, expected_y, 1e-5, "output, " + what, terms);
  test::expect_close(dx, expected_dx, 1e-5, "input's gradient, " + what, terms);
  // F(3x3, 4x4) swells its terms more than F(4x4, 3x3).
  test::expect_close(dw, expected_dw, 1e-4, "weight's gradient, " + what,
                     std::sqrt(static_cast<double>(c.batch * height * width)));
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

}  // namespace

int main() {
  return test::run([](Isa isa) {
    reuse_workspace();
    const Kernels& tested = kernels(isa);
    const Case cases[] = {
        {1, 1, 1, 1, 1, 1, 1, 1, 1},     {1, 1, 1, 3, 3, 0, 0, 0, 0},
        {2, 3, 5, 4, 4, 1, 1, 1, 1},     {1, 17, 33, 7, 5, 1, 1, 1, 1},
        {3, 16, 64, 8, 9, 0, 0, 0, 0},   {2, 8, 70, 5, 13, 0, 1, 1, 0},
        {1, 5, 7, 6, 6, 2, 3, 4, 0},     {1, 4, 4, 9, 3, 6, 0, 0, 7},
        {2, 65, 15, 14, 14, 1, 1, 1, 1}, {1, 150, 140, 3, 2, 1, 1, 1, 1},
    };
    for (const Case& c : cases)
      for (bool channels_last : {true, false})
        for (int misalignment : {0, 13}) compare(tested, c, channels_last, misalignment, true);
    // Enough tiles for blocks of every thread's own, the last of them not whole.
    compare(tested, {3, 8, 24, 85, 66, 1, 1, 1, 1}, true, 0, false);
    // More tiles than one block of the weight's gradient holds.
    compare(tested, {2, 100, 90, 59, 61, 1, 1, 1, 1}, true, 0, false);
  });
}
