// A ray's walk through the occupancy grid of a radiance field. See FieldMarch in native/field.h.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "field.h"

namespace rilievo {

struct FieldSample {
  float t, delta;
  float u[3];
};

// The grid and, for long empty ways, a grid of 8 x 8 x 8 cells at once.
class FieldGrid {
 public:
  explicit FieldGrid(const FieldMarch& march) : march_(march), blocks_(march.grid / 8) {
    coarse_.resize(static_cast<size_t>(blocks_) * blocks_ * blocks_);
    const int64_t row = march.grid / 8;
    for (int64_t z = 0; z < march.grid; ++z)
      for (int64_t y = 0; y < march.grid; ++y) {
        const uint8_t* bytes = march.occupancy + (z * march.grid + y) * row;
        uint8_t* block = coarse_.data() + ((z / 8) * blocks_ + y / 8) * blocks_;
        for (int64_t x = 0; x < row; ++x) block[x] |= bytes[x];
      }
  }
  const FieldMarch& march() const { return march_; }
  // 1 where the cell is occupied, else 0 or, where the whole block is empty, -1.
  int at(int x, int y, int z) const {
    if (!coarse_[(static_cast<size_t>(z >> 3) * blocks_ + (y >> 3)) * blocks_ + (x >> 3)]) return -1;
    return march_.occupancy[(static_cast<size_t>(z) * march_.grid + y) * blocks_ + (x >> 3)] >> (x & 7) & 1;
  }

 private:
  FieldMarch march_;
  int blocks_;
  std::vector<uint8_t> coarse_;
};

class FieldWalk {
 public:
  FieldWalk() = default;
  FieldWalk(const FieldGrid& grid, const float* origin, const float* direction, float jitter)
      : grid_(&grid), jitter_(jitter) {
    const FieldMarch& m = grid.march();
    end_ = m.num_steps;
    float first = 0.0f;
    for (int a = 0; a < 3; ++a) {
      o_[a] = origin[a];
      d_[a] = direction[a];
      inverse_[a] = 1.0f / (std::fabs(d_[a]) < 1e-12f ? std::copysign(1e-12f, d_[a]) : d_[a]);
    }
    if (!m.unbounded) {
      float last = m.edges[m.num_steps];
      for (int a = 0; a < 3; ++a) {
        const float t0 = (-1.0f - o_[a]) * inverse_[a], t1 = (1.0f - o_[a]) * inverse_[a];
        first = std::max(first, std::min(t0, t1));
        last = std::min(last, std::max(t0, t1));
      }
      if (!(first <= last + kSlack)) end_ = 0;
    }
    // Start at the last edge that is surely before the first sample inside.
    const float* from = std::lower_bound(m.edges, m.edges + m.num_steps, first - kSlack);
    k_ = std::max<int>(0, static_cast<int>(from - m.edges) - 1);
  }

  // The next sample in an occupied cell; false at the end of the way.
  bool next(FieldSample& sample) {
    const FieldMarch& m = grid_->march();
    bool inside = false;
    while (k_ < end_) {
      const float delta = m.edges[k_ + 1] - m.edges[k_];
      const float t = m.edges[k_] + jitter_ * delta;
      float p[3] = {o_[0] + t * d_[0], o_[1] + t * d_[1], o_[2] + t * d_[2]};
      bool linear = true;
      if (m.unbounded) {
        const float square = (p[0] * p[0] + p[1] * p[1]) + p[2] * p[2];
        if (square > 1.0f) {
          const float r = std::sqrt(square), s = (2.0f - 1.0f / r) / r;
          for (float& x : p) x *= s;
          linear = false;
        }
      } else if (!(std::fabs(p[0]) <= 1.0f && std::fabs(p[1]) <= 1.0f && std::fabs(p[2]) <= 1.0f)) {
        if (inside) break;  // out again
        ++k_;
        if (t > 0.0f && passed_cube(p)) break;
        continue;
      }
      inside = true;
      const float half = m.unbounded ? 0.25f : 0.5f;
      int cell[3];
      for (int a = 0; a < 3; ++a) {
        sample.u[a] = std::min(std::max(p[a] * half + 0.5f, 0.0f), 1.0f);
        cell[a] = std::min(static_cast<int>(sample.u[a] * static_cast<float>(m.grid)), m.grid - 1);
      }
      const int found = grid_->at(cell[0], cell[1], cell[2]);
      if (found > 0) {
        sample.t = t;
        sample.delta = delta;
        ++k_;
        return true;
      }
      skip(t, p, cell, found < 0, linear);
    }
    k_ = end_;
    return false;
  }

 private:
  static constexpr float kSlack = 1e-4f;  // of t: more than rounding can be

  bool passed_cube(const float* p) const {
    for (int a = 0; a < 3; ++a)
      if ((p[a] > 1.0f + kSlack && d_[a] >= 0.0f) || (p[a] < -1.0f - kSlack && d_[a] <= 0.0f)) return true;
    return false;
  }

  // Leaves samples out that are surely in the same empty cell (or block of 8 x 8 x 8 cells).
  void skip(float t, const float* p, const int* cell, bool block, bool linear) {
    const FieldMarch& m = grid_->march();
    const int shift = block ? 3 : 0;
    const float unit = (m.unbounded ? 4.0f : 2.0f) / static_cast<float>(m.grid);  // one cell
    const float low_end = m.unbounded ? -2.0f : -1.0f;
    float free = 1e30f;
    for (int a = 0; a < 3; ++a) {
      const int first = (cell[a] >> shift) << shift;
      const float low = low_end + static_cast<float>(first) * unit;
      const float high = low_end + static_cast<float>(first + (1 << shift)) * unit;
      if (linear) free = std::min(free, ((d_[a] > 0.0f ? high : low) - p[a]) * inverse_[a]);
      else free = std::min(free, std::min(p[a] - low, high - p[a]));  // the contraction never lengthens a way
    }
    if (linear && m.unbounded) {  // only to the sphere within which space is not contracted
      const float b = (p[0] * d_[0] + p[1] * d_[1]) + p[2] * d_[2];
      const float c = ((p[0] * p[0] + p[1] * p[1]) + p[2] * p[2]) - 1.0f;
      free = std::min(free, std::sqrt(std::max(b * b - c, 0.0f)) - b);
    }
    const float until = t + free - kSlack;
    ++k_;
    while (k_ < end_ && m.edges[k_ + 1] < until) ++k_;
  }

  const FieldGrid* grid_ = nullptr;
  float o_[3] = {}, d_[3] = {}, inverse_[3] = {}, jitter_ = 0.0f;
  int k_ = 0, end_ = 0;
};

}  // namespace rilievo
