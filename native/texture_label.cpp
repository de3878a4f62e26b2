// Labels of least energy on the graph of faces: sequential tree-reweighted message passing (Kolmogorov 2006, "Convergent
// tree-reweighted message passing for energy minimization", figure 3) for the Potts model, each face with its own short
// list of labels. One thread and a fixed order: the answer is the same on every machine.
#include <algorithm>
#include <limits>
#include <vector>

#include "texture.h"

namespace rilievo {
namespace {

struct Graph {
  const int64_t* offsets;
  const int32_t* labels;
  const float* costs;
  const int32_t* neighbors;
  const float* weights;
  int64_t num_faces;

  int64_t size(int64_t f) const { return offsets[f + 1] - offsets[f]; }
  // The neighbour over side k, or -1 when there is none that has labels.
  int64_t neighbor(int64_t f, int k) const {
    const int64_t g = neighbors[3 * f + k];
    return g >= 0 && g < num_faces && g != f && size(g) > 0 ? g : -1;
  }
};

}  // namespace

std::vector<int32_t> label_faces(const int64_t* offsets, const int32_t* labels, const float* costs, int64_t num_faces,
                                 const int32_t* neighbors, const float* weights, int iterations) {
  const Graph graph{offsets, labels, costs, neighbors, weights, num_faces};
  std::vector<int32_t> chosen(num_faces, -1);
  if (num_faces == 0) return chosen;

  // messages[3 * offsets[f] + k * size(f) + i]: from the neighbour over side k to label i of face f.
  std::vector<float> messages(3 * offsets[num_faces], 0.0f);
  // Which side of the neighbour leads back: the k-th of several links between the same two faces meets the k-th.
  std::vector<int8_t> back(3 * num_faces, -1);
  std::vector<float> share(num_faces, 1.0f);
  int64_t widest = 0;
  for (int64_t f = 0; f < num_faces; ++f) {
    widest = std::max(widest, graph.size(f));
    int before = 0, after = 0;
    for (int k = 0; k < 3; ++k) {
      const int64_t g = graph.neighbor(f, k);
      if (g < 0 || graph.size(f) == 0) continue;
      int rank = 0;
      for (int j = 0; j < k; ++j) rank += neighbors[3 * f + j] == g;
      for (int j = 0; j < 3; ++j) {
        if (neighbors[3 * g + j] == f && rank-- == 0) back[3 * f + k] = static_cast<int8_t>(j);
      }
      if (back[3 * f + k] >= 0) (g < f ? before : after) += 1;
    }
    share[f] = 1.0f / static_cast<float>(std::max({1, before, after}));
  }

  std::vector<float> belief(widest);
  const auto gather = [&](int64_t f) {
    const int64_t n = graph.size(f);
    for (int64_t i = 0; i < n; ++i) belief[i] = costs[offsets[f] + i];
    for (int k = 0; k < 3; ++k) {
      if (back[3 * f + k] < 0) continue;
      const float* in = messages.data() + 3 * offsets[f] + k * n;
      for (int64_t i = 0; i < n; ++i) belief[i] += in[i];
    }
  };
  const auto send = [&](int64_t f, bool forward) {
    const int64_t n = graph.size(f);
    if (n == 0) return;
    gather(f);
    for (int k = 0; k < 3; ++k) {
      if (back[3 * f + k] < 0) continue;
      const int64_t g = graph.neighbor(f, k);
      if ((g > f) != forward) continue;
      const float* in = messages.data() + 3 * offsets[f] + k * n;
      const float weight = std::min(weights[3 * f + k], weights[3 * g + back[3 * f + k]]);
      float least = std::numeric_limits<float>::infinity();
      for (int64_t i = 0; i < n; ++i) least = std::min(least, share[f] * belief[i] - in[i]);
      const int64_t m = graph.size(g);
      float* out = messages.data() + 3 * offsets[g] + back[3 * f + k] * m;
      const int32_t *mine = labels + offsets[f], *theirs = labels + offsets[g];
      int64_t i = 0;
      for (int64_t j = 0; j < m; ++j) {  // both lists are sorted
        while (i < n && mine[i] < theirs[j]) ++i;
        float value = weight;
        if (i < n && mine[i] == theirs[j]) value = std::min(value, share[f] * belief[i] - in[i] - least);
        out[j] = value;
      }
    }
  };
  for (int t = 0; t < iterations; ++t) {
    for (int64_t f = 0; f < num_faces; ++f) send(f, true);
    for (int64_t f = num_faces - 1; f >= 0; --f) send(f, false);
  }

  // Read out in order: what was chosen before counts as fixed, what comes after by its message (Kolmogorov, section 4).
  std::vector<int32_t> pick(num_faces, -1);
  const auto settle = [&](int64_t f, bool all_known) {
    const int64_t n = graph.size(f);
    for (int64_t i = 0; i < n; ++i) belief[i] = costs[offsets[f] + i];
    for (int k = 0; k < 3; ++k) {
      if (back[3 * f + k] < 0) continue;
      const int64_t g = graph.neighbor(f, k);
      const float weight = std::min(weights[3 * f + k], weights[3 * g + back[3 * f + k]]);
      const float* in = messages.data() + 3 * offsets[f] + k * n;
      for (int64_t i = 0; i < n; ++i) {
        if (all_known || g < f) belief[i] += labels[offsets[f] + i] == labels[offsets[g] + pick[g]] ? 0.0f : weight;
        else belief[i] += in[i];
      }
    }
    int32_t best = 0;
    for (int64_t i = 1; i < n; ++i) if (belief[i] < belief[best]) best = static_cast<int32_t>(i);
    return best;
  };
  for (int64_t f = 0; f < num_faces; ++f) if (graph.size(f) > 0) pick[f] = settle(f, false);
  for (int t = 0; t < 10; ++t) {  // then every face takes its best label given all neighbours
    bool changed = false;
    for (int64_t f = 0; f < num_faces; ++f) {
      if (graph.size(f) == 0) continue;
      const int32_t best = settle(f, true);
      changed = changed || best != pick[f];
      pick[f] = best;
    }
    if (!changed) break;
  }
  for (int64_t f = 0; f < num_faces; ++f) if (pick[f] >= 0) chosen[f] = labels[offsets[f] + pick[f]];
  return chosen;
}

}  // namespace rilievo
