// Image files to pixels: JPEG by libjpeg-turbo, PNG by libpng. spec/images.md
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "hasten/hasten.h"

namespace hasten {

constexpr std::size_t kMostPixels = std::size_t(1) << 26;

// As they are stored: [height, width, channels], 1 channel or 3.
struct Pixels {
    std::size_t height = 0, width = 0, channels = 0;
    int orientation = 1;  // of Exif
    std::vector<std::uint8_t> values;

    // Throws Error (input) where there are too many; then `values` has room for them.
    void resize(const std::string& path, std::size_t wide, std::size_t high, std::size_t depth);
};

// Whether the bytes begin as one that can be read.
bool is_image_file(const std::string& path);

// [1, H, W, 3] of RGB or BGR, [1, H, W] of grey. Throws Error: neither JPEG nor PNG, damaged, too large, or missing for
// what this build was made without.
Array read_image(const std::string& path, Format source);

// The decoders, of a whole file in memory.
Pixels decode_jpeg(const std::string& path, const std::vector<std::uint8_t>& bytes);
Pixels decode_png(const std::string& path, const std::vector<std::uint8_t>& bytes);
Error damaged(const std::string& path, const std::string& why);

}  // namespace hasten
