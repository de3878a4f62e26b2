// Predicates with a floating-point filter (error bounds after Shewchuk 1997, section 4) and exact integers behind it.
#include "predicates.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace rilievo {
namespace {

// Two's complement integer of 256 bits. The largest value that occurs, a determinant with lifted coordinates, has
// 31 + 31 + 31 + 64 bits and a few carries.
class Wide {
 public:
  explicit Wide(double value) {
    const auto number = static_cast<int64_t>(value);
    const auto bits = static_cast<uint64_t>(number);
    limb_[0] = static_cast<uint32_t>(bits);
    limb_[1] = static_cast<uint32_t>(bits >> 32);
    for (int i = 2; i < 8; ++i) limb_[i] = number < 0 ? UINT32_MAX : 0;
  }
  friend Wide operator+(const Wide& a, const Wide& b) {
    Wide out;
    uint64_t carry = 0;
    for (int i = 0; i < 8; ++i) {
      carry += uint64_t(a.limb_[i]) + b.limb_[i];
      out.limb_[i] = static_cast<uint32_t>(carry);
      carry >>= 32;
    }
    return out;
  }
  friend Wide operator-(const Wide& a, const Wide& b) {
    Wide out;
    uint64_t carry = 1;
    for (int i = 0; i < 8; ++i) {
      carry += uint64_t(a.limb_[i]) + static_cast<uint32_t>(~b.limb_[i]);
      out.limb_[i] = static_cast<uint32_t>(carry);
      carry >>= 32;
    }
    return out;
  }
  friend Wide operator*(const Wide& a, const Wide& b) {
    Wide out;
    for (int i = 0; i < 8; ++i) {
      uint64_t carry = 0;
      for (int j = 0; i + j < 8; ++j) {
        carry += uint64_t(a.limb_[i]) * b.limb_[j] + out.limb_[i + j];
        out.limb_[i + j] = static_cast<uint32_t>(carry);
        carry >>= 32;
      }
    }
    return out;
  }
  int sign() const {
    if (limb_[7] >> 31) return -1;
    for (uint32_t limb : limb_)
      if (limb) return 1;
    return 0;
  }

 private:
  Wide() = default;
  uint32_t limb_[8] = {};
};

// Determinant of the rows (x y z).
template <typename T>
T det3(const T& ax, const T& ay, const T& az, const T& bx, const T& by, const T& bz, const T& cx, const T& cy,
       const T& cz) {
  return ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx);
}

template <typename T>
T lifted_det(const T (&x)[4], const T (&y)[4], const T (&z)[4]) {
  const T ab = x[0] * y[1] - x[1] * y[0], bc = x[1] * y[2] - x[2] * y[1], cd = x[2] * y[3] - x[3] * y[2];
  const T da = x[3] * y[0] - x[0] * y[3], ac = x[0] * y[2] - x[2] * y[0], bd = x[1] * y[3] - x[3] * y[1];
  const T abc = z[0] * bc - z[1] * ac + z[2] * ab, bcd = z[1] * cd - z[2] * bd + z[3] * bc;
  const T cda = z[2] * da + z[3] * ac + z[0] * cd, dab = z[3] * ab + z[0] * bd + z[1] * da;
  const auto lift = [&](int i) { return x[i] * x[i] + y[i] * y[i] + z[i] * z[i]; };
  return (lift(2) * dab - lift(3) * abc) + (lift(0) * bcd - lift(1) * cda);
}

}  // namespace

int orient3d(const double* a, const double* b, const double* c, const double* d) {
  const double bx = b[0] - a[0], by = b[1] - a[1], bz = b[2] - a[2];
  const double cx = c[0] - a[0], cy = c[1] - a[1], cz = c[2] - a[2];
  const double dx = d[0] - a[0], dy = d[1] - a[1], dz = d[2] - a[2];
  const double det = det3(bx, by, bz, cx, cy, cz, dx, dy, dz);
  const double mx = std::max({std::abs(bx), std::abs(cx), std::abs(dx)});
  const double my = std::max({std::abs(by), std::abs(cy), std::abs(dy)});
  const double mz = std::max({std::abs(bz), std::abs(cz), std::abs(dz)});
  const double bound = 5e-15 * mx * my * mz;  // six products, each wrong by less than (7 + 56 e) e, e = 2^-53
  if (det > bound) return 1;
  if (det < -bound) return -1;
  if (bound == 0) return 0;
  using W = Wide;
  return det3(W(bx), W(by), W(bz), W(cx), W(cy), W(cz), W(dx), W(dy), W(dz)).sign();
}

int in_sphere(const double* a, const double* b, const double* c, const double* d, const double* e) {
  const double* corner[4] = {a, b, c, d};
  double x[4], y[4], z[4], mx = 0, my = 0, mz = 0;
  for (int i = 0; i < 4; ++i) {
    x[i] = corner[i][0] - e[0], y[i] = corner[i][1] - e[1], z[i] = corner[i][2] - e[2];
    mx = std::max(mx, std::abs(x[i])), my = std::max(my, std::abs(y[i])), mz = std::max(mz, std::abs(z[i]));
  }
  const double det = lifted_det(x, y, z);
  // 24 products of three differences, each times a lift of at most m^2, wrong by less than (16 + 224 e) e.
  const double bound = 24 * 1.8e-15 * mx * my * mz * (mx * mx + my * my + mz * mz);
  if (det > bound) return 1;
  if (det < -bound) return -1;
  const Wide wx[4] = {Wide(x[0]), Wide(x[1]), Wide(x[2]), Wide(x[3])};
  const Wide wy[4] = {Wide(y[0]), Wide(y[1]), Wide(y[2]), Wide(y[3])};
  const Wide wz[4] = {Wide(z[0]), Wide(z[1]), Wide(z[2]), Wide(z[3])};
  return lifted_det(wx, wy, wz).sign();
}

}  // namespace rilievo
