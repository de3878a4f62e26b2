// Kernels on triangle meshes and on points around them.
#include <cmath>
#include <stdexcept>
#include <string>

#include "bindings.h"
#include "mesh_edges.h"
#include "parallel.h"
#include "point_tree.h"
#include "simplify.h"
#include "snap.h"

namespace {

using Rows = In<float, nb::shape<-1, 3>>;
using Values = In<float, nb::ndim<1>>;
using Faces = In<int32_t, nb::shape<-1, 3>>;
using Packed = In<float, nb::shape<-1, 4>>;
using Axes = In<uint8_t, nb::ndim<1>>;

static_assert(sizeof(rilievo::TreePoint) == 16);

nb::tuple build_tree(Rows points) {
  const size_t n = points.shape(0);
  std::vector<float> packed(4 * n), splits;
  std::vector<uint8_t> axes;
  {
    nb::gil_scoped_release release;
    auto* tree = reinterpret_cast<rilievo::TreePoint*>(packed.data());
    for (size_t i = 0; i < n; ++i) {
      for (size_t k = 0; k < 3; ++k) tree[i].at[k] = points.data()[3 * i + k];
      tree[i].index = static_cast<int32_t>(i);
    }
    rilievo::build_tree(tree, int64_t(n), splits, axes);
  }
  const size_t nodes = splits.size();
  return nb::make_tuple(to_numpy(std::move(packed), {n, 4}), to_numpy(std::move(splits), {nodes}),
                        to_numpy(std::move(axes), {nodes}));
}

rilievo::PointTree tree_of(const Packed& packed, const Values& splits, const Axes& axes) {
  rilievo::PointTree tree;
  tree.points = reinterpret_cast<const rilievo::TreePoint*>(packed.data());
  tree.num_points = int64_t(packed.shape(0));
  tree.depth = rilievo::tree_depth(tree.num_points);
  const size_t nodes = (size_t(1) << tree.depth) - 1;
  if (splits.shape(0) != nodes || axes.shape(0) != nodes)
    throw std::invalid_argument("point tree: splits and axes do not fit the points");
  for (size_t i = 0; i < nodes; ++i)
    if (axes.data()[i] > 2) throw std::invalid_argument("point tree: axes must be 0, 1 or 2");
  tree.splits = splits.data();
  tree.axes = axes.data();
  return tree;
}

nb::tuple nearest_points(Packed packed, Values splits, Axes axes, Rows places, int count, double limit) {
  const rilievo::PointTree tree = tree_of(packed, splits, axes);
  if (count < 1 || count > 64) throw std::invalid_argument("nearest_points: count must be from 1 to 64");
  if (!(limit >= 0)) throw std::invalid_argument("nearest_points: limit must not be negative");
  const size_t m = places.shape(0), k = size_t(count);
  std::vector<int32_t> index(m * k);
  std::vector<double> distance(m * k);
  {
    nb::gil_scoped_release release;
    rilievo::parallel_ranges(int64_t(m), 2048, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const double at[3] = {places.data()[3 * i], places.data()[3 * i + 1], places.data()[3 * i + 2]};
        double* out = &distance[size_t(i) * k];
        rilievo::find_nearest(tree, at, count, limit * limit, &index[size_t(i) * k], out);
        for (size_t j = 0; j < k; ++j) out[j] = std::sqrt(out[j]);
      }
    });
  }
  return nb::make_tuple(to_numpy(std::move(index), {m, k}), to_numpy(std::move(distance), {m, k}));
}

nb::tuple snap_steps(Packed packed, Values splits, Axes axes, Rows points, Rows point_normals, Values sigma,
                     Values confidence, Values spacing, Rows vertices, Rows normals, int neighbours, int min_points,
                     In<double, nb::shape<7>> limits) {
  const rilievo::PointTree tree = tree_of(packed, splits, axes);
  const size_t n = packed.shape(0), m = vertices.shape(0);
  for (size_t other : {points.shape(0), point_normals.shape(0), sigma.shape(0), confidence.shape(0), spacing.shape(0)})
    if (other != n) throw std::invalid_argument("snap_steps: one normal, sigma, confidence and spacing a point");
  if (normals.shape(0) != m) throw std::invalid_argument("snap_steps: one normal a vertex");
  for (size_t i = 0; i < n; ++i)
    if (tree.points[i].index < 0 || size_t(tree.points[i].index) >= n)
      throw std::invalid_argument("snap_steps: the tree is not of these points");
  const double* l = limits.data();
  std::vector<double> step(3 * m);
  std::vector<uint8_t> held(m);
  {
    nb::gil_scoped_release release;
    rilievo::snap_steps(tree,
                        {points.data(), point_normals.data(), sigma.data(), confidence.data(), spacing.data()},
                        vertices.data(), normals.data(), int64_t(m),
                        {neighbours, min_points, l[0], l[1], l[2], l[3], l[4], l[5], l[6]}, step.data(), held.data());
  }
  return nb::make_tuple(to_numpy(std::move(step), {m, 3}), to_numpy(std::move(held), {m}));
}

