#include "stereo.h"

#include <cmath>
#include <stdexcept>
#include <string>

#include "parallel.h"

namespace rilievo {
namespace {

constexpr int64_t kRowsAChunk = 4;

void check(const StereoInput& input) {
  if (input.height < 1 || input.width < 1 || input.height > 32767 || input.width > 32767)
    throw std::invalid_argument("the reference must be between 1 and 32767 pixels high and wide");
  if (input.num_sources < 1 || input.num_sources > kMaxSources)
    throw std::invalid_argument("there must be 1 to " + std::to_string(kMaxSources) + " sources, not " +
                                std::to_string(input.num_sources));
  if (input.source_height < 2 || input.source_width < 2 || input.source_height > 32767 || input.source_width > 32767)
    throw std::invalid_argument("sources must be between 2 and 32767 pixels high and wide");
  for (int s = 0; s < input.num_sources; ++s) {
    const int32_t h = input.sizes[2 * s], w = input.sizes[2 * s + 1];
    if (h < 2 || w < 2 || h > input.source_height || w > input.source_width)
      throw std::invalid_argument("size of source " + std::to_string(s) + " is not within the array of sources");
  }
  if (input.source_planes) {
    if (input.shrink < 1 || input.shrink > 16) throw std::invalid_argument("shrink must be between 1 and 16");
    for (int s = 0; s < input.num_sources; ++s) {
      const int h = input.sizes[2 * s] / input.shrink, w = input.sizes[2 * s + 1] / input.shrink;
      if (h < 1 || w < 1 || h > input.map_height || w > input.map_width)
        throw std::invalid_argument("source_planes are smaller than the sources divided by shrink");
    }
  }
  for (int k = 0; k < 12 * input.num_sources; ++k)
    if (!std::isfinite(input.projections[k])) throw std::invalid_argument("projections must be finite");
  if (!(input.sigma_grey > 0) || !(input.sigma_px > 0))
    throw std::invalid_argument("sigma_grey and sigma_px must be positive");
}

// The sources with their pixels packed four at a time.
struct Packed {
  std::vector<std::vector<uint32_t>> quads;
  std::vector<StereoSource> sources;

