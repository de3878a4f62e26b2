// One thread pool for all kernels. A kernel splits its work into chunks whose content does not depend on the
// number of threads, so that results are the same bytes for any setting.
#pragma once
#include <cstdint>
#include <functional>

namespace rilievo {

// Number of threads that kernels may use, the calling thread included. 0 asks for the number of cores.
void set_num_threads(int n);
int num_threads();

// Calls body(i) once for every i in [0, n). The calling thread takes part, so nested and concurrent calls never
// wait for a free worker. Exceptions are passed to the caller (the one of the lowest index that threw).
void parallel_for(int64_t n, const std::function<void(int64_t)>& body);

// Calls body(begin, end) over consecutive ranges of `grain` items: the cut depends on n and grain only.
void parallel_ranges(int64_t n, int64_t grain, const std::function<void(int64_t, int64_t)>& body);

}  // namespace rilievo
