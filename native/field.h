// Kernels of the radiance field: a multi-resolution hash encoding and two small networks (Mueller, Evans, Schied & Keller
// 2022, "Instant neural graphics primitives with a multiresolution hash encoding"), marched through an occupancy grid and
// composited front to back (Mildenhall et al. 2020, eq. 3). Bound in bindings_field.cpp, specified by
// kernels/reference/field*.py.
//
// Lengths are in units of the scene's radius around its centre ("normalised"). A point p is looked up at u in [0, 1]^3:
// u = p / 2 + 1/2 in a bounded scene (the cube of half width 1), u = contract(p) / 4 + 1/2 in an unbounded one, where
// contract is equation 10 of Barron et al. 2022 (Mip-NeRF 360).
#pragma once
#include <cstdint>

#include "dispatch.h"

namespace rilievo {

constexpr int kRowFloats = 4;       // features a level
constexpr int kFieldOut = 16;       // outputs of the density network, of which the first is the logarithm of density
constexpr int kDirection = 16;      // spherical harmonics of the direction (degree 3)
constexpr int kColorIn = kFieldOut + kDirection;
constexpr int kFieldBlock = 16;     // samples are padded to a multiple of this
constexpr int kMaxLevels = 16;

// One level of the encoding: `resolution` cells across; rows first to first + rows of the table.
struct FieldLevel {
  int32_t resolution, first, rows, hashed;
};

// The sizes of a field. The networks have no biases; weights are stored input by input (row k: what input k adds to every
// output): density (inputs, density_width) (density_width, 16), colour (32, color_width), (color_width, color_width),
// (color_width, 16), of whose 16 outputs the first three are red, green and blue before the sigmoid.
struct FieldShape {
  int num_levels;
  FieldLevel level[kMaxLevels];
  int density_width, color_width;
  int inputs() const { return num_levels * kRowFloats; }
  int64_t density1() const { return 0; }
  int64_t density2() const { return static_cast<int64_t>(inputs()) * density_width; }
  int64_t color1() const { return density2() + density_width * kFieldOut; }
  int64_t color2() const { return color1() + kColorIn * color_width; }
  int64_t color3() const { return color2() + static_cast<int64_t>(color_width) * color_width; }
  int64_t num_weights() const { return color3() + color_width * kFieldOut; }
  int64_t num_rows() const { return level[num_levels - 1].first + level[num_levels - 1].rows; }
};

// Where rays look for samples: cells of a grid over u, one bit each (bit x % 8 of byte (z grid + y) grid / 8 + x / 8), and
// the distances between which samples lie: sample k of a ray is at edges[k] + jitter (edges[k + 1] - edges[k]).
struct FieldMarch {
  const uint8_t* occupancy;
  int grid;
  bool unbounded;
  const float* edges;
  int num_steps;
};

struct FieldRays {
  const float* origins;     // n 3
  const float* directions;  // n 3, unit
  const float* jitter;      // n, 0..1
  int64_t n;
};

// What training asks of a ray, and how it is weighed.
struct FieldLoss {
  const float* targets;      // n 3
  const float* backgrounds;  // n 3, shine through where the ray is not stopped
  const float* ray_weights;  // n
  float huber;               // residuals beyond it count linearly; 0: squares
  float distortion;          // weight of the spread of samples along a ray (Barron et al. 2022, eq. 15), 0: none
  float opacity;             // weight of the entropy of the ray's opacity, 0: none
  float scale;               // of the whole loss
};

struct FieldCounts {
  int64_t marched, kept;  // samples whose density was asked, samples that took part in colour and gradient
  double loss;
};

constexpr float kMinTransmittance = 1e-4f;  // a ray ends where less than this passes
constexpr float kMaxLogDensity = 15.0f;     // logarithms of density are clamped to +- this

void field_encode(const FieldShape& shape, const float* table, const float* u, int64_t n, float* features);
void field_density(const FieldShape& shape, const float* table, const float* weights, const float* u, int64_t n,
                   float* density);
int64_t field_march(const FieldMarch& march, const FieldRays& rays, int64_t capacity, int64_t* offsets, float* t,
                    float* delta, float* u);
FieldCounts field_gradients(const FieldShape& shape, const float* table, const float* weights, const FieldMarch& march,
                            const FieldRays& rays, const FieldLoss& loss, float min_weight, float* table_gradients,
                            float* weight_gradients, float* ray_losses);
// color: n 3, over `background` (3).  distance: where half of the light is stopped, NaN where less is.  opacity: n.
void field_trace(const FieldShape& shape, const float* table, const float* weights, const FieldMarch& march,
                 const FieldRays& rays, const float* background, float min_weight, float* color, float* distance,
                 float* opacity);
void field_adam(float* values, float* gradients, float* mean, float* square, int64_t n, float rate, float beta1,
                float beta2, float epsilon);

// One photo of the training set: pixel (x, y) is bytes 4 (first + y width + x) of the pixels (red, green, blue, alpha).
struct FieldPhoto {
  int64_t first;
  int32_t width, height;
  double fx, fy, cx, cy;
  double rotation[9];  // world_from_cam
  double center[3];
};
struct FieldDraw {
  uint32_t seed, iteration;
  bool random_background;
  float background[3];
};
// Rays through pixels drawn at random. usable: one byte a pixel, or null; pixels that are not get weight 0.
void field_rays(const uint8_t* pixels, const uint8_t* usable, const FieldPhoto* photos, int64_t num_photos,
                const FieldDraw& draw, int64_t n, float* origins, float* directions, float* jitter, float* targets,
                float* backgrounds, float* weights, int32_t* photo);

// What the samples of a piece of work go through; every array is padded to a multiple of kFieldBlock rows.
struct FieldForward {
  const FieldShape* shape;
  const float* table;
  const float* weights;
};
struct FieldBackward {
  const FieldShape* shape;
  const float* weights;
  const float* transposed;  // every matrix of the weights with rows and columns swapped, at the same place
  float* weight_gradients;
};

}  // namespace rilievo