  explicit Packed(const StereoInput& input) : quads(input.num_sources), sources(input.num_sources) {
    const int64_t plane = int64_t(input.source_height) * input.source_width;
    for (int s = 0; s < input.num_sources; ++s) {
      const int h = input.sizes[2 * s], w = input.sizes[2 * s + 1];
      const uint8_t* pixels = input.sources + s * plane;
      const int pitch = input.source_width;
      quads[s].resize(int64_t(h) * pitch);
      uint32_t* packed = quads[s].data();
      parallel_ranges(h, 64, [&](int64_t begin, int64_t end) {
        for (int64_t y = begin; y < end; ++y) {
          const uint8_t* row = pixels + y * pitch;
          const uint8_t* below = pixels + (y + 1 < h ? y + 1 : y) * pitch;
          for (int x = 0; x < w; ++x) {
            const int right = x + 1 < w ? x + 1 : x;
            packed[y * pitch + x] = (uint32_t(row[x]) | uint32_t(row[right]) << 8 | uint32_t(below[x]) << 16 |
                                     uint32_t(below[right]) << 24) ^
                                    0x80808080u;
          }
        }
      });
      StereoSource& source = sources[s];
      source.quads = packed;
      source.pitch = pitch;
      source.width = w;
      source.height = h;
      for (int k = 0; k < 12; ++k) source.projection[k] = input.projections[12 * s + k];
      source.planes =
          input.source_planes ? input.source_planes + s * 3 * int64_t(input.map_height) * input.map_width : nullptr;
      source.map_pitch = input.map_width;
      source.map_width = input.source_planes ? w / input.shrink : 0;
      source.map_height = input.source_planes ? h / input.shrink : 0;
      source.by_shrink = 1.0f / static_cast<float>(input.shrink);
      for (int k = 0; k < 3; ++k) source.back[k] = input.backs ? input.backs[3 * s + k] : 0.0f;
    }
  }
};

}  // namespace

StereoState::StereoState(int width_, int height_) : width(width_), height(height_) {
  half = (width + 1) / 2;
  pitch = (half + 15) / 16 * 16 + 2 * kPadX;
  const size_t size = size_t(height + 2 * kPadY) * pitch;
  for (int c = 0; c < 2; ++c) {
    w[c].assign(size, 0.0f);
    a[c].assign(size, 0.0f);
    b[c].assign(size, 0.0f);
    cost[c].assign(size, kNoMatch);
  }
}

StereoReference::StereoReference(const uint8_t* pixels, int width, int height, float sigma_grey, float sigma_px) {
  const int half = (width + 1) / 2;
  pitch = (half + 15) / 16 * 16 + 2 * kPad + 16;
  for (int p = 0; p < 2; ++p) {
    grey[p].assign(size_t(height + 2 * kPad) * pitch, 0.0f);
    for (int y = 0; y < height; ++y)
      for (int x = p; x < width; x += 2) grey[p][row(y) + x / 2] = pixels[int64_t(y) * width + x];
  }
  weights.resize(25 * 256);
  for (int k = 0; k < 25; ++k) {
    const double dy = (k / 5) * 2 - 4, dx = (k % 5) * 2 - 4;
    const double place = (dx * dx + dy * dy) / (2.0 * sigma_px * sigma_px);
    for (int d = 0; d < 256; ++d)
      weights[256 * k + d] = static_cast<float>(std::exp(-place - double(d) * d / (2.0 * sigma_grey * sigma_grey)));
  }
}

void stereo_sweep(const StereoInput& input, const StereoOptions& options, const float* planes, const float* costs,
                  std::vector<float>& planes_out, std::vector<float>& costs_out) {
  check(input);
  if (options.reach < 0 || options.reach > 11) throw std::invalid_argument("reach must be between 0 and 11");
  const int w = input.width, h = input.height;
  const Packed packed(input);
  const StereoReference reference(input.reference, w, h, input.sigma_grey, input.sigma_px);
  StereoState state(w, h);
  for (int y = 0; y < h; ++y)
    for (int x = 0; x < w; ++x) {
      const int c = (x + y) & 1;
      const int64_t from = int64_t(y) * w + x, to = state.row(y) + x / 2;
      state.w[c][to] = planes[3 * from];
      state.a[c][to] = planes[3 * from + 1];
      state.b[c][to] = planes[3 * from + 2];
      // Written so that NaN is no match.
      state.cost[c][to] = costs[from] < kNoMatch && input.reference[from] ? costs[from] : kNoMatch;
    }
  for (int colour = 0; colour < 2; ++colour)
    parallel_ranges(h, kRowsAChunk, [&](int64_t begin, int64_t end) {
      for (int64_t y = begin; y < end; ++y)
        RIL_CALL_SIMD(sweep_row, state, reference, packed.sources.data(), input.num_sources, options,
                      static_cast<int>(y), colour);
    });
  planes_out.resize(size_t(h) * w * 3);
  costs_out.resize(size_t(h) * w);
  for (int y = 0; y < h; ++y)
    for (int x = 0; x < w; ++x) {
      const int c = (x + y) & 1;
      const int64_t to = int64_t(y) * w + x, from = state.row(y) + x / 2;
      planes_out[3 * to] = state.w[c][from];
      planes_out[3 * to + 1] = state.a[c][from];
      planes_out[3 * to + 2] = state.b[c][from];
      costs_out[to] = state.cost[c][from];
    }
}

void stereo_cost(const StereoInput& input, const StereoOptions& options, const float* planes,
                 std::vector<float>& per_source, std::vector<float>& cost) {
  check(input);
  const int w = input.width, h = input.height, n = input.num_sources;
  const Packed packed(input);
  const StereoReference reference(input.reference, w, h, input.sigma_grey, input.sigma_px);
  per_source.resize(size_t(h) * w * n);
  cost.resize(size_t(h) * w);
  parallel_ranges(h, kRowsAChunk, [&](int64_t begin, int64_t end) {
    for (int64_t y = begin; y < end; ++y)
      RIL_CALL_SIMD(cost_row, planes + 3 * y * w, per_source.data() + y * w * n, cost.data() + y * w, w, reference,
                    packed.sources.data(), n, options, static_cast<int>(y));
  });
}

void stereo_measure(const StereoInput& input, const StereoOptions& options, const float* planes,
                    std::vector<float>& out) {
  check(input);
  const int w = input.width, h = input.height;
  const Packed packed(input);
  const StereoReference reference(input.reference, w, h, input.sigma_grey, input.sigma_px);
  out.resize(size_t(h) * w * 4);
  parallel_ranges(h, kRowsAChunk, [&](int64_t begin, int64_t end) {
    for (int64_t y = begin; y < end; ++y)
      RIL_CALL_SIMD(measure_row, planes + 3 * y * w, out.data() + 4 * y * w, w, reference, packed.sources.data(),
                    input.num_sources, options, static_cast<int>(y));
  });
}

}  // namespace rilievo
