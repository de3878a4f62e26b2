// Maximum flow with two search trees that are kept between augmentations (Boykov & Kolmogorov 2004, section 3.2), with
// the marking of distances from section 3.2.3 (time stamps) to find good parents quickly. Integer capacities: exact.
#include "min_cut.h"

#include <algorithm>
#include <stdexcept>

namespace rilievo {
namespace {

enum : uint8_t { kFree = 0, kSource = 1, kSink = 2 };
constexpr int8_t kTerminal = 4, kNone = 5;

class Flow {
 public:
  Flow(const int32_t* neighbours, const int32_t* capacities, const int32_t* terminals, int64_t n)
      : n_(n), neighbour_(neighbours), residual_(capacities, capacities + 4 * n), excess_(terminals, terminals + n),
        back_(static_cast<size_t>(4 * n), 0), tree_(static_cast<size_t>(n), kFree),
        parent_(static_cast<size_t>(n), kNone), next_(static_cast<size_t>(n), -1),
        stamp_(static_cast<size_t>(n), 0), distance_(static_cast<size_t>(n), 0) {
    for (int64_t i = 0; i < n; ++i)
      for (int e = 0; e < 4; ++e) {
        const int32_t j = neighbours[4 * i + e];
        if (j < -1 || j >= n || j == i) throw std::invalid_argument("min_cut: neighbour out of range");
        if (capacities[4 * i + e] < 0) throw std::invalid_argument("min_cut: capacities must not be negative");
        if (j < 0) continue;
        // Two nodes may share several edges: the k-th from here pairs with the k-th from there.
        int rank = 0, seen = 0, found = -1;
        for (int k = 0; k < e; ++k) rank += neighbours[4 * i + k] == j;
        for (int k = 0; k < 4; ++k)
          if (neighbours[4 * int64_t(j) + k] == i && seen++ == rank) found = k;
        if (found < 0) throw std::invalid_argument("min_cut: neighbours must be symmetric");
        back_[static_cast<size_t>(4 * i + e)] = static_cast<uint8_t>(found);
      }
  }

  int64_t run() {
    for (int64_t i = 0; i < n_; ++i) {
      if (excess_[i] == 0) continue;
      tree_[i] = excess_[i] > 0 ? kSource : kSink;
      parent_[i] = kTerminal;
      distance_[i] = 1;
      activate(static_cast<int32_t>(i));
    }
    for (int32_t p; (p = first_active()) >= 0;) {
      // Grow from p until it is exhausted; p stays first in the queue while paths are found from it.
      if (!grow(p)) pop_active();
    }
    return flow_;
  }

  void sides(std::vector<uint8_t>& side) const {
    side.resize(static_cast<size_t>(n_));
    for (int64_t i = 0; i < n_; ++i) side[static_cast<size_t>(i)] = tree_[static_cast<size_t>(i)] == kSource;
  }

 private:
  int32_t& residual(int32_t i, int e) { return residual_[4 * static_cast<size_t>(i) + static_cast<size_t>(e)]; }
  int32_t neighbour(int32_t i, int e) const { return neighbour_[4 * static_cast<int64_t>(i) + e]; }
  int back(int32_t i, int e) const { return back_[4 * static_cast<size_t>(i) + static_cast<size_t>(e)]; }

  void activate(int32_t i) {
    if (next_[i] >= 0 || tail_ == i) return;
    if (tail_ >= 0) next_[tail_] = i;
    else head_ = i;
    tail_ = i;
  }
  int32_t first_active() {
    while (head_ >= 0 && tree_[head_] == kFree) pop_active();
    return head_;
  }
  void pop_active() {
    const int32_t i = head_;
    head_ = next_[i];
    next_[i] = -1;
    if (head_ < 0) tail_ = -1;
  }

  // Residual capacity in the direction of flow through the tree of p: towards q (source), from q (sink).
  int32_t along(int32_t p, int e, uint8_t tree) {
    return tree == kSource ? residual(p, e) : residual(neighbour(p, e), back(p, e));
  }

  bool grow(int32_t p) {
    const uint8_t tree = tree_[p];
    for (int e = 0; e < 4; ++e) {
      const int32_t q = neighbour(p, e);
      if (q < 0 || along(p, e, tree) == 0) continue;
      if (tree_[q] == kFree) {
        tree_[q] = tree;
        parent_[q] = static_cast<int8_t>(back(p, e));
        stamp_[q] = stamp_[p];
        distance_[q] = distance_[p] + 1;
        activate(q);
      } else if (tree_[q] != tree) {
        if (tree == kSource) augment(p, e);
        else augment(q, back(p, e));
        adopt();
        return tree_[p] == tree;  // look at p again unless it was cut off
      } else if (stamp_[q] <= stamp_[p] && distance_[q] > distance_[p]) {
        parent_[q] = static_cast<int8_t>(back(p, e));
        stamp_[q] = stamp_[p];
        distance_[q] = distance_[p] + 1;
      }
    }
    return false;
  }

