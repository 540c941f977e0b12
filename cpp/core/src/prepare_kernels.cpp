#include "prepare_kernels.h"

#include <atomic>

namespace hasten {
namespace {

const Kernels scalar{across_scalar, down_scalar, yuv_to_rgb_scalar, rgb_to_grey_scalar};
std::atomic<bool> wanted_{true};

const Kernels& best() {
#if defined(__x86_64__)
    static const Kernels avx2{across_avx2, down_avx2, yuv_to_rgb_avx2, rgb_to_grey_avx2};
    if (__builtin_cpu_supports("avx2")) return avx2;
#endif
    return scalar;
}

}  // namespace

bool vectorised(bool wanted) {
    wanted_ = wanted;
    return &kernels() != &scalar;
}

const Kernels& kernels() { return wanted_ ? best() : scalar; }

}  // namespace hasten
