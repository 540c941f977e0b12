// The golden cases of spec/golden-pixels, scalar and vectorised; what is refused; and that `run` allocates nothing.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <new>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "allocations.h"
#include "hasten/prepare.h"

namespace {

using namespace hasten;

int failures = 0;

void expect(bool right, const std::string& what) {
    if (right) return;
    if (++failures > 20) return;  // enough to see why
    std::fprintf(stderr, "wrong: %s\n", what.c_str());
}

// ---- a case: its settings, its image, its answer

using Settings = std::map<std::string, std::string>;

Settings settings_of(const std::string& line) {
    Settings all;
    std::istringstream words(line);
    for (std::string word; words >> word;) all[word.substr(0, word.find('='))] = word.substr(word.find('=') + 1);
    return all;
}

template <class T>
T chosen(const Settings& all, const char* key, const std::map<std::string, T>& names) {
    return names.at(all.at(key));
}

std::vector<float> numbers(const std::string& text) {
    std::vector<float> all;
    std::istringstream parts(text);
    for (std::string part; std::getline(parts, part, ',');) all.push_back(static_cast<float>(std::stod(part)));
    return all;
}

std::vector<int> integers(const std::string& text) {
    std::vector<float> all = numbers(text);
    return std::vector<int>(all.begin(), all.end());
}

Prepare prepare_of(const Settings& all) {
    Prepare how;
    how.source = chosen<Format>(all, "source", {{"rgb", Format::rgb}, {"bgr", Format::bgr}, {"grey", Format::grey},
                                                {"i420", Format::i420}, {"nv12", Format::nv12}});
    how.matrix = chosen<Matrix>(all, "matrix", {{"bt601", Matrix::bt601}, {"bt709", Matrix::bt709}});
    how.range = chosen<Range>(all, "range", {{"limited", Range::limited}, {"full", Range::full}});
    how.colour = chosen<Colour>(all, "colour", {{"rgb", Colour::rgb}, {"bgr", Colour::bgr}, {"grey", Colour::grey}});
    how.fit = chosen<Fit>(all, "fit", {{"stretch", Fit::stretch}, {"letterbox", Fit::letterbox},
                                       {"centre_crop", Fit::centre_crop}});
    how.filter = chosen<Filter>(all, "filter", {{"bilinear", Filter::bilinear}, {"bicubic", Filter::bicubic}});
    how.layout = chosen<Layout>(all, "layout", {{"nchw", Layout::nchw}, {"nhwc", Layout::nhwc}});
    how.dtype = chosen<Dtype>(all, "dtype", {{"float32", Dtype::float32}, {"uint8", Dtype::uint8}});
    how.fill = static_cast<std::uint8_t>(std::stoi(all.at("fill")));
    how.mean = numbers(all.at("mean"));
    how.std = numbers(all.at("std"));
    if (all.count("crop")) {
        auto box = integers(all.at("crop"));
        how.crop = Box{box[0], box[1], box[2], box[3]};
    }
    if (all.count("size")) {
        auto size = integers(all.at("size"));
        how.size = Size{size[0], size[1]};
    }
    return how;
}

// The computed image of tests/native/golden_pixels.py. Each plane has memory of its own, to its last byte and no
// further, so that AddressSanitizer sees a step beyond it; rows have `gap` bytes between them.
struct Picture {
    Picture(Format format, int width, int height, int gap) {
        const int half_w = (width + 1) / 2, half_h = (height + 1) / 2;
        image.format = format;
        image.width = width;
        image.height = height;
        add(format == Format::rgb || format == Format::bgr ? 3 * width : width, height, gap);
        if (format == Format::nv12) add(2 * half_w, half_h, gap);
        if (format == Format::i420) {
            add(half_w, half_h, gap);
            add(half_w, half_h, gap);
        }
    }

