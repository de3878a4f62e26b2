#include "splats.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "parallel.h"

namespace rilievo {
namespace {

constexpr int64_t kGaussiansAChunk = 2048;
constexpr int64_t kMaxPairs = int64_t{1} << 28;

// Indices of the seen Gaussians, nearest first, equal depths in their order: a radix sort of the bits of the depth,
// which for positive floats are in the order of the numbers.
void sort_by_depth(const std::vector<float>& depth, std::vector<uint32_t> (&space)[3], std::vector<uint32_t>& order) {
  auto &keys = space[0], &other_keys = space[1], &other = space[2];
  keys.clear();
  order.clear();
  for (size_t i = 0; i < depth.size(); ++i)
    if (depth[i] > 0) {
      uint32_t bits;
      std::memcpy(&bits, &depth[i], sizeof(bits));
      keys.push_back(bits);
      order.push_back(static_cast<uint32_t>(i));
    }
  const size_t n = keys.size();
  other_keys.resize(n);
  other.resize(n);
  constexpr int kBits = 11, kBuckets = 1 << kBits;
  for (int shift = 0; shift < 32; shift += kBits) {
    uint32_t start[kBuckets + 1] = {};
    for (size_t i = 0; i < n; ++i) ++start[(keys[i] >> shift & (kBuckets - 1)) + 1];
    for (int b = 0; b < kBuckets; ++b) start[b + 1] += start[b];
    for (size_t i = 0; i < n; ++i) {
      const uint32_t to = start[keys[i] >> shift & (kBuckets - 1)]++;
      other_keys[to] = keys[i];
      other[to] = order[i];
    }
    keys.swap(other_keys);
    order.swap(other);
  }
}

SplatTile tile_of(const SplatFrame& frame, int64_t t, const float* background) {
  SplatTile tile;
  const int64_t first = frame.offsets[t];
  tile.splats = frame.splats.data();
  tile.index = frame.index.data() + first;
  tile.slot = frame.slot.data() + first;
  tile.rows = frame.rows.data() + first;
  tile.count = frame.offsets[t + 1] - first;
  tile.x0 = static_cast<int>(t % frame.tiles_x) * kTile;
  tile.y0 = static_cast<int>(t / frame.tiles_x) * kTile;
  tile.width = frame.camera.width;
  tile.height = frame.camera.height;
  for (int c = 0; c < 3; ++c) tile.background[c] = background ? background[c] : 0.0f;
  return tile;
}

}  // namespace

void project_splats(const float* rows, int64_t n, const SplatCamera& camera, const SplatOptions& options,
                    SplatFrame& frame) {
  frame.camera = camera;
  frame.options = options;
  frame.num_splats = n;
  frame.tiles_x = (camera.width + kTile - 1) / kTile;
  frame.tiles_y = (camera.height + kTile - 1) / kTile;
  frame.splats.resize(n);
  auto& depth = frame.depth;
  depth.resize(n);
  parallel_ranges(n, kGaussiansAChunk, [&](int64_t begin, int64_t end) {
    RIL_CALL_SIMD(project_range, rows, begin, end, camera, options, frame.splats.data(), depth.data());
  });
  sort_by_depth(depth, frame.sorting, frame.visible);

  const int64_t count = static_cast<int64_t>(frame.visible.size());
  const int64_t chunks = (count + kGaussiansAChunk - 1) / kGaussiansAChunk;
  const int64_t tiles = static_cast<int64_t>(frame.tiles_x) * frame.tiles_y;
  frame.num_slots.assign(n, 0);
  auto& pairs = frame.pairs;
  auto& start = frame.start;
  pairs.resize(chunks);
  start.assign(chunks * tiles, 0);
  parallel_ranges(count, kGaussiansAChunk, [&](int64_t begin, int64_t end) {
    SplatFrame::Pairs& own = pairs[begin / kGaussiansAChunk];
    for (int64_t capacity = std::max<int64_t>(own.tiles.size(), 8 * (end - begin));;) {
      own.tiles.resize(capacity);
      own.rows.resize(capacity);
      own.count = RIL_CALL_SIMD(cut_range, frame.splats.data(), frame.visible.data() + begin, end - begin,
                                frame.tiles_x, frame.tiles_y, own.tiles.data(), own.rows.data(),
                                frame.num_slots.data(), capacity);
      if (own.count <= capacity) break;
      if (own.count > kMaxPairs) throw std::length_error("too many Gaussians cover too much of the image");
      capacity = own.count;
    }
    uint32_t* histogram = start.data() + begin / kGaussiansAChunk * tiles;
    for (int64_t i = 0; i < own.count; ++i) ++histogram[own.tiles[i]];
  });
  int64_t total = 0;
  for (const SplatFrame::Pairs& own : pairs) total += own.count;
  if (total > kMaxPairs) throw std::length_error("too many Gaussians cover too much of the image");

  frame.offsets.resize(tiles + 1);
  int64_t at = 0;
  for (int64_t t = 0; t < tiles; ++t) {
    frame.offsets[t] = at;
    for (int64_t c = 0; c < chunks; ++c) {
      const uint32_t here = start[c * tiles + t];
      start[c * tiles + t] = static_cast<uint32_t>(at);
      at += here;
    }
  }
  frame.offsets[tiles] = at;
  frame.index.resize(total);
  frame.slot.resize(total);
  frame.rows.resize(total);
  std::vector<int64_t> base(chunks + 1, 0);
  for (int64_t c = 0; c < chunks; ++c) base[c + 1] = base[c] + pairs[c].count;
  parallel_ranges(count, kGaussiansAChunk, [&](int64_t begin, int64_t end) {
    const int64_t c = begin / kGaussiansAChunk;
    const SplatFrame::Pairs& own = pairs[c];
    uint32_t* cursor = start.data() + c * tiles;
    int64_t i = 0;
    for (int64_t j = begin; j < end; ++j) {
      const uint32_t g = frame.visible[j];
      frame.splats[g].first_slot = static_cast<uint32_t>(base[c] + i);
      for (uint32_t k = 0; k < frame.num_slots[g]; ++k, ++i) {
        const uint32_t to = cursor[own.tiles[i]]++;
        frame.index[to] = g;
        frame.slot[to] = static_cast<uint32_t>(base[c] + i);
        frame.rows[to] = own.rows[i];
      }
    }
  });
}

void draw_splats(const SplatFrame& frame, const float* background, float* features, float* transmittance,
                 float* median_depth) {
  parallel_for(static_cast<int64_t>(frame.offsets.size()) - 1, [&](int64_t t) {
    RIL_CALL_SIMD(draw_tile, tile_of(frame, t, background), frame.options.channels, features, transmittance,
                  median_depth);
  });
}

void draw_splats_backward(const SplatFrame& frame, const float* features, const float* transmittance,
                          const float* d_features, const float* d_transmittance, std::vector<float>& slots) {
  if (slots.size() < frame.index.size() * kSlot) slots.resize(frame.index.size() * kSlot);
  parallel_for(static_cast<int64_t>(frame.offsets.size()) - 1, [&](int64_t t) {
    RIL_CALL_SIMD(draw_tile_backward, tile_of(frame, t, nullptr), frame.options.channels, features, transmittance,
                  d_features, d_transmittance, slots.data());
  });
}

void splat_gradients(const SplatFrame& frame, const float* rows, const std::vector<float>& slots, float* d_rows,
                     float* d_xy) {
  const SplatView view{frame.camera, frame.options, frame.splats.data(), frame.num_slots.data()};
  parallel_ranges(frame.num_splats, kGaussiansAChunk, [&](int64_t begin, int64_t end) {
    RIL_CALL_SIMD(gradient_range, rows, view, begin, end, slots.data(), d_rows, d_xy);
  });
}

void update_splats(const SplatFrame& frame, const std::vector<float>& slots, const SplatUpdate& update) {
  const SplatView view{frame.camera, frame.options, frame.splats.data(), frame.num_slots.data()};
  parallel_ranges(frame.num_splats, kGaussiansAChunk, [&](int64_t begin, int64_t end) {
    RIL_CALL_SIMD(update_range, view, begin, end, slots.data(), update);
  });
}

}  // namespace rilievo
