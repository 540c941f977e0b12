#include "resize.h"

#include <algorithm>
#include <cmath>

namespace hasten {
namespace {

constexpr int kBits = 22;

double triangle(double x) {
    x = std::fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

// Keys' cubic with a = -0.5.
double cubic(double x) {
    x = std::fabs(x);
    if (x < 1.0) return (1.5 * x - 2.5) * x * x + 1.0;
    if (x < 2.0) return ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0;
    return 0.0;
}

// To the nearest, half away from zero.
std::int32_t fixed(double weight) {
    double scaled = weight * (1 << kBits);
    return static_cast<std::int32_t>(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
}

std::uint8_t level(std::int32_t sum) {
    std::int32_t value = sum >> kBits;
    return static_cast<std::uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value);
}

template <int channels>
void across_row(const Windows& w, const std::uint8_t* in, std::uint8_t* out) {
    for (int x = 0; x < w.outputs(); ++x) {
        const std::int32_t* weight = &w.weight[x * w.stride];
        const std::uint8_t* pixel = in + std::size_t(w.first[x]) * channels;
        std::int32_t sum[channels];
        for (int c = 0; c < channels; ++c) sum[c] = 1 << (kBits - 1);
        for (int k = 0; k < w.count[x]; ++k, pixel += channels)
            for (int c = 0; c < channels; ++c) sum[c] += weight[k] * pixel[c];
        for (int c = 0; c < channels; ++c) *out++ = level(sum[c]);
    }
}

}  // namespace

Windows windows(int in, int out, Filter filter) {
    double (*shape)(double) = filter == Filter::bilinear ? triangle : cubic;
    double scale = static_cast<double>(in) / out;
    double stretch = std::max(scale, 1.0);
    double support = (filter == Filter::bilinear ? 1.0 : 2.0) * stretch;

    Windows w;
    std::vector<double> centre(out);
    for (int i = 0; i < out; ++i) {
        centre[i] = (i + 0.5) * scale;
        int first = static_cast<int>(std::max(centre[i] - support + 0.5, 0.0));
        int end = static_cast<int>(std::min(centre[i] + support + 0.5, static_cast<double>(in)));
        w.first.push_back(first);
        w.count.push_back(end - first);
        w.taps = std::max(w.taps, end - first);
    }
    w.stride = (static_cast<std::size_t>(w.taps) + 7) / 8 * 8;
    w.weight.resize(w.stride * out);
    w.high.resize(w.stride * out);
    w.low.resize(w.stride * out);

    std::vector<double> part(w.taps);
    for (int i = 0; i < out; ++i) {
        double total = 0;
        for (int k = 0; k < w.count[i]; ++k) {
            part[k] = shape((k + w.first[i] - centre[i] + 0.5) * (1.0 / stretch));
            total += part[k];
        }
        for (int k = 0; k < w.count[i]; ++k) {
            std::int32_t weight = fixed(part[k] / total);
            std::size_t at = i * w.stride + k;
            w.weight[at] = weight;
            w.high[at] = static_cast<std::int16_t>(weight >> 11);
            w.low[at] = static_cast<std::int16_t>(weight & 2047);
        }
    }
    return w;
}

void across_scalar(const Windows& w, int channels, const std::uint8_t* const in[2], std::uint8_t* const out[2]) {
    for (int row = 0; row < 2; ++row) (channels == 1 ? across_row<1> : across_row<3>)(w, in[row], out[row]);
}

void down_scalar(const Windows& w, int output, const std::uint8_t* const* rows, std::size_t bytes, std::uint8_t* out) {
    const std::int32_t* weight = &w.weight[output * w.stride];
    constexpr std::size_t kBlock = 64;  // sums that stay in the nearest cache
    for (std::size_t begin = 0; begin < bytes; begin += kBlock) {
        std::size_t n = std::min(kBlock, bytes - begin);
        std::int32_t sum[kBlock];
        std::fill_n(sum, n, 1 << (kBits - 1));
        for (int k = 0; k < w.count[output]; ++k)
            for (std::size_t i = 0; i < n; ++i) sum[i] += weight[k] * rows[k][begin + i];
        for (std::size_t i = 0; i < n; ++i) out[begin + i] = level(sum[i]);
    }
}

}  // namespace hasten
