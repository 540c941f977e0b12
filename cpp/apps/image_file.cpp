#include "image_file.h"

#include <algorithm>
#include <cstring>
#include <fstream>

namespace hasten {
namespace {

constexpr std::uint8_t jpeg[] = {0xFF, 0xD8, 0xFF};
constexpr std::uint8_t png[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};
constexpr std::size_t most_side = 65536;

template <std::size_t n> bool begins(const std::vector<std::uint8_t>& bytes, const std::uint8_t (&with)[n]) {
    return bytes.size() >= n && std::memcmp(bytes.data(), with, n) == 0;
}

std::vector<std::uint8_t> content(const std::string& path, std::size_t most) {
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    if (!file) throw Error(Error::input, path + " cannot be read", "give an image file");
    auto size = std::min(static_cast<std::size_t>(std::max<std::streamoff>(file.tellg(), 0)), most);
    std::vector<std::uint8_t> bytes(size);
    file.seekg(0);
    if (size && !file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(size)))
        throw Error(Error::input, path + " cannot be read", "give an image file");
    return bytes;
}

// Where the stored pixel lies that is seen at (row, column).
std::size_t stored_at(const Pixels& p, std::size_t row, std::size_t column) {
    bool turned = p.orientation >= 5;
    std::size_t high = turned ? p.width : p.height, wide = turned ? p.height : p.width;
    if (p.orientation == 3 || p.orientation == 4 || p.orientation == 7 || p.orientation == 8) row = high - 1 - row;
    if (p.orientation == 2 || p.orientation == 3 || p.orientation == 6 || p.orientation == 7) column = wide - 1 - column;
    return (turned ? column * p.width + row : row * p.width + column) * p.channels;
}

}  // namespace

Error damaged(const std::string& path, const std::string& why) {
    return Error(Error::input, path + " is a damaged image (" + why + ")", "give the file again, whole");
}

void Pixels::resize(const std::string& path, std::size_t wide, std::size_t high, std::size_t depth) {
    if (std::max(wide, high) > most_side || wide * high > kMostPixels)
        throw Error(Error::input, path + " has " + std::to_string(wide) + "x" + std::to_string(high) + " pixels",
                    "at most " + std::to_string(kMostPixels) + " are read: give it smaller");
    width = wide, height = high, channels = depth;
    values.resize(wide * high * depth);
}

bool is_image_file(const std::string& path) {
    std::vector<std::uint8_t> bytes = content(path, sizeof png);
    return begins(bytes, jpeg) || begins(bytes, png);
}

Array read_image(const std::string& path, Format source) {
    if (source == Format::i420 || source == Format::nv12)
        throw Error(Error::input,
                    path + " is an image file, and " + (source == Format::i420 ? "I420" : "NV12") + " comes from video",
                    "give an array");
    std::vector<std::uint8_t> bytes = content(path, static_cast<std::size_t>(-1));
    if (!begins(bytes, jpeg) && !begins(bytes, png))
        throw Error(Error::input, path + " is neither a JPEG nor a PNG", "give such a file, or an array");
    Pixels p = begins(bytes, jpeg) ? decode_jpeg(path, bytes) : decode_png(path, bytes);
    bool turned = p.orientation >= 5, grey = source == Format::grey;
    std::size_t high = turned ? p.width : p.height, wide = turned ? p.height : p.width;
    Array array(Type::uint8, grey ? Shape{1, high, wide} : Shape{1, high, wide, 3});
    auto* to = static_cast<std::uint8_t*>(array.data());
    for (std::size_t row = 0; row < high; ++row) {
        for (std::size_t column = 0; column < wide; ++column) {
            const std::uint8_t* from = p.values.data() + stored_at(p, row, column);
            const std::uint8_t r = from[0], g = p.channels == 3 ? from[1] : r, b = p.channels == 3 ? from[2] : r;
            if (grey) {
                *to++ = p.channels == 3 ? static_cast<std::uint8_t>((19595 * r + 38470 * g + 7471 * b + 32768) >> 16) : r;
            } else {
                *to++ = source == Format::rgb ? r : b;
                *to++ = g;
                *to++ = source == Format::rgb ? b : r;
            }
        }
    }
    return array;
}

}  // namespace hasten
