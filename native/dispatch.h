// Run-time choice of the widest instruction set that this machine has.
//
// A kernel in native/simd/NAME.cpp puts its functions into namespace rilievo::RIL_SIMD (baseline, avx2 or avx512) and a
// header declares them with RIL_DECLARE_SIMD; callers write RIL_CALL_SIMD(function, arguments...).
// Files under native/simd use plain loops and as little of the standard library as they can: an inline template that is
// compiled there with wide instructions could be the copy the linker keeps for everyone.
#pragma once

namespace rilievo {

enum class SimdLevel { baseline = 0, avx2 = 1, avx512 = 2 };

// The level in use: the widest one of the machine, or a lower one set by RILIEVO_SIMD=baseline|avx2|avx512.
SimdLevel simd_level();
const char* simd_level_name();
// For tests: use this level (clamped to what the machine has) from now on. Returns the level in use.
SimdLevel set_simd_level(SimdLevel level);

// Whether to use dot products of bytes (AVX512-VNNI at level avx512, AVX-VNNI at level avx2): the machine has them and
// set_byte_dot(false), which is for tests, was not called.
bool has_byte_dot();
bool set_byte_dot(bool wanted);

}  // namespace rilievo

#ifdef RIL_X86
#define RIL_DECLARE_SIMD(...)                   \
  namespace rilievo::baseline { __VA_ARGS__; } \
  namespace rilievo::avx2 { __VA_ARGS__; }     \
  namespace rilievo::avx512 { __VA_ARGS__; }
#define RIL_CALL_SIMD(function, ...)                                                               \
  (::rilievo::simd_level() == ::rilievo::SimdLevel::avx512 ? ::rilievo::avx512::function(__VA_ARGS__) \
   : ::rilievo::simd_level() == ::rilievo::SimdLevel::avx2 ? ::rilievo::avx2::function(__VA_ARGS__)   \
                                                           : ::rilievo::baseline::function(__VA_ARGS__))
#else
#define RIL_DECLARE_SIMD(...) \
  namespace rilievo::baseline { __VA_ARGS__; }
#define RIL_CALL_SIMD(function, ...) ::rilievo::baseline::function(__VA_ARGS__)
#endif
