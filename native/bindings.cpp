// The module rilievo._native. Each area binds its kernels in bindings_<area>.cpp; bindings hold no logic.
#include "bindings.h"

#include <stdexcept>
#include <string>

#include "dispatch.h"
#include "parallel.h"

void bind_nearest(nb::module_&);
void bind_stereo(nb::module_&);
void bind_surface(nb::module_& m);
void bind_texture(nb::module_&);
void bind_features(nb::module_&);
void bind_mesh(nb::module_&);
void bind_refine(nb::module_&);
void bind_fusion(nb::module_&);
void bind_monocular(nb::module_&);
void bind_shrink(nb::module_&);
void bind_field(nb::module_&);
void bind_splats(nb::module_&);

NB_MODULE(_native, m) {
  m.doc() = "rilievo's fast kernels; the door is rilievo.kernels";
  m.def("set_num_threads", &rilievo::set_num_threads, nb::arg("n"));
  m.def("num_threads", &rilievo::num_threads);
  m.def("simd_level", &rilievo::simd_level_name);
  m.def("byte_dot", &rilievo::has_byte_dot);
  m.def("set_byte_dot", &rilievo::set_byte_dot, nb::arg("wanted"));
  m.def(
      "set_simd_level",
      [](const std::string& name) {
        if (name == "baseline") rilievo::set_simd_level(rilievo::SimdLevel::baseline);
        else if (name == "avx2") rilievo::set_simd_level(rilievo::SimdLevel::avx2);
        else if (name == "avx512") rilievo::set_simd_level(rilievo::SimdLevel::avx512);
        else throw std::invalid_argument("simd level must be baseline, avx2 or avx512");
        return std::string(rilievo::simd_level_name());
      },
      nb::arg("name"));
  bind_nearest(m);
  bind_stereo(m);
  bind_surface(m);
  bind_texture(m);
  bind_features(m);
  bind_mesh(m);
  bind_refine(m);
  bind_fusion(m);
  bind_monocular(m);
  bind_shrink(m);
  bind_field(m);
  bind_splats(m);
}
