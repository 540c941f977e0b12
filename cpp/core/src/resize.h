// Resizing: for each output pixel a window of weighted input pixels, first across each row, then down. spec/pixels.md
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "hasten/prepare.h"

namespace hasten {

// The windows of one axis. A weight has 22 bits after the point: 1 << 22 is one.
struct Windows {
    int taps = 0;                      // of the longest window
    std::size_t stride = 0;            // weights kept for each window, a multiple of 8; zeros after its own
    std::vector<int> first, count;     // input pixels
    std::vector<std::int32_t> weight;  // [outputs, stride]
    // The same weights for 16-bit multiplication: weight = high * 2048 + low, low 0..2047.
    std::vector<std::int16_t> high, low;

    int outputs() const { return static_cast<int>(first.size()); }
};
Windows windows(int in, int out, Filter filter);

// How many bytes a pass may read after the end of a row, whatever stands there.
inline std::size_t slack(const Windows& across, int channels) { return across.stride * channels + 32; }

// A pass in one kind of instructions. All kinds give the same bytes.
//   across  two rows of `channels` interleaved (1 or 3); may write 1 byte after the end of a row
//   down    one row of `bytes` out of `rows`, the window's own and one more where their number is odd; the vector kind
//           reads up to 15 bytes after the end of a row
using Across = void (*)(const Windows&, int channels, const std::uint8_t* const in[2], std::uint8_t* const out[2]);
using Down = void (*)(const Windows&, int output, const std::uint8_t* const* rows, std::size_t bytes,
                      std::uint8_t* out);

void across_scalar(const Windows&, int channels, const std::uint8_t* const in[2], std::uint8_t* const out[2]);
void down_scalar(const Windows&, int output, const std::uint8_t* const* rows, std::size_t bytes, std::uint8_t* out);
void across_avx2(const Windows&, int channels, const std::uint8_t* const in[2], std::uint8_t* const out[2]);
void down_avx2(const Windows&, int output, const std::uint8_t* const* rows, std::size_t bytes, std::uint8_t* out);

}  // namespace hasten
