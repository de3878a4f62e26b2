// Charts into one texture by their shapes on a grid of blocks: the largest first, each at the first free place row by row
// ("bottom left fill", Baker, Coffman & Rivest 1980, "Orthogonal packings in two dimensions", for any shape), so that small
// charts come to lie in the holes and bays of large ones. All columns of a row are tried at once, as bits of words.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <vector>

#include "texture.h"

namespace rilievo {
namespace {

using Word = uint64_t;

constexpr int64_t kTallest = 1 << 17;  // texels; a chart beyond this fits in no texture
constexpr int64_t kSmall = 24;         // rows + columns, in blocks, of charts for which the search goes on where it stopped

struct Run {
  int32_t row, column, length;
};

struct Chart {
  float x0 = std::numeric_limits<float>::infinity(), y0 = x0, x1 = -x0, y1 = -x0;
  int64_t column0 = 0, row0 = 0;  // integer place of its lower corner, padding included
  int64_t columns = 0, rows = 0;  // in blocks
  int64_t words = 0;              // of a row of `cells`
  std::vector<Word> cells;
};

// Sets `cells` of all blocks that a face, wider by the padding, touches.
void draw(Chart& c, const float* xy, double pad, int64_t block) {
  double x[3], y[3];
  for (int k = 0; k < 3; ++k) {
    x[k] = xy[2 * k] - static_cast<double>(c.column0);
    y[k] = xy[2 * k + 1] - static_cast<double>(c.row0);
  }
  const double size = static_cast<double>(block);
  const double left = std::min({x[0], x[1], x[2]}) - pad, right = std::max({x[0], x[1], x[2]}) + pad;
  const int64_t i0 = std::clamp<int64_t>(static_cast<int64_t>(left / size), 0, c.columns - 1);
  const int64_t i1 = std::clamp<int64_t>(static_cast<int64_t>(right / size), 0, c.columns - 1);
  for (int64_t i = i0; i <= i1; ++i) {
    // Rows of the triangle between the two verticals that bound the column, wider by the padding.
    const double a = static_cast<double>(i * block) - pad, b = static_cast<double>((i + 1) * block) + pad;
    double low = 1e300, high = -1e300;
    for (int k = 0; k < 3; ++k) {
      const int l = (k + 1) % 3;
      if (x[k] >= a && x[k] <= b) low = std::min(low, y[k]), high = std::max(high, y[k]);
      for (const double side : {a, b}) {
        if ((x[k] - side) * (x[l] - side) < 0) {
          const double at = y[k] + (side - x[k]) / (x[l] - x[k]) * (y[l] - y[k]);
          low = std::min(low, at), high = std::max(high, at);
        }
      }
    }
    if (low > high) continue;
    const int64_t first = std::clamp<int64_t>(static_cast<int64_t>(std::floor((low - pad) / size)), 0, c.rows - 1);
    const int64_t end = std::clamp<int64_t>(static_cast<int64_t>(std::ceil((high + pad) / size)), first + 1, c.rows);
    for (int64_t r = first; r < end; ++r) c.cells[r * c.words + (i >> 6)] |= Word{1} << (i & 63);
  }
}

std::vector<Run> runs_of(const Chart& c) {
  std::vector<Run> runs;
  for (int64_t r = 0; r < c.rows; ++r) {
    int64_t begin = -1;
    for (int64_t i = 0; i <= c.columns; ++i) {
      const bool set = i < c.columns && (c.cells[r * c.words + (i >> 6)] >> (i & 63) & 1);
      if (set && begin < 0) begin = i;
      if (!set && begin >= 0) {
        runs.push_back({static_cast<int32_t>(r), static_cast<int32_t>(begin), static_cast<int32_t>(i - begin)});
        begin = -1;
      }
    }
  }
  // Long runs meet something soonest.
  std::stable_sort(runs.begin(), runs.end(), [](const Run& a, const Run& b) { return a.length > b.length; });
  return runs;
}

// out |= in moved down by `by` columns (towards column 0).
void or_shifted(const Word* in, Word* out, int64_t words, int64_t by) {
  const int64_t step = by >> 6, bits = by & 63;
  for (int64_t w = 0; w + step < words; ++w) {
    Word v = in[w + step] >> bits;
    if (bits && w + step + 1 < words) v |= in[w + step + 1] << (64 - bits);
    out[w] |= v;
  }
}

class Atlas {
 public:
  explicit Atlas(int64_t columns) : columns_(columns), words_((columns + 63) / 64), wide_(words_), blocked_(words_) {}

