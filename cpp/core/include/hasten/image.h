// An image as its owner holds it: planes in memory, described and never copied.
#pragma once
#include <cstddef>
#include <cstdint>

namespace hasten {

enum class Format { rgb, bgr, grey, i420, nv12 };  // interleaved bytes, one byte, three planes, two planes
enum class Matrix { bt601, bt709 };                // of YUV formats
enum class Range { limited, full };                // of YUV formats: luma 16..235, or 0..255

// A view. Rows of a plane are `stride` bytes apart, which may be more than they hold. The planes of a YUV format:
// luma, then chroma of half the width and height, rounded up; I420 has U and V apart, NV12 has them interleaved.
struct Image {
    Format format = Format::rgb;
    int width = 0, height = 0;  // pixels
    const std::uint8_t* plane[3] = {nullptr, nullptr, nullptr};
    std::ptrdiff_t stride[3] = {0, 0, 0};  // bytes
};

}  // namespace hasten