  // Pushes flow along the path source .. p -> q .. sink, where edge e of p leads to q.
  void augment(int32_t p, int e) {
    const int32_t q = neighbour(p, e);
    int32_t bottleneck = residual(p, e);
    int32_t i = p;
    while (parent_[i] != kTerminal) {
      const int32_t up = neighbour(i, parent_[i]);
      bottleneck = std::min(bottleneck, residual(up, back(i, parent_[i])));
      i = up;
    }
    bottleneck = std::min(bottleneck, excess_[i]);
    for (i = q; parent_[i] != kTerminal; i = neighbour(i, parent_[i]))
      bottleneck = std::min(bottleneck, residual(i, parent_[i]));
    bottleneck = std::min(bottleneck, -excess_[i]);

    residual(p, e) -= bottleneck;
    residual(q, back(p, e)) += bottleneck;
    for (i = p; parent_[i] != kTerminal;) {
      const int32_t up = neighbour(i, parent_[i]);
      int32_t& left = residual(up, back(i, parent_[i]));
      left -= bottleneck;
      residual(i, parent_[i]) += bottleneck;
      if (left == 0) orphan(i);
      i = up;
    }
    excess_[i] -= bottleneck;
    if (excess_[i] == 0) orphan(i);
    for (i = q; parent_[i] != kTerminal;) {
      const int32_t up = neighbour(i, parent_[i]);
      int32_t& left = residual(i, parent_[i]);
      left -= bottleneck;
      residual(up, back(i, parent_[i])) += bottleneck;
      if (left == 0) orphan(i);
      i = up;
    }
    excess_[i] += bottleneck;
    if (excess_[i] == 0) orphan(i);
    flow_ += bottleneck;
    ++time_;
  }

  void orphan(int32_t i) { orphans_.push_back(i); }

  // Gives orphans new parents in their tree, nearest to the terminal first, or sets them free.
  void adopt() {
    for (int32_t i : orphans_) parent_[i] = kNone;
    for (size_t k = 0; k < orphans_.size(); ++k) {
      const int32_t i = orphans_[k];
      const uint8_t tree = tree_[i];
      if (tree == kFree || parent_[i] != kNone) continue;
      int best = -1;
      int32_t best_distance = INT32_MAX;
      for (int e = 0; e < 4; ++e) {
        const int32_t j = neighbour(i, e);
        if (j < 0 || tree_[j] != tree) continue;
        if ((tree == kSource ? residual(j, back(i, e)) : residual(i, e)) == 0) continue;
        const int32_t length = rooted_distance(j);
        if (length < best_distance) best = e, best_distance = length;
      }
      if (best >= 0) {
        parent_[i] = static_cast<int8_t>(best);
        stamp_[i] = time_;
        distance_[i] = best_distance + 1;
        continue;
      }
      for (int e = 0; e < 4; ++e) {
        const int32_t j = neighbour(i, e);
        if (j < 0 || tree_[j] != tree) continue;
        if ((tree == kSource ? residual(j, back(i, e)) : residual(i, e)) > 0) activate(j);
        if (parent_[j] < kTerminal && neighbour(j, parent_[j]) == i && parent_[j] == back(i, e)) {
          parent_[j] = kNone;
          orphans_.push_back(j);
        }
      }
      tree_[i] = kFree;
    }
    orphans_.clear();
  }

  // Steps from j to the terminal of its tree, INT32_MAX when its root is an orphan. Marks the way for later questions.
  int32_t rooted_distance(int32_t j) {
    int32_t length = 0, i = j;
    for (;;) {
      if (stamp_[i] == time_) {
        length += distance_[i];
        break;
      }
      if (parent_[i] == kTerminal) {
        stamp_[i] = time_;
        distance_[i] = 1;
        ++length;
        break;
      }
      if (parent_[i] == kNone) return INT32_MAX;
      ++length;
      i = neighbour(i, parent_[i]);
    }
    const int32_t total = length;
    for (i = j; stamp_[i] != time_; i = neighbour(i, parent_[i])) {
      stamp_[i] = time_;
      distance_[i] = length--;
    }
    return total;
  }

  int64_t n_;
  const int32_t* neighbour_;
  std::vector<int32_t> residual_, excess_;
  std::vector<uint8_t> back_, tree_;
  std::vector<int8_t> parent_;
  std::vector<int32_t> next_, stamp_, distance_;
  std::vector<int32_t> orphans_;
  int32_t head_ = -1, tail_ = -1, time_ = 0;
  int64_t flow_ = 0;
};

}  // namespace

int64_t min_cut(const int32_t* neighbours, const int32_t* capacities, const int32_t* terminals, int64_t n,
                std::vector<uint8_t>& side) {
  if (n > INT32_MAX / 4) throw std::invalid_argument("min_cut: too many nodes");
  for (int64_t i = 0; i < 4 * n; ++i)
    if (capacities[i] > INT32_MAX / 2) throw std::invalid_argument("min_cut: a capacity is over 2^30");
  for (int64_t i = 0; i < n; ++i)
    if (terminals[i] == INT32_MIN) throw std::invalid_argument("min_cut: a terminal capacity is below -2^31 + 1");
  Flow flow(neighbours, capacities, terminals, n);
  const int64_t value = flow.run();
  flow.sides(side);
  return value;
}

}  // namespace rilievo