  // The first column where the runs are free with their lowest row at `row`, or -1.
  int64_t fits(const std::vector<Run>& runs, int64_t columns, int64_t row) {
    const int64_t places = columns_ - columns + 1;  // bits 0 to places - 1 are candidates
    std::fill(blocked_.begin(), blocked_.end(), Word{0});
    for (int64_t i = places; i < words_ * 64;) {
      if ((i & 63) == 0) blocked_[i >> 6] = ~Word{0}, i += 64;
      else blocked_[i >> 6] |= Word{1} << (i & 63), ++i;
    }
    for (const Run& run : runs) {
      const int64_t r = row + run.row;
      if (r >= rows_) continue;
      const Word* taken = &taken_[r * words_];
      if (std::all_of(taken, taken + words_, [](Word w) { return w == 0; })) continue;
      std::copy(taken, taken + words_, wide_.begin());
      int64_t covered = 1;  // wide_: taken here or in one of the next covered - 1 columns
      while (covered < run.length) {
        const int64_t by = std::min(covered, run.length - covered);
        // In place: word w is read from words >= w only, and those are not written yet.
        or_shifted(wide_.data(), wide_.data(), words_, by);
        covered += by;
      }
      or_shifted(wide_.data(), blocked_.data(), words_, run.column);
      if (std::all_of(blocked_.begin(), blocked_.end(), [](Word w) { return w == ~Word{0}; })) return -1;
    }
    for (int64_t w = 0; w < words_; ++w)
      if (blocked_[w] != ~Word{0}) return 64 * w + std::countr_one(blocked_[w]);
    return -1;
  }
  void take(const std::vector<Run>& runs, int64_t column, int64_t row) {
    for (const Run& run : runs) {
      const int64_t r = row + run.row;
      if (r >= rows_) rows_ = r + 1, taken_.resize(rows_ * words_, 0);
      for (int64_t i = column + run.column; i < column + run.column + run.length; ++i)
        taken_[r * words_ + (i >> 6)] |= Word{1} << (i & 63);
    }
  }
  int64_t rows() const { return rows_; }

 private:
  int64_t columns_, words_, rows_ = 0;
  std::vector<Word> taken_, wide_, blocked_;
};

}  // namespace

Packed pack_charts(const float* corner_xy, const int32_t* chart_of_face, int64_t num_faces, int64_t num_charts,
                   int64_t width, int64_t padding, int64_t block) {
  std::vector<Chart> charts(num_charts);
  for (int64_t f = 0; f < num_faces; ++f) {
    Chart& c = charts[chart_of_face[f]];
    for (int k = 0; k < 3; ++k) {
      const float x = corner_xy[6 * f + 2 * k], y = corner_xy[6 * f + 2 * k + 1];
      c.x0 = std::min(c.x0, x), c.x1 = std::max(c.x1, x), c.y0 = std::min(c.y0, y), c.y1 = std::max(c.y1, y);
    }
  }
  const int64_t columns = std::max<int64_t>(1, width / block);
  Packed packed{std::vector<int32_t>(2 * num_charts, 0), 0};
  for (Chart& c : charts) {
    if (!(c.x0 <= c.x1)) continue;
    c.column0 = static_cast<int64_t>(std::floor(c.x0)) - padding;
    c.row0 = static_cast<int64_t>(std::floor(c.y0)) - padding;
    c.columns = (static_cast<int64_t>(std::ceil(c.x1)) + padding - c.column0 + block - 1) / block;
    c.rows = (static_cast<int64_t>(std::ceil(c.y1)) + padding - c.row0 + block - 1) / block;
    if (c.columns > columns || c.rows > kTallest / block) {  // larger than any texture
      packed.height = -1;
      return packed;
    }
    c.words = (c.columns + 63) / 64;
    c.cells.assign(c.rows * c.words, 0);
  }
  for (int64_t f = 0; f < num_faces; ++f)
    draw(charts[chart_of_face[f]], corner_xy + 6 * f, static_cast<double>(padding), block);

  std::vector<int64_t> order(num_charts);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t i, int64_t j) {
    return charts[i].rows + charts[i].columns > charts[j].rows + charts[j].columns;
  });
  Atlas atlas(columns);
  std::map<std::pair<int64_t, int64_t>, int64_t> reached;  // small charts: where one of this size was put last
  for (const int64_t i : order) {
    Chart& c = charts[i];
    if (c.columns == 0) continue;
    const std::vector<Run> runs = runs_of(c);
    const bool small = c.rows + c.columns <= kSmall;
    int64_t row = small ? reached[{c.rows, c.columns}] : 0, column = -1;
    while ((column = atlas.fits(runs, c.columns, row)) < 0) ++row;
    if (small) reached[{c.rows, c.columns}] = row;
    atlas.take(runs, column, row);
    packed.shift[2 * i] = static_cast<int32_t>(column * block - c.column0);
    packed.shift[2 * i + 1] = static_cast<int32_t>(row * block - c.row0);
    packed.height = std::max(packed.height, (row + c.rows) * block);
    c.cells = {};
  }
  return packed;
}

}  // namespace rilievo
