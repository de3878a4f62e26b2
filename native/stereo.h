// PatchMatch stereo with one plane a pixel, checkerboard updates, vectorised across pixels.
//
// A plane is (w, a, b) at a pixel: inverse depth 1/z and its slope per pixel to the right and down. Inverse depth is
// linear in the image over a flat surface, so a neighbour's plane carries over as w + a dx + b dy. Coordinates are array
// indices (the centre of the top-left pixel is (0, 0)); `projection` of a source maps (x, y, 1, w) of the reference to
// homogeneous coordinates in the source, whose third one is depth in the source / depth in the reference.
#pragma once
#include <cstdint>
#include <vector>

#include "dispatch.h"

namespace rilievo {

constexpr int kMaxSources = 16;
constexpr float kNoMatch = 2.0f;  // cost of a hypothesis that cannot be seen or must not be used

// One source image: every pixel packed with its right, lower and lower right neighbour, a signed byte (grey - 128) each.
struct StereoSource {
  const uint32_t* quads;
  int pitch, width, height;
  float projection[12];
  // Geometric consistency: the planes of the source's map (inverse depth 0: unknown), three floats a pixel, or null; the
  // map is `1 / by_shrink` times smaller than the source. And the last column of the projection back into the reference.
  const float* planes;
  int map_pitch, map_width, map_height;
  float by_shrink;
  float back[3];
};

struct StereoOptions {
  float min_w, max_w;   // range of inverse depth
  float step;           // inverse depth that moves a match by about one pixel
  float fx, fy;         // focal lengths of the reference, px
  float shift;          // first perturbation of w, in steps
  float tilt;           // first perturbation of the slopes (tangents)
  int num_random;       // refinements of the random kind (anything in range), first
  int num_perturbed;    // then perturbations, each half as wide as the one before
  int num_polish;       // Gauss-Newton steps at the end
  int reach;            // length of the long arms of the neighbourhood, 0..11
  bool merge;           // one hypothesis a direction, not one of the near and one of the far neighbours
  float noise;          // variance of grey values that is not texture
  float geometric;      // weight of the geometric term, per pixel of reprojection error
  uint32_t key;         // randomness of this sweep
};

// Planes of one colour of the checkerboard are stored apart: pixel (x, y) of colour c = (x + y) & 1 is element
// (x - ((y + c) & 1)) / 2 of its row. A margin of kNoMatch surrounds them.
struct StereoState {
  static constexpr int kPadX = 16, kPadY = 24;
  int width, height, half, pitch;
  std::vector<float> w[2], a[2], b[2], cost[2];

  StereoState(int width, int height);
  int64_t row(int y) const { return int64_t(y + kPadY) * pitch + kPadX; }
};

// Grey values of the reference, even and odd columns apart, with a margin of 0 (no picture).
struct StereoReference {
  static constexpr int kPad = 6;
  int pitch;
  std::vector<float> grey[2];
  std::vector<float> weights;  // 25 tables of 256: weight of a sample by its place and its difference from the centre

  StereoReference(const uint8_t* pixels, int width, int height, float sigma_grey, float sigma_px);
  int64_t row(int y) const { return int64_t(y + kPad) * pitch + kPad; }
};

}  // namespace rilievo

RIL_DECLARE_SIMD(
    // Updates the pixels of one colour in one row, in place.
    void sweep_row(StereoState& state, const StereoReference& reference, const StereoSource* sources, int num_sources,
                   const StereoOptions& options, int y, int colour);
    // Costs of the given planes of one row: per_source (width, num_sources), cost (width).
    void cost_row(const float* planes, float* per_source, float* cost, int width, const StereoReference& reference,
                  const StereoSource* sources, int num_sources, const StereoOptions& options, int y);
    // What the matches of one row are worth: (width, 4), see stereo_measure.
    void measure_row(const float* planes, float* out, int width, const StereoReference& reference,
                     const StereoSource* sources, int num_sources, const StereoOptions& options, int y);)

namespace rilievo {

// The functions behind the bindings; shapes are checked by them (std::invalid_argument).
struct StereoInput {
  const uint8_t* reference;
  int height, width;
  const uint8_t* sources;
  int num_sources, source_height, source_width;
  const int32_t* sizes;       // (num_sources, 2): height, width in use
  const float* projections;   // (num_sources, 3, 4)
  const float* source_planes;  // (num_sources, map_height, map_width, 3), or null
  int map_height, map_width, shrink;
  const float* backs;          // (num_sources, 3)
  float sigma_grey, sigma_px;
};

void stereo_sweep(const StereoInput& input, const StereoOptions& options, const float* planes, const float* costs,
                  std::vector<float>& planes_out, std::vector<float>& costs_out);
void stereo_cost(const StereoInput& input, const StereoOptions& options, const float* planes,
                 std::vector<float>& per_source, std::vector<float>& cost);
// Per pixel: cost; curvature k of the cost c + k d^2 for a shift of d pixels (options.step); the shift of the lowest
// point, at most half a step; effective number of views.
void stereo_measure(const StereoInput& input, const StereoOptions& options, const float* planes,
                    std::vector<float>& out);

}  // namespace rilievo
