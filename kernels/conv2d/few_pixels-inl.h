// A pointwise convolution of so few pixels that the weights are the larger tensor, a dense layer of
// some rows: the images are transposed and the weights read where they lie, not brought into
// panels.
#pragma once

#include "common/workspace.h"
#include "conv2d/layout-inl.h"
#include "conv2d/planes-inl.h"
#include "conv2d/planes_weight_gradient-inl.h"

namespace lamina::conv2d::LAMINA_ISA {

inline bool has_few_pixels(const Shape& s) {
  const auto is_dense = [](const Axis& axis) {
    return axis.taps == 1 && axis.stride == 1 && axis.before == 0 && axis.size == axis.output_size;
  };
  return is_dense(s.vertical) && is_dense(s.horizontal) && s.groups == 1 && s.pixels() <= 64 &&
         s.outputs >= 4 * s.pixels() && s.inputs >= 4 * s.pixels();
}

// The same pixels as those of one image of one row.
inline Shape one_row(const Shape& s) {
  const int64_t pixels = s.pixels();
  return {1, s.inputs, s.outputs, 1, {1, 1, 1, 1, 1, 0}, {pixels, pixels, 1, 1, 1, 0}};
}

inline void few_pixels(const float* x, Filter<const float> w, const Shape& s, const Finish& finish,
                       float* y) {
  const int64_t pixels = s.pixels(), x_size = round_up(s.inputs * pixels, 16);
  Workspace workspace(x_size + s.outputs * pixels);
  float *const planar_x = workspace.data(), *const planar_y = planar_x + x_size;
  reorder<false>(x, 1, s.inputs, pixels, planar_x);
  planes(planar_x, w, one_row(s), finish, planar_y);
  reorder<true>(planar_y, 1, s.outputs, pixels, y);
}

inline void few_pixels_weight_gradient(const float* x, const float* dy, const Shape& s,
                                       Filter<float> dw) {
  const int64_t pixels = s.pixels(), x_size = round_up(s.inputs * pixels, 16);
  Workspace workspace(x_size + s.outputs * pixels);
  float *const planar_x = workspace.data(), *const planar_dy = planar_x + x_size;
  reorder<false>(x, 1, s.inputs, pixels, planar_x);
  reorder<false>(dy, 1, s.outputs, pixels, planar_dy);
  planes_weight_gradient(planar_x, planar_dy, one_row(s), dw);
}

}  // namespace lamina::conv2d::LAMINA_ISA
