#include <optional>
#include <vector>

#include "depthwise_conv2d/folded-inl.h"
#include "depthwise_conv2d/stride2-inl.h"

namespace lamina::depthwise_conv2d::LAMINA_ISA {
namespace {

class StridedLoops final : public DirectLoops {
 public:
  explicit StridedLoops(const Shape& shape)
      : before_(shape.vertical.before),
        windows_(StridedColumns::of_windows(shape.horizontal)),
        elements_(StridedColumns::of_elements(shape.horizontal)) {
    if (!FoldedPlane::fits(shape)) return;
    const Axis& vertical = shape.vertical;
    folded_windows_.emplace(shape, 0, vertical.output_size);
    folded_elements_.emplace(shape, vertical.before / 2, row_elements(vertical));
  }

  void correlate(const PlaneRows& x, const float* weight, float bias, const RowFinish& by,
                 int64_t begin, int64_t end, int64_t width, float* to) const override {
    if (folded_windows_) {
      correlate_folded(*folded_windows_, x.data, x.ahead, weight, bias, by, (end - begin) * width,
                       to);
    } else {
      correlate_strided(windows_, before_, x, weight, bias, by, begin, end, width, to);
    }
  }
  void gradient(const PlaneRows& x, const PlaneRows& dz, const float* weight, int64_t begin,
                int64_t end, Vector* sums, float* dx) const override {
    with_gradients(dx, sums, [&]<bool WithInput, bool WithSums>() {
      if (folded_elements_) {
        gradient_folded<WithInput, WithSums>(*folded_elements_, x.data, x.ahead, dz.data, dz.ahead,
                                             weight, sums, dx);
      } else {
        gradient_strided<WithInput, WithSums>(elements_, before_, x, dz, weight, begin, end, sums,
                                              dx);
      }
    });
  }

 private:
  int64_t before_;
  std::vector<StridedColumns> windows_, elements_;
  std::optional<FoldedPlane> folded_windows_, folded_elements_;
};

}  // namespace

std::unique_ptr<const DirectLoops> strided_loops_of(const Shape& shape) {
  return std::make_unique<StridedLoops>(shape);
}

}  // namespace lamina::depthwise_conv2d::LAMINA_ISA
