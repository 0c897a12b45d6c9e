#include <algorithm>
#include <cstdint>

#include "activation/activation.h"
#include "common/activation-inl.h"
#include "common/parallel_for.h"
#include "common/vector.h"
#include "common/whole_load.h"

namespace lamina::activation::LAMINA_ISA {
namespace {

constexpr int64_t grain_elements = 16 * 1024;  // fewer do not repay a thread

[[gnu::always_inline]] inline Vector magnitude(Vector v) {
  return (Vector)((IntVector)v & 0x7FFFFFFF);
}

[[gnu::always_inline]] inline Vector with_sign_of(Vector v, Vector sign) {
  return (Vector)((IntVector)v | ((IntVector)sign & static_cast<int32_t>(0x80000000)));
}

// Near 0, where 1 - 2 / (e^2x + 1) would cancel, the minimax polynomial of Cephes' tanhf.
[[gnu::always_inline]] inline Vector hyperbolic_tangent(Vector x) {
  const Vector square = x * x, size = magnitude(x);
  Vector p = broadcast(-5.70498872745e-3f);
  p = p * square + 2.06390887954e-2f;
  p = p * square - 5.37397155531e-2f;
  p = p * square + 1.33314422036e-1f;
  p = p * square - 3.33332819422e-1f;
  const Vector far = with_sign_of(1.f - 2.f / (exponential(size + size) + 1.f), x);
  return select(size < broadcast(0.625f), x + x * square * p, far);
}

// x * P(x^2) / Q(x^2), fitted to erf on [-4, 4]: error at most 4e-7 of the result. Beyond, erf is 1
// to float32's rounding.
[[gnu::always_inline]] inline Vector error_function(Vector x) {
  const Vector square = x * x;
  Vector p = broadcast(-2.72614225801306e-10f);
  p = p * square + 2.77068142495902e-08f;
  p = p * square - 2.10102402082508e-06f;
  p = p * square - 5.69250639462346e-05f;
  p = p * square - 7.34990630326855e-04f;
  p = p * square - 2.95459980854025e-03f;
  p = p * square - 1.60960333262415e-02f;
  Vector q = broadcast(-1.45660718464996e-05f);
  q = q * square - 2.13374055278905e-04f;
  q = q * square - 1.68282697438203e-03f;
  q = q * square - 7.37332916720468e-03f;
  q = q * square - 1.42647390514189e-02f;
  return select(magnitude(x) > broadcast(4.f), with_sign_of(broadcast(1.f), x), x * p / q);
}

[[gnu::always_inline]] inline Vector normal_distribution(Vector x) {
  return 0.5f + 0.5f * error_function(x * 0.70710678f);
}

[[gnu::always_inline]] inline Vector normal_density(Vector x) {
  return 0.39894228f * exponential(x * x * -0.5f);
}

// The argument of gelu_tanh's sigmoid, 2 * sqrt(2 / pi) * (x + 0.044715 * x^3).
[[gnu::always_inline]] inline Vector tanh_gelu_argument(Vector x) {
  return x * (1.5957691f + 0.071354816f * (x * x));
}

template <Function F>
[[gnu::always_inline]] inline Vector value(Vector x, float negative_slope) {
  if constexpr (F == Function::relu) return activate<Activation::relu>(x, negative_slope);
  if constexpr (F == Function::relu6) return activate<Activation::relu6>(x, negative_slope);
  if constexpr (F == Function::leaky_relu)
    return activate<Activation::leaky_relu>(x, negative_slope);
  if constexpr (F == Function::silu) return activate<Activation::silu>(x, negative_slope);
  if constexpr (F == Function::hardswish) return activate<Activation::hardswish>(x, negative_slope);
  if constexpr (F == Function::hardsigmoid)
    return at_most(at_least(x + 3.f, 0.f), 6.f) * (1.f / 6.f);
  if constexpr (F == Function::sigmoid) return sigmoid(x);
  if constexpr (F == Function::tanh) return hyperbolic_tangent(x);
  if constexpr (F == Function::gelu) return x * normal_distribution(x);
  if constexpr (F == Function::gelu_tanh) return x / (1.f + exponential(-tanh_gelu_argument(x)));
}

template <Function F>
[[gnu::always_inline]] inline Vector gradient(Vector saved, Vector dy) {
  const Vector zero{}, &x = saved, &y = saved;
  if constexpr (F == Function::silu) return dy * activation_gradient<Activation::silu>(x, 0.f);
  if constexpr (F == Function::hardswish)
    return select(x <= broadcast(-3.f), zero,
                  select(x >= broadcast(3.f), dy, dy * (x * (1.f / 3.f) + 0.5f)));
  if constexpr (F == Function::sigmoid) return dy * (1.f - y) * y;
  if constexpr (F == Function::tanh) return dy * (1.f - y * y);
  if constexpr (F == Function::gelu) return dy * (normal_distribution(x) + x * normal_density(x));
  if constexpr (F == Function::gelu_tanh) {
    // s * (1 - s) is even in the argument: with a power of at most 1 nothing cancels or overflows.
    const Vector argument = tanh_gelu_argument(x), e = exponential(-magnitude(argument));
    const Vector larger = 1.f / (1.f + e), s = select(argument < zero, e * larger, larger);
    const Vector inner = 1.5957691f + 0.21406445f * at_most(x * x, 1e4f);  // finite: times 0 is 0
    return dy * (s + x * (e * larger * larger) * inner);
  }
}

// The lanes where the function is neither flat nor leaks. PyTorch's relu alone lets NaN through.
template <Function F>
[[gnu::always_inline]] inline IntVector is_active(Vector x) {
  const Vector zero{};
  if constexpr (F == Function::relu) return ~(x <= zero);
  if constexpr (F == Function::relu6) return (x > zero) & (x < broadcast(6.f));
  if constexpr (F == Function::leaky_relu) return x > zero;
  if constexpr (F == Function::hardsigmoid) return (x > broadcast(-3.f)) & (x < broadcast(3.f));
}

template <Function F>
[[gnu::always_inline]] inline Vector gradient_of_bits(uint32_t bits, Vector dy,
                                                      float negative_slope) {
  if constexpr (F == Function::leaky_relu)
    return select(mask_from_bits(bits), dy, dy * negative_slope);
  if constexpr (F == Function::hardsigmoid) return keep_lanes(dy * (1.f / 6.f), bits);
  return keep_lanes(dy, bits);
}

// Calls body.template operator()<F>() with the function as a compile-time constant.
template <typename Body>
void with_function(Function function, const Body& body) {
  switch (function) {
#define LAMINA_CASE(name) \
  case Function::name:    \
    return body.template operator()<Function::name>();
    LAMINA_FOR_EACH_FUNCTION(LAMINA_CASE)
#undef LAMINA_CASE
  }
}

// Backwards begins with what was read last on the way forward, which the last cache still holds; in
// runs from their beginning, as processors prefetch.
enum class Order { forwards, backwards };
constexpr int64_t run_elements = int64_t{1} << 18;

// Calls compute(at, part) for all registers and stores what it returns; past the caches where the
// output is larger than they are.
template <Order order, typename Compute>
[[gnu::always_inline]] inline void for_all(int64_t size, float* to, const Compute& compute) {
  const bool stream = should_stream(to, size);
  const auto run = [&]<bool Streaming>(int64_t begin, int64_t end) __attribute__((always_inline)) {
    for_registers(end - begin, [&](int64_t at, auto part) {
      put<Streaming>(to + begin + at, compute(begin + at, part), part);
    });
  };
  // Threads begin on a register's boundary, as streaming stores must.
  parallel_for(
      (size + lanes - 1) / lanes, grain_elements / lanes, [&](int64_t first, int64_t last) {
        const int64_t begin = first * lanes, end = std::min(last * lanes, size);
        if (stream) {
          run.template operator()<true>(begin, end);
          streaming_fence();
        } else if (order == Order::forwards) {
          run.template operator()<false>(begin, end);
        } else {
          const int64_t runs = (end - begin + run_elements - 1) / run_elements;
          for (int64_t at = begin + (runs - 1) * run_elements; at >= begin; at -= run_elements)
            run.template operator()<false>(at, std::min(at + run_elements, end));
        }
      });
}

// The same a word of bits at a time: compute(word, at, shift, bits, part), where `shift` is the
// place in the word of a register's first bit and `bits` the word in the making, which finish(word,
// bits) gets after its last register.
template <typename Compute, typename Finish>
[[gnu::always_inline]] inline void for_all_words(int64_t size, float* to, const Compute& compute,
                                                 const Finish& finish) {
  const bool stream = should_stream(to, size);
  const auto run = [&]<bool Streaming>(int64_t first, int64_t last) {
    for (int64_t word = first; word < last; ++word) {
      const int64_t begin = word * word_elements, count = std::min(word_elements, size - begin);
      uint32_t bits = 0;
      if (count == word_elements) {
#pragma GCC unroll 32
        for (int shift = 0; shift < word_elements; shift += lanes)
          put<Streaming>(to + begin + shift, compute(word, begin + shift, shift, bits, Whole{}),
                         Whole{});
      } else {
        for_registers(count, [&](int64_t shift, auto part) {
          put<false>(to + begin + shift,
                     compute(word, begin + shift, static_cast<int>(shift), bits, part), part);
        });
      }
      finish(word, bits);
    }
    if (Streaming) streaming_fence();
  };
  parallel_for((size + word_elements - 1) / word_elements, grain_elements / word_elements,
               [&](int64_t first, int64_t last) {
                 stream ? run.template operator()<true>(first, last)
                        : run.template operator()<false>(first, last);
               });
}

void forward(Function function, const float* x, int64_t size, float negative_slope, float* y) {
  with_function(function, [&]<Function F>() {
    for_all<Order::forwards>(size, y, [=](int64_t at, auto part) {
      return value<F>(load(x + at, part), negative_slope);
    });
  });
}

void backward(Function function, const float* saved, const float* dy, int64_t size, float* dx) {
  with_function(function, [&]<Function F>() {
    if constexpr (!has_two_slopes(F)) {
      for_all<Order::backwards>(size, dx, [=](int64_t at, auto part) {
        return gradient<F>(load(saved + at, part), load_whole(dy + at, part));
      });
    }
  });
}

void forward_with_bits(Function function, const float* x, int64_t size, float negative_slope,
                       float* y, uint32_t* words) {
  with_function(function, [&]<Function F>() {
    if constexpr (has_two_slopes(F)) {
      for_all_words(
          size, y,
          [=](int64_t, int64_t at, int shift, uint32_t& bits, auto part) {
            const Vector v = load(x + at, part);
            bits |= mask_bits(is_active<F>(v)) << shift;
            return value<F>(v, negative_slope);
          },
          [=](int64_t word, uint32_t bits) {
            const int64_t count = std::min(word_elements, size - word * word_elements);
            words[word] = bits & ~uint32_t{0} >> (word_elements - count);
          });
    }
  });
}

void backward_of_bits(Function function, const uint32_t* words, const float* dy, int64_t size,
                      float negative_slope, float* dx) {
  with_function(function, [&]<Function F>() {
    if constexpr (has_two_slopes(F)) {
      for_all_words(
          size, dx,
          [=](int64_t word, int64_t at, int shift, uint32_t&, auto part) {
            return gradient_of_bits<F>(words[word] >> shift, load_whole(dy + at, part),
                                       negative_slope);
          },
          [](int64_t, uint32_t) {});
    }
  });
}

}  // namespace

extern const Kernels table = {forward, forward_with_bits, backward, backward_of_bits};

}  // namespace lamina::activation::LAMINA_ISA
