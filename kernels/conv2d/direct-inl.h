// The sum as it is written, in registers: blocks of positions times panels of channels.
#pragma once

#include <algorithm>
#include <vector>

#include "common/finish-inl.h"
#include "common/parallel_for.h"
#include "common/workspace.h"
#include "conv2d/packed_weight-inl.h"

namespace lamina::conv2d::LAMINA_ISA {

// Who does what: parts of the positions times parts of the panels. Panels are split where the
// weights are the larger tensor, so that no thread reads all of them.
struct Grid {
  int threads, panel_parts;

  Grid(int64_t macs, int64_t panels, bool weights_are_larger)
      : threads(thread_count_for(macs, int64_t{1} << 18)),
        panel_parts(weights_are_larger ? static_cast<int>(std::min<int64_t>(panels, threads)) : 1) {
    threads = threads / panel_parts * panel_parts;
  }

  int position_parts() const { return threads / panel_parts; }
  int position_part(int thread) const { return thread / panel_parts; }
  Range positions(int64_t count, int thread) const {
    return share_of(count, position_part(thread), position_parts());
  }
  Range panels(int64_t count, int thread) const {
    return share_of(count, thread % panel_parts, panel_parts);
  }
};

// Positions whose sums wait in the first or second cache while a panel goes by.
inline constexpr int64_t tile_blocks = 16, tile_positions = tile_blocks * block_rows;
// Rows of a panel that stay in the second cache while the blocks of a tile go by.
inline constexpr int64_t stretch_rows = 512;

// One thread's work on the tiles of a phase.
class TileWorker {
 public:
  TileWorker(const Gather& gather, const PackedWeight& weight, const Finish& finish)
      : gather_(gather), weight_(weight), finish_(finish) {}

  static int64_t scratch() { return tile_positions * panel; }

  // Positions `first` to first + count of the phase whose weights begin at row `first_row`.
  void run(const Window& window, int64_t first, int64_t count, int64_t first_row, Range panels,
           float* sums) {
    const int64_t taps = window.taps();
    pointers_.resize(static_cast<size_t>(tile_blocks * taps * block_rows));
    window.walk(
        first, count,
        [&](int64_t index, int64_t tap, const float* pixel) {
          pointers_[static_cast<size_t>((index / block_rows * taps + tap) * block_rows +
                                        index % block_rows)] = pixel;
        },
        [&](int64_t index, int64_t pixel) { pixels_[index] = pixel; });
    for (int64_t p = panels.begin; p < panels.end; ++p) {
      const int64_t width = weight_.panels.width(p), columns = weight_.panels.columns(p);
      const int64_t group = p / weight_.panels.per_group();
      const int64_t channel = group * gather_.result_depth() + weight_.panels.first(p);
      float* const result = gather_.result + pixels_[0] * gather_.result_channels + channel;
      // Whole registers of adjacent pixels are summed where they belong.
      const bool in_place = window.is_dense() && width == columns;
      float* const to = in_place ? result : sums;
      const int64_t stride = in_place ? gather_.result_channels : width;
      const Finish finish = finish_.from(channel);
      const Clamp clamp = clamp_of(finish);
      const bool clamps = in_place && is_clamp(finish) && !finish.changes_nothing();
      if (taps == 0) std::fill_n(sums, count * width, 0.f);
      for_stretches(taps, [&](int64_t tap, int64_t some_taps, int64_t c, int64_t channels) {
        const float* b = weight_.at(p, first_row + tap * gather_.source_depth() + c);
        const bool ends = tap + some_taps == taps && c + channels == gather_.source_depth();
        const auto rows = [&](int64_t row) {
          return pointers_.data() + (row / block_rows * taps + tap) * block_rows;
        };
        for (int64_t row = 0; row < count; row += block_rows)
          block_product(
              std::min<int64_t>(block_rows, count - row), width,
              Stretches{rows(row), rows(row + block_rows < count ? row + block_rows : row),
                        some_taps, channels, group * gather_.source_depth() + c, 1},
              Columns{b, width, to + row * stride, stride, tap + c > 0,
                      ends && clamps ? &clamp : nullptr, in_place});
      });
      if (in_place && (clamps || finish.changes_nothing())) continue;
      for (int64_t row = 0; row < count; ++row)
        finish_row(to + row * stride, columns, finish,
                   gather_.result + pixels_[row] * gather_.result_channels + channel);
    }
  }

 private:
  // Calls body(tap, taps, channel, channels): several taps whole, or a part of one.
  template <typename Body>
  void for_stretches(int64_t taps, const Body& body) const {
    const int64_t depth = gather_.source_depth();
    const int64_t together = std::max<int64_t>(1, stretch_rows / depth);
    for (int64_t tap = 0; tap < taps; tap += together)
      for (int64_t c = 0; c < depth; c += stretch_rows)
        body(tap, std::min(together, taps - tap), c, std::min(stretch_rows, depth - c));
  }

  const Gather& gather_;
  const PackedWeight& weight_;
  const Finish& finish_;
  std::vector<const float*> pointers_;  // [block][tap][row]
  int64_t pixels_[tile_positions];
};

// result = finish(the sum over all phases).
inline void gather(const Gather& gather, const GroupedWeight& w, int64_t taps, int64_t macs,
                   const Finish& finish) {
  const int64_t weight_size = PackedWeight::size(gather, taps);
  const int64_t source_size =
      gather.images * gather.source_height * gather.source_width * gather.source_channels;
  const int64_t panels = gather.groups * ((gather.result_depth() + panel - 1) / panel);
  const Grid grid(macs, panels, weight_size > source_size);
  const int64_t zeros_size = round_up(gather.adjacent * gather.source_channels, 16);
  const PackedWeight weight(gather, taps, w);
  Workspace workspace(zeros_size + grid.threads * TileWorker::scratch());
  float* const zeros = workspace.data();
  std::fill_n(zeros, zeros_size, 0.f);
  float* const scratch = zeros + zeros_size;

  parallel_threads(grid.threads, [&](int thread) {
    TileWorker worker(gather, weight, finish);
    int64_t first_row = 0;
    for (const AxisPhase& vertical : gather.vertical)
      for (const AxisPhase& horizontal : gather.horizontal) {
        const Window window(gather, vertical, horizontal, zeros);
        const int64_t blocks = (window.positions() + block_rows - 1) / block_rows;
        const Range share = grid.positions(blocks, thread);
        const int64_t end = std::min(share.end * block_rows, window.positions());
        for (int64_t first = share.begin * block_rows; first < end; first += tile_positions)
          worker.run(window, first, std::min(tile_positions, end - first), first_row,
                     grid.panels(panels, thread), scratch + thread * TileWorker::scratch());
        first_row += window.taps() * gather.source_depth();
      }
  });
}

}  // namespace lamina::conv2d::LAMINA_ISA
