// A few rays of a radiance field on their way through it. See native/field.h.
#pragma once
#include <cstdint>
#include <vector>

#include "field.h"
#include "field_walk.h"

namespace rilievo {

// Samples of some rays: walked in waves, a few samples a ray at a time, so that little is asked of what lies behind a
// surface. The samples that count stand in order of rays, then of distance; ray r has [first[r], first[r + 1]).
class FieldChunk {
 public:
  // Finds and asks the density of the samples of rays begin to end. Samples whose weight is below min_weight are taken as
  // empty.
  void walk(const FieldForward& field, const FieldGrid& grid, const FieldRays& rays, int64_t begin, int64_t end,
            float min_weight);
  // Colours of the samples.
  void shine(const FieldForward& field, const FieldRays& rays, int64_t begin);

  int64_t num_rays = 0, count = 0, padded = 0;  // padded: count, made a multiple of kFieldBlock
  int64_t marched = 0;
  std::vector<int64_t> first;      // num_rays + 1
  std::vector<float> transmitted;  // num_rays: what is left of the light behind the last sample
  // Of the samples (padded):
  std::vector<float> t, delta, passed, density, weight;
  std::vector<float> u, features, hidden, out;
  std::vector<float> inputs, hidden1, hidden2, logits, color;

 private:
  struct Found {
    int32_t ray, at;
    float weight;
  };
  void wave(const FieldForward& field, int64_t from);

  std::vector<FieldWalk> walks_;
  std::vector<int32_t> alive_;
  std::vector<Found> found_;
  std::vector<float> left_;
  // Of all samples that were asked.
  std::vector<float> t_, delta_, passed_, density_, u_, features_, hidden_, out_;
};

// The first 16 real spherical harmonics (degree 3) of a unit direction.
void field_harmonics(const float* direction, float* answer);

}  // namespace rilievo
