// One row of an image in any format -> a row of interleaved RGB or BGR, or of grey. spec/pixels.md
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "hasten/prepare.h"

namespace hasten {

// From YUV to RGB with 13 bits after the point, of Y - y_zero, U - 128 and V - 128.
struct YuvScale {
    int y_zero, y, red_v, green_u, green_v, blue_u;
};
const YuvScale& yuv_scale(Matrix matrix, Range range);

// A row of YUV from an even pixel on. Two neighbours share a chroma sample; samples are `step` bytes apart.
struct YuvRow {
    const std::uint8_t *y, *u, *v;
    int step;
};

// The same bytes in each kind of instructions. Three channels are R, G, B, or B, G, R where `bgr` says so.
using YuvToRgb = void (*)(const YuvRow&, const YuvScale&, bool bgr, int pixels, std::uint8_t* out);
using RgbToGrey = void (*)(const std::uint8_t* in, bool bgr, int pixels, std::uint8_t* out);

void yuv_to_rgb_scalar(const YuvRow&, const YuvScale&, bool bgr, int pixels, std::uint8_t* out);
void rgb_to_grey_scalar(const std::uint8_t* in, bool bgr, int pixels, std::uint8_t* out);
void yuv_to_rgb_avx2(const YuvRow&, const YuvScale&, bool bgr, int pixels, std::uint8_t* out);
void rgb_to_grey_avx2(const std::uint8_t* in, bool bgr, int pixels, std::uint8_t* out);

// Reads rows of one box of images. Grey in stays one channel, whatever is wanted: its channels are all the same.
class RowReader {
public:
    RowReader(const Prepare& how, const Box& box, YuvToRgb to_rgb, RgbToGrey to_grey);
    int channels() const { return channels_; }
    // Bytes that `read` may write.
    std::size_t room() const;
    // Row `y` of the box into `row`; returns where it begins.
    const std::uint8_t* read(const Image& image, int y, std::uint8_t* row);

private:
    Format source_;
    Box box_;
    bool bgr_ = false, grey_;  // what is wanted
    int channels_;
    const YuvScale& scale_;
    YuvToRgb to_rgb_;
    RgbToGrey to_grey_;
    std::vector<std::uint8_t> rgb_;  // a row on its way from YUV to grey
};

}  // namespace hasten