RIL_DECLARE_SIMD(
    // features[i * stride + 4 level ...] of the points u (n 3); n is a multiple of kFieldBlock.
    void field_encode_block(const FieldShape& shape, const float* table, const float* u, int64_t n, float* features);
    // Adds the gradients of n samples to the rows of one level.
    void field_scatter(const FieldLevel& level, const float* u, const float* gradients, int stride, int64_t n,
                       float* table_gradients);
    // hidden (n density_width), out (n 16) and density (n) from features.
    void field_density_block(const FieldForward& field, const float* features, int64_t n, float* hidden, float* out,
                             float* density);
    // hidden1, hidden2 (n color_width), logits (n 16) and color (3 n: all red, all green, all blue) from inputs (n 32).
    void field_color_block(const FieldForward& field, const float* inputs, int64_t n, float* hidden1, float* hidden2,
                           float* logits, float* color);
    // From d_logits (n 16) to d_inputs (n 32, of which 16 are set); d_hidden is room for 2 n color_width.
    void field_color_backward(const FieldBackward& field, const float* inputs, const float* hidden1,
                              const float* hidden2, const float* d_logits, int64_t n, float* d_hidden, float* d_inputs);
    // From d_out (n 16) to d_features (n inputs); d_hidden is room for n density_width.
    void field_density_backward(const FieldBackward& field, const float* features, const float* hidden,
                                const float* d_out, int64_t n, float* d_hidden, float* d_features);
    // passed = exp(-density * delta), n a multiple of kFieldBlock.
    void field_passed(const float* density, const float* delta, int64_t n, float* passed);
    void field_adam_range(float* values, float* gradients, float* mean, float* square, int64_t n, float rate,
                          float beta1, float beta2, float epsilon);)