nb::ndarray<nb::numpy, int32_t> edge_twins(Rows vertices, Faces faces) {
  const size_t n = faces.shape(0);
  std::vector<int32_t> twins(3 * n);
  {
    nb::gil_scoped_release release;
    rilievo::edge_twins(vertices.data(), int64_t(vertices.shape(0)), faces.data(), int64_t(n), twins.data());
  }
  return to_numpy(std::move(twins), {n, 3});
}

void same_size(const Faces& faces, const Faces& twins, const char* who) {
  if (faces.shape(0) != twins.shape(0)) throw std::invalid_argument(std::string(who) + ": one twin a half-edge");
}

nb::tuple split_fans(Faces faces, Faces twins, int64_t num_vertices) {
  same_size(faces, twins, "split_fans");
  const size_t n = faces.shape(0);
  std::vector<int32_t> out(faces.data(), faces.data() + 3 * n), origin;
  {
    nb::gil_scoped_release release;
    rilievo::split_fans(out.data(), twins.data(), int64_t(n), num_vertices, origin);
  }
  const size_t extra = origin.size();
  return nb::make_tuple(to_numpy(std::move(out), {n, 3}), to_numpy(std::move(origin), {extra}));
}

nb::ndarray<nb::numpy, int32_t> join_faces(Faces twins, Axes chosen) {
  const size_t n = twins.shape(0);
  if (chosen.shape(0) != n) throw std::invalid_argument("join_faces: one choice a face");
  std::vector<int32_t> label(n);
  {
    nb::gil_scoped_release release;
    rilievo::join_faces(twins.data(), chosen.data(), int64_t(n), label.data());
  }
  return to_numpy(std::move(label), {n});
}

nb::tuple border_loops(In<int32_t, nb::ndim<1>> start, In<int32_t, nb::ndim<1>> end) {
  if (start.shape(0) != end.shape(0)) throw std::invalid_argument("border_loops: start and end must have one size");
  std::vector<int64_t> offsets;
  std::vector<int32_t> vertices;
  {
    nb::gil_scoped_release release;
    rilievo::border_loops(start.data(), end.data(), int64_t(start.shape(0)), offsets, vertices);
  }
  const size_t n = offsets.size(), m = vertices.size();
  return nb::make_tuple(to_numpy(std::move(offsets), {n}), to_numpy(std::move(vertices), {m}));
}

nb::tuple simplify_mesh(In<double, nb::shape<-1, 3>> vertices, Faces faces, Faces twins, In<double, nb::ndim<1>> weight,
                        int64_t target, double noise) {
  same_size(faces, twins, "simplify_mesh");
  if (weight.shape(0) != vertices.shape(0)) throw std::invalid_argument("simplify_mesh: one weight a vertex");
  std::vector<double> place(vertices.data(), vertices.data() + vertices.size());
  std::vector<int32_t> corner(faces.data(), faces.data() + faces.size());
  {
    nb::gil_scoped_release release;
    rilievo::simplify_mesh(place, corner, twins.data(), weight.data(), target, noise);
  }
  const size_t n = place.size() / 3, m = corner.size() / 3;
  return nb::make_tuple(to_numpy(std::move(place), {n, 3}), to_numpy(std::move(corner), {m, 3}));
}

}  // namespace

void bind_mesh(nb::module_& m) {
  m.def("build_tree", &build_tree, nb::arg("points").noconvert());
  m.def("nearest_points", &nearest_points, nb::arg("packed").noconvert(), nb::arg("splits").noconvert(),
        nb::arg("axes").noconvert(), nb::arg("places").noconvert(), nb::arg("count"), nb::arg("limit"));
  m.def("snap_steps", &snap_steps, nb::arg("packed").noconvert(), nb::arg("splits").noconvert(),
        nb::arg("axes").noconvert(), nb::arg("points").noconvert(), nb::arg("point_normals").noconvert(),
        nb::arg("sigma").noconvert(), nb::arg("confidence").noconvert(), nb::arg("spacing").noconvert(),
        nb::arg("vertices").noconvert(), nb::arg("normals").noconvert(), nb::arg("neighbours"), nb::arg("min_points"),
        nb::arg("limits").noconvert());
  m.def("edge_twins", &edge_twins, nb::arg("vertices").noconvert(), nb::arg("faces").noconvert());
  m.def("split_fans", &split_fans, nb::arg("faces").noconvert(), nb::arg("twins").noconvert(),
        nb::arg("num_vertices"));
  m.def("join_faces", &join_faces, nb::arg("twins").noconvert(), nb::arg("chosen").noconvert());
  m.def("border_loops", &border_loops, nb::arg("start").noconvert(), nb::arg("end").noconvert());
  m.def("simplify_mesh", &simplify_mesh, nb::arg("vertices").noconvert(), nb::arg("faces").noconvert(),
        nb::arg("twins").noconvert(), nb::arg("weight").noconvert(), nb::arg("target"), nb::arg("noise"));
}
