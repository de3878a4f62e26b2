#include "dispatch.h"

#include <atomic>
#include <cstdlib>
#include <cstring>

#if defined(RIL_X86) && defined(_MSC_VER)
#include <intrin.h>
#endif

namespace rilievo {
namespace {

SimdLevel detect() {
#ifdef RIL_X86
#ifdef _MSC_VER
  int leaf1[4], leaf7[4];
  __cpuid(leaf1, 1);
  __cpuidex(leaf7, 7, 0);
  if (!(leaf1[2] & (1 << 27))) return SimdLevel::baseline;  // the system does not save wide registers
  const unsigned long long saved = _xgetbv(0);
  const bool avx2 = (saved & 6) == 6 && (leaf7[1] & (1 << 5)) && (leaf1[2] & (1 << 12));
  const int avx512_bits = (1 << 16) | (1 << 17) | (1 << 28) | (1 << 30) | (1 << 31);
  if (avx2 && (saved & 0xE6) == 0xE6 && (leaf7[1] & avx512_bits) == avx512_bits) return SimdLevel::avx512;
  return avx2 ? SimdLevel::avx2 : SimdLevel::baseline;
#else
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
  return avx512 ? SimdLevel::avx512 : avx2 ? SimdLevel::avx2 : SimdLevel::baseline;
#endif
#else
  return SimdLevel::baseline;
#endif
}

SimdLevel clamp(SimdLevel level) {
  const SimdLevel best = detect();
  return level > best ? best : level;
}

SimdLevel initial() {
  const char* wish = std::getenv("RILIEVO_SIMD");
  if (wish && !std::strcmp(wish, "baseline")) return SimdLevel::baseline;
  if (wish && !std::strcmp(wish, "avx2")) return clamp(SimdLevel::avx2);
  return detect();
}

std::atomic<SimdLevel>& current() {
  static std::atomic<SimdLevel> level{initial()};
  return level;
}

}  // namespace

SimdLevel simd_level() { return current().load(std::memory_order_relaxed); }

SimdLevel set_simd_level(SimdLevel level) {
  current() = clamp(level);
  return simd_level();
}

const char* simd_level_name() {
  switch (simd_level()) {
    case SimdLevel::avx512: return "avx512";
    case SimdLevel::avx2: return "avx2";
    default: return "baseline";
  }
}

}  // namespace rilievo
