// Kernels of 3D Gaussian splats (Kerbl et al. 2023; EWA projection: Zwicker et al. 2001): bound in bindings_splats.cpp,
// specified by kernels/reference/splats.py.
//
// A Gaussian is a row of 64 floats, four cache lines: 0-2 mean, 3 logit of the opacity, 4-7 quaternion w x y z (any
// length), 8-10 log of the scales, 11 variance of the 3D filter (not trained), 12-15 free, 16-63 spherical harmonics,
// coefficient by coefficient, r g b each.
#pragma once
#include <cstdint>
#include <vector>

#include "dispatch.h"

namespace rilievo {

constexpr int kSplatRow = 64;
constexpr int kSplatHarmonics = 16;  // where the harmonics begin in a row
constexpr int kTile = 16;
constexpr int kMaxChannels = 7;  // red green blue, depth, normal x y z
constexpr int kSlot = 16;        // floats of a slot: six moments, then the channels
constexpr float kMaxAlpha = 0.999f;
constexpr float kMinLogAlpha = -7.99435344f;  // log2(1 / 255)
constexpr float kMinTransmittance = 1e-4f;
constexpr float kPixelVariance = 0.3f;  // of the filter on the image plane, px^2

struct SplatCamera {
  float R[9], t[3], center[3];
  float fx, fy, cx, cy;
  float near;
  int width, height;
};

struct SplatOptions {
  int degree;        // of the harmonics in use, 0 to 3
  int channels;      // 3, 4 or 7
  bool antialiased;  // the filter on the image plane keeps the amount of light
};

// A Gaussian on the image plane: alpha = 2^(lo + a dx^2 + b dx dy + c dy^2).
struct Splat2D {
  float x, y, a, b, c, lo;
  float feature[kMaxChannels];
  float reach_x, reach_y;  // half the box that its ellipse of alpha >= 1/255 fills, px
  uint32_t first_slot;     // of its pairs with tiles
};
static_assert(sizeof(Splat2D) == 64);

// A projected set of Gaussians, cut up into tiles. Pair i of tile t (offsets[t] <= i < offsets[t + 1]) is the Gaussian
// index[i] and the rows of the tile that it touches, nearest first; gradients of the pair go into slot[i].
struct SplatFrame {
  SplatCamera camera;
  SplatOptions options;
  int64_t num_splats = 0;
  int tiles_x = 0, tiles_y = 0;
  std::vector<Splat2D> splats;    // by Gaussian; only the visible ones are set
  std::vector<uint32_t> visible;  // nearest first
  std::vector<uint32_t> num_slots;  // by Gaussian
  std::vector<int64_t> offsets;
  std::vector<uint32_t> index, slot;
  std::vector<uint16_t> rows;
  // Working space, kept from frame to frame: asking the system for fresh pages costs more than filling them.
  struct Pairs {
    std::vector<uint32_t> tiles;
    std::vector<uint16_t> rows;
    int64_t count = 0;
  };
  std::vector<float> depth;
  std::vector<uint32_t> sorting[3], start;
  std::vector<Pairs> pairs;
};

// What the loops over Gaussians read of a frame (no containers: see dispatch.h).
struct SplatView {
  const SplatCamera& camera;
  const SplatOptions& options;
  const Splat2D* splats;
  const uint32_t* num_slots;
};

struct SplatTile {
  const Splat2D* splats;
  const uint32_t* index;
  const uint32_t* slot;
  const uint16_t* rows;
  int64_t count;
  int x0, y0, width, height;  // corner of the tile; size of the image
  float background[3];
};

// What a photo's gradients do to the rows.
struct SplatUpdate {
  float* rows;
  float* first;   // moments of Adam, laid out like the rows; column 12 of `first` counts the steps of a Gaussian
  float* second;
  const float* rates;  // 64 learning rates
  const float* bias1;  // 1 / (1 - beta1^t) for t = 1 ... num_bias, then 1
  const float* bias2;
  int64_t num_bias;
  float beta1, beta2, epsilon;
  float opacity_weight, scale_weight;  // weights of the sum of opacities and of scales in the loss
  float* score;                        // 4 a Gaussian: see splat_update
};

void project_splats(const float* rows, int64_t n, const SplatCamera& camera, const SplatOptions& options,
                    SplatFrame& frame);
void draw_splats(const SplatFrame& frame, const float* background, float* features, float* transmittance,
                 float* median_depth);
// Slots of all pairs: gradients of the moments and channels, see Slot in simd/splat_raster.cpp.
void draw_splats_backward(const SplatFrame& frame, const float* features, const float* transmittance,
                          const float* d_features, const float* d_transmittance, std::vector<float>& slots);
void splat_gradients(const SplatFrame& frame, const float* rows, const std::vector<float>& slots, float* d_rows,
                     float* d_xy);
void update_splats(const SplatFrame& frame, const std::vector<float>& slots, const SplatUpdate& update);

// One photo against its rendering: see photo_loss in kernels/reference/splats_loss.py.
struct PhotoLoss {
  const float* rendered;  // 3 h w
  const uint8_t* photo;   // h w 3
  const uint8_t* alpha;   // h w or null
  const uint8_t* mask;    // h w, 0 where not to look, or null
  const float* block_weights;  // blocks of 16 x 16 pixels, or null
  int width, height;
  float background[3], gain[3], bias[3];
  float dssim;  // weight of 1 - SSIM; the rest is L1
  float* gradient;        // 3 h w
  float* block_errors;    // blocks of 16 x 16: mean absolute difference, 0 where masked
};
struct LossSums {
  double l1 = 0, ssim = 0, squared = 0, weight = 0;
  double d_gain[3] = {0, 0, 0}, d_bias[3] = {0, 0, 0};
};
constexpr int kLossRows = 16 * 11 + 4;  // rows of working space of a band
LossSums photo_loss(const PhotoLoss& loss);

}  // namespace rilievo

RIL_DECLARE_SIMD(
    void project_range(const float* rows, int64_t begin, int64_t end, const SplatCamera& camera,
                       const SplatOptions& options, Splat2D* splats, float* depth);
    int64_t cut_range(const Splat2D* splats, const uint32_t* order, int64_t count, int tiles_x, int tiles_y,
                      uint32_t* tiles, uint16_t* rows, uint32_t* num_slots, int64_t capacity);
    void draw_tile(const SplatTile& tile, int channels, float* features, float* transmittance, float* median_depth);
    void draw_tile_backward(const SplatTile& tile, int channels, const float* features, const float* transmittance,
                            const float* d_features, const float* d_transmittance, float* slots);
    void gradient_range(const float* rows, const SplatView& view, int64_t begin, int64_t end, const float* slots,
                        float* d_rows, float* d_xy);
    void update_range(const SplatView& view, int64_t begin, int64_t end, const float* slots, const SplatUpdate& update);
    void loss_band(const PhotoLoss& loss, int channel, int begin, int end, float* store, LossSums& sums);)
