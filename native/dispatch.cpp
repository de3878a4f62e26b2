#include "dispatch.h"

#include <atomic>
#include <cstdlib>
#include <cstring>

#ifdef RIL_X86
#ifdef _MSC_VER
#include <intrin.h>
#else
#include <cpuid.h>
#endif
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

// Bit `bit` of register `index` (eax, ebx, ecx, edx) of cpuid's leaf 7, subleaf `sub`.
bool leaf7([[maybe_unused]] int sub, [[maybe_unused]] int index, [[maybe_unused]] int bit) {
#ifdef RIL_X86
#ifdef _MSC_VER
  int top[4], r[4];
  __cpuidex(top, 7, 0);
  if (top[0] < sub) return false;
  __cpuidex(r, 7, sub);
#else
  unsigned r[4] = {};
  if (!__get_cpuid_count(7, 0, &r[0], &r[1], &r[2], &r[3]) || static_cast<int>(r[0]) < sub) return false;
  if (!__get_cpuid_count(7, static_cast<unsigned>(sub), &r[0], &r[1], &r[2], &r[3])) return false;
#endif
  return (static_cast<unsigned>(r[index]) >> bit) & 1u;
#else
  return false;
#endif
}

std::atomic<bool>& byte_dot_wanted() {
  static std::atomic<bool> wanted{true};
  return wanted;
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

bool has_byte_dot() {
  static const bool wide = leaf7(0, 2, 11), narrow = leaf7(1, 0, 4);
  if (!byte_dot_wanted().load(std::memory_order_relaxed)) return false;
  return simd_level() == SimdLevel::avx512 ? wide : simd_level() == SimdLevel::avx2 && narrow;
}

bool set_byte_dot(bool wanted) {
  byte_dot_wanted() = wanted;
  return has_byte_dot();
}

const char* simd_level_name() {
  switch (simd_level()) {
    case SimdLevel::avx512: return "avx512";
    case SimdLevel::avx2: return "avx2";
    default: return "baseline";
  }
}

}  // namespace rilievo
