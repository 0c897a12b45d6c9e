#include "conv2d/conv2d.h"
#include "conv2d/direct-inl.h"
#include "conv2d/direct_weight_gradient-inl.h"
#include "conv2d/few_pixels-inl.h"
#include "conv2d/layout-inl.h"
#include "conv2d/planes-inl.h"
#include "conv2d/planes_weight_gradient-inl.h"
#include "conv2d/winograd-inl.h"
#include "conv2d/winograd_weight_gradient-inl.h"

namespace lamina::conv2d::LAMINA_ISA {
namespace {

int64_t macs(const Shape& s) { return s.positions() * s.outputs * s.group_inputs() * s.taps(); }

void direct(const float* x, Filter<const float> w, const Shape& shape, const Finish& finish,
            float* y) {
  if (has_few_pixels(shape, few_pixels_forward) && lies_in_rows(w, shape))
    return few_pixels(x, w, shape, finish, y);
  const GroupedWeight weight = forward_weight(shape, w);
  if (!merges(shape))
    return gather(forward_gather(x, shape, y), weight, shape.taps(), macs(shape), finish);
  Workspace workspace(merged_size(shape));
  gather(merged_gather(x, shape, workspace.data(), y), weight, shape.vertical.taps, macs(shape),
         finish);
}

void direct_input_gradient(const float* dy, Filter<const float> w, const Shape& shape, float* dx) {
  if (has_few_pixels(shape, few_pixels_backward) && lies_in_rows(w, shape))
    return few_pixels_input_gradient(dy, w, shape, dx);
  gather(gradient_gather(dy, shape, dx), gradient_weight(shape, w), shape.taps(), macs(shape), {});
}

void weight_gradient(const float* x, const float* dy, const Shape& shape, Filter<float> dw) {
  if (has_few_pixels(shape, few_pixels_backward) && lies_in_rows(dw, shape))
    return few_pixels_weight_gradient(x, dy, shape, dw);
  direct_weight_gradient(x, dy, shape, dw);
}

template <typename S>
constexpr Passes winograd_passes = {winograd<S>, winograd_input_gradient<S>,
                                    winograd_weight_gradient<S>};
template <int Out, typename S = StridedScheme<Out>>
constexpr Passes strided_passes = {winograd<S>, strided_input_gradient<Out>,
                                   winograd_weight_gradient<S>};

}  // namespace

extern const Kernels table = {{direct, direct_input_gradient, weight_gradient},
                              {planes, planes_input_gradient, planes_weight_gradient},
                              winograd_passes<Scheme<4, 3>>,
                              winograd_passes<Scheme<2, 3>>,
                              winograd_passes<Scheme<2, 5>>,
                              strided_passes<4>,
                              strided_passes<2>,
                              reorder<true>,
                              reorder<false>};

}  // namespace lamina::conv2d::LAMINA_ISA
