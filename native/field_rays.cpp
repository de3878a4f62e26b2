// Rays through random pixels of the training photos. See native/field.h.
#include <cmath>

#include "field.h"
#include "parallel.h"

namespace rilievo {
namespace {

// One number from four: the permutation of O'Neill 2014 (PCG) as a hash, chained.
uint32_t scramble(uint32_t x) {
  const uint32_t state = x * 747796405u + 2891336453u;
  const uint32_t word = ((state >> ((state >> 28) + 4u)) ^ state) * 277803737u;
  return (word >> 22) ^ word;
}

struct Dice {
  uint32_t key;
  uint32_t count = 0;
  uint32_t next() { return scramble(key + 0x9E3779B9u * count++); }
  float fraction() { return static_cast<float>(next() >> 8) * (1.0f / 16777216.0f); }
  uint32_t below(uint32_t n) { return static_cast<uint32_t>((static_cast<uint64_t>(next()) * n) >> 32); }
};

}  // namespace

void field_rays(const uint8_t* pixels, const uint8_t* usable, const FieldPhoto* photos, int64_t num_photos,
                const FieldDraw& draw, int64_t n, float* origins, float* directions, float* jitter, float* targets,
                float* backgrounds, float* weights, int32_t* photo) {
  constexpr int kTries = 16;
  const uint32_t base = scramble(scramble(draw.seed) + draw.iteration);
  parallel_ranges(n, 1024, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      Dice dice{scramble(base + static_cast<uint32_t>(r))};
      jitter[r] = dice.fraction();
      float* background = backgrounds + 3 * r;
      for (int c = 0; c < 3; ++c) background[c] = draw.random_background ? dice.fraction() : draw.background[c];
      const FieldPhoto* p = photos;
      uint32_t x = 0, y = 0;
      int64_t at = 0;
      bool good = false;
      for (int k = 0; k < kTries && !good; ++k) {
        p = photos + dice.below(static_cast<uint32_t>(num_photos));
        x = dice.below(static_cast<uint32_t>(p->width));
        y = dice.below(static_cast<uint32_t>(p->height));
        at = p->first + static_cast<int64_t>(y) * p->width + x;
        good = !usable || usable[at];
      }
      weights[r] = good ? 1.0f : 0.0f;
      photo[r] = static_cast<int32_t>(p - photos);
      const double ray[3] = {(x + 0.5 - p->cx) / p->fx, (y + 0.5 - p->cy) / p->fy, 1.0};
      double d[3], length = 0.0;
      for (int a = 0; a < 3; ++a) {
        d[a] = p->rotation[3 * a] * ray[0] + p->rotation[3 * a + 1] * ray[1] + p->rotation[3 * a + 2] * ray[2];
        length += d[a] * d[a];
      }
      length = std::sqrt(length);
      const float alpha = static_cast<float>(pixels[4 * at + 3]) / 255.0f;
      for (int a = 0; a < 3; ++a) {
        directions[3 * r + a] = static_cast<float>(d[a] / length);
        origins[3 * r + a] = static_cast<float>(p->center[a]);
        const float own = static_cast<float>(pixels[4 * at + a]) / 255.0f;
        targets[3 * r + a] = own * alpha + background[a] * (1.0f - alpha);
      }
    }
  });
}

}  // namespace rilievo