    void add(int row, int rows, int gap) {
        const int stride = row + gap, index = static_cast<int>(planes.size());
        planes.emplace_back(std::size_t(stride) * rows - gap, std::uint8_t{0xA5});
        for (int y = 0; y < rows; ++y)
            for (int x = 0; x < row; ++x) planes.back()[std::size_t(y) * stride + x] = next();
        image.plane[index] = planes.back().data();
        image.stride[index] = stride;
    }

    std::uint8_t next() {
        std::uint32_t mixed = count++ * 2654435761u;
        mixed = (mixed ^ (mixed >> 15)) * 2246822519u;
        return static_cast<std::uint8_t>(mixed >> 24);
    }

    Image image;
    std::vector<std::vector<std::uint8_t>> planes;
    std::uint32_t count = 0;
};

std::uint32_t crc32(const std::vector<std::uint8_t>& bytes) {
    std::uint32_t crc = 0xFFFFFFFFu;
    for (std::uint8_t byte : bytes) {
        crc ^= byte;
        for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0xEDB88320u : 0u);
    }
    return ~crc;
}

void golden(const std::string& line, int number) {
    const Settings all = settings_of(line);
    const Prepare how = prepare_of(all);
    const int width = std::stoi(all.at("width")), height = std::stoi(all.at("height"));
    const auto wanted = static_cast<std::uint32_t>(std::stoul(all.at("crc"), nullptr, 16));
    Picture picture(how.source, width, height, number % 3);
    for (bool wish : {false, true}) {
        vectorised(wish);
        Preparer preparer(how, width, height);
        std::vector<std::uint8_t> tensor(preparer.bytes());
        for (int twice = 0; twice < 2; ++twice) {
            const std::size_t before = allocations;
            preparer.run(picture.image, tensor.data());
            const std::size_t after = allocations;
            expect(after == before, "run allocates: " + line);
            expect(crc32(tensor) == wanted, (wish ? "vectorised: " : "scalar: ") + line);
        }
    }
}

// ---- what is refused

void refused(const std::function<void()>& action, const std::string& sentence) {
    try {
        action();
        expect(false, "not refused: " + sentence);
    } catch (const std::invalid_argument& fault) {
        expect(fault.what() == sentence, std::string(fault.what()) + ", expected: " + sentence);
    }
}

void refusals() {
    Picture good(Format::nv12, 8, 6, 0);
    Prepare how;
    how.source = Format::nv12;
    Preparer preparer(how, 8, 6);
    std::vector<std::uint8_t> tensor(preparer.bytes());
    auto run = [&](Image image) { return [&preparer, &tensor, image] { preparer.run(image, tensor.data()); }; };
    Image other = good.image;
    other.format = Format::rgb;
    refused(run(other), "the image is in another format than was announced");
    other = good.image;
    other.width = 7;
    refused(run(other), "the image is 7x6 pixels, announced were 8x6");
    other = good.image;
    other.plane[1] = nullptr;
    refused(run(other), "plane 1 of the image is missing");
    other = good.image;
    other.stride[1] = 7;
    refused(run(other), "rows of plane 1 are 7 bytes apart, but hold 8");
    how.crop = Box{0, 1, 6, 8};
    refused([&] { Preparer(how, 8, 6); }, "the crop of 8x6 pixels at left 1, top 0 is not within the image of 8x6");
    how.crop.reset();
    refused([&] { Preparer(how, 0, 6); }, "the image is 0x6 pixels; each side has to be 1..65536");
}

}  // namespace

int main(int count, char** words) {
    if (count != 2) return std::fprintf(stderr, "usage: test_pixels SPEC\n"), 2;
    std::ifstream file(std::string(words[1]) + "/golden-pixels/cases.txt");
    int cases = 0;
    for (std::string line; std::getline(file, line); ++cases) golden(line, cases);
    expect(cases >= 100, "golden cases are missing");
    refusals();
    std::printf("pixels: %d golden cases, %d failures\n", cases, failures);
    return failures ? 1 : 0;
}
