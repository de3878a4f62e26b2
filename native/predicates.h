// Exact signs of determinants of points with integer coordinates.
#pragma once

namespace rilievo {

// Points are three doubles that hold integers of at most 2^30 in size, so that differences are exact.

// > 0 when d lies on the side of the plane a b c to which (b - a) x (c - a) points; exact.
int orient3d(const double* a, const double* b, const double* c, const double* d);

// > 0 when e lies strictly inside the sphere through a, b, c, d, where orient3d(a, b, c, d) > 0; exact.
int in_sphere(const double* a, const double* b, const double* c, const double* d, const double* e);

}  // namespace rilievo
