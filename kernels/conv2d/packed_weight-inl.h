// The weights as the products read them: panel by panel of result channels, in each all taps in
// the order of their phases, in each all source channels, padded to whole registers with zeros.
#pragma once

#include <algorithm>

#include "common/derived.h"
#include "common/digest-inl.h"
#include "common/panels-inl.h"
#include "common/parallel_for.h"
#include "conv2d/gather-inl.h"

namespace lamina::conv2d::LAMINA_ISA {

// Weights (result channel of a group, source channel of it, row, column), and from group to group.
struct GroupedWeight {
  const float* data;
  int64_t result_stride, source_stride, row_stride, column_stride, group_stride;
};

inline GroupedWeight forward_weight(const Shape& s, const Filter<const float>& w) {
  return {w.data,       w.output_stride, w.input_stride,
          w.row_stride, w.column_stride, s.group_outputs() * w.output_stride};
}
inline GroupedWeight gradient_weight(const Shape& s, const Filter<const float>& w) {
  return {w.data,       w.input_stride,  w.output_stride,
          w.row_stride, w.column_stride, s.group_outputs() * w.output_stride};
}

// Of all memory from the first weight to the last; where they are not dense, more than they are.
inline Digest digest_of(const Gather& g, const GroupedWeight& w) {
  const auto last_tap = [](const std::vector<AxisPhase>& phases) {
    int64_t last = 0;
    for (const AxisPhase& phase : phases)
      for (const AxisPhase::Tap& tap : phase.taps) last = std::max(last, tap.tap);
    return last;
  };
  const int64_t last = (g.groups - 1) * w.group_stride + (g.result_depth() - 1) * w.result_stride +
                       (g.source_depth() / g.adjacent - 1) * w.source_stride +
                       last_tap(g.vertical) * w.row_stride +
                       (last_tap(g.horizontal) + g.adjacent - 1) * w.column_stride;
  return digest(w.data, last + 1);
}

class PackedWeight {
 public:
  Panels panels;

  // `taps` are those of the gather.
  static int64_t size(const Gather& g, int64_t taps) {
    return g.groups * taps * g.source_depth() * round_up(g.result_depth(), lanes);
  }

  PackedWeight(const Gather& gather, int64_t taps, const GroupedWeight& w)
      : panels{gather.result_depth(), taps * gather.source_depth()},
        memory_(size(gather, taps), taps > 1) {
    memory_.make([&] { return digest_of(gather, w); }, [&] { pack(gather, w); });
  }

  // Of a panel: from this row on, in rows of its width.
  const float* at(int64_t p, int64_t row) const {
    return data_ + panels.start(p) + row * panels.width(p);
  }

 private:
  void pack(const Gather& gather, const GroupedWeight& w) {
    float* const to = memory_.data();
    const int64_t depth = gather.source_depth() / gather.adjacent;
    const int64_t chunk = std::min<int64_t>(depth, 64), chunks = (depth + chunk - 1) / chunk;
    parallel_for(gather.groups * panels.per_group() * chunks, 4, [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) {
        const int64_t p = item / chunks, c = item % chunks * chunk;
        const float* from = w.data + p / panels.per_group() * w.group_stride +
                            panels.first(p) * w.result_stride + c * w.source_stride;
        int64_t tap = 0;
        const auto pack_tap = [&](int64_t row, int64_t column) {
          pack_rows(from + row * w.row_stride + column * w.column_stride, w.source_stride,
                    w.result_stride, std::min(chunk, depth - c), panels.columns(p), panels.width(p),
                    to + panels.start(p) + (tap++ * depth + c) * panels.width(p));
        };
        for (const AxisPhase& vertical : gather.vertical)
          for (const AxisPhase& horizontal : gather.horizontal)
            for (const AxisPhase::Tap& u : vertical.taps)
              for (const AxisPhase::Tap& v : horizontal.taps)
                for (int64_t column = 0; column < gather.adjacent; ++column)
                  pack_tap(u.tap, v.tap + column);
      }
    });
  }

  Derived memory_;
  const float* const data_ = memory_.data();
};

}  // namespace lamina::conv2d::LAMINA_ISA
