#include "colour.h"

#include <cstring>

namespace hasten {
namespace {

constexpr int kBits = 13;

std::uint8_t level(int sum) {
    int value = (sum + (1 << (kBits - 1))) >> kBits;
    return static_cast<std::uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value);
}

bool is_yuv(Format format) { return format == Format::i420 || format == Format::nv12; }

void swap_ends(const std::uint8_t* in, int pixels, std::uint8_t* out) {
    for (int x = 0; x < pixels; ++x, in += 3, out += 3) {
        out[0] = in[2];
        out[1] = in[1];
        out[2] = in[0];
    }
}

// The row of YUV planes that holds pixel `x` of row `y`, from `x` on, which is even.
YuvRow yuv_row(const Image& image, int x, int y) {
    YuvRow row;
    row.y = image.plane[0] + y * image.stride[0] + x;
    if (image.format == Format::nv12) {
        row.u = image.plane[1] + (y / 2) * image.stride[1] + x;
        row.v = row.u + 1;
        row.step = 2;
    } else {
        row.u = image.plane[1] + (y / 2) * image.stride[1] + x / 2;
        row.v = image.plane[2] + (y / 2) * image.stride[2] + x / 2;
        row.step = 1;
    }
    return row;
}

}  // namespace

const YuvScale& yuv_scale(Matrix matrix, Range range) {
    // The exact factors times 8192, to the nearest.
    static const YuvScale bt601_limited{16, 9539, 13075, -3209, -6660, 16525};
    static const YuvScale bt601_full{0, 8192, 11485, -2819, -5850, 14516};
    static const YuvScale bt709_limited{16, 9539, 14686, -1747, -4366, 17305};
    static const YuvScale bt709_full{0, 8192, 12901, -1535, -3835, 15201};
    if (matrix == Matrix::bt601) return range == Range::limited ? bt601_limited : bt601_full;
    return range == Range::limited ? bt709_limited : bt709_full;
}

void yuv_to_rgb_scalar(const YuvRow& row, const YuvScale& s, bool bgr, int pixels, std::uint8_t* out) {
    const int red = bgr ? 2 : 0, blue = 2 - red;
    for (int x = 0; x < pixels; ++x, out += 3) {
        const int y = s.y * (row.y[x] - s.y_zero);
        const int u = row.u[x / 2 * row.step] - 128, v = row.v[x / 2 * row.step] - 128;
        out[red] = level(y + s.red_v * v);
        out[1] = level(y + s.green_u * u + s.green_v * v);
        out[blue] = level(y + s.blue_u * u);
    }
}

void rgb_to_grey_scalar(const std::uint8_t* in, bool bgr, int pixels, std::uint8_t* out) {
    const int red = bgr ? 2 : 0, blue = 2 - red;
    for (int x = 0; x < pixels; ++x, in += 3)
        out[x] = static_cast<std::uint8_t>((in[red] * 19595 + in[1] * 38470 + in[blue] * 7471 + 32768) >> 16);
}

RowReader::RowReader(const Prepare& how, const Box& box, YuvToRgb to_rgb, RgbToGrey to_grey)
    : source_(how.source),
      box_(box),
      bgr_(how.colour == Colour::bgr),
      grey_(how.colour == Colour::grey),
      channels_(grey_ || how.source == Format::grey ? 1 : 3),
      scale_(yuv_scale(how.matrix, how.range)),
      to_rgb_(to_rgb),
      to_grey_(to_grey) {
    if (grey_ && is_yuv(source_)) rgb_.resize((std::size_t(box.width) + 1) * 3);
}

std::size_t RowReader::room() const { return (std::size_t(box_.width) + 1) * channels_; }

const std::uint8_t* RowReader::read(const Image& image, int y, std::uint8_t* row) {
    y += box_.top;
    if (is_yuv(source_)) {
        const int odd = box_.left % 2;  // one pixel more, as chroma begins at even ones
        const int pixels = box_.width + odd;
        std::uint8_t* rgb = grey_ ? rgb_.data() : row;
        to_rgb_(yuv_row(image, box_.left - odd, y), scale_, bgr_, pixels, rgb);
        if (grey_) to_grey_(rgb, bgr_, pixels, row);
        return row + odd * channels_;
    }
    const std::size_t in_channels = source_ == Format::grey ? 1 : 3;
    const std::uint8_t* in = image.plane[0] + y * image.stride[0] + box_.left * in_channels;
    const bool in_bgr = source_ == Format::bgr;
    if (source_ == Format::grey || (!grey_ && in_bgr == bgr_))
        std::memcpy(row, in, box_.width * in_channels);
    else if (grey_)
        to_grey_(in, in_bgr, box_.width, row);
    else
        swap_ends(in, box_.width, row);
    return row;
}

}  // namespace hasten
