// Images go through the pipeline of the bundle: the tensor is what the core's Preparer makes of them.
#include <cstring>

#include "check.h"
#include "forged.h"
#include "hasten/prepare.h"

using namespace forged;

namespace {

// A bundle of images of any size -> [N, 3, 4, 4].
void take_images(Json& data) {
    Json signature{{"inputs", {tensor("x", {"N", 3, 4, 4})}}, {"outputs", {tensor("y", {"N", 4})}}};
    data["signature"] = data["stages"][0]["signature"] = signature;
    data["pipeline"]["inputs"]["x"] = {
        {"kind", "image"}, {"source", "RGB"}, {"matrix", "bt601"}, {"range", "limited"}, {"colour", "RGB"},
        {"crop", nullptr}, {"size", {4, 4}}, {"fit", "stretch"}, {"filter", "bilinear"}, {"fill", 0},
        {"mean", {1., 2, 3}}, {"std", {2.}}, {"layout", "NCHW"}, {"dtype", "float32"}};
}

}  // namespace

int main() {
    Place place;
    Bundle bundle = forged::load(make(place, take_images), false);
    Runner runner(bundle);
    Array bytes(Type::uint8, {2, 9, 7, 3});
    for (std::size_t i = 0; i < bytes.bytes(); ++i)
        static_cast<std::uint8_t*>(bytes.data())[i] = static_cast<std::uint8_t>(i * 37);

    Prepare how;
    how.size = Size{4, 4};
    how.mean = {1, 2, 3}, how.std = {2};
    Preparer preparer(how, 7, 9);
    std::vector<float> wanted(2 * 48);
    for (std::size_t n = 0; n < 2; ++n) {
        Image image{Format::rgb, 7, 9, {bytes.as<std::uint8_t>() + n * 189, nullptr, nullptr}, {21, 0, 0}};
        preparer.run(image, wanted.data() + n * 48);
    }
    auto is_wanted = [&](const Frame& frame) {
        std::vector<Array> got = runner.prepare(frame);
        return got.size() == 1 && got[0].shape() == Shape{2, 3, 4, 4} &&
               std::memcmp(got[0].data(), wanted.data(), got[0].bytes()) == 0;
    };
    std::vector<std::pair<std::string, Array>> raw;
    raw.emplace_back("x", bytes);
    check(is_wanted(bundle.frame(raw)), "an array [N, height, width, 3]");
    Frame two;
    for (std::size_t n = 0; n < 2; ++n)
        two.add("x", Image{Format::rgb, 7, 9, {bytes.as<std::uint8_t>() + n * 189, nullptr, nullptr}, {21, 0, 0}});
    check(is_wanted(two), "images");
    check(runner.run(two).samples == 2, "through the whole");

    Array flat(Type::float32, {1, 3, 4, 4});
    same(refusal([&] { runner.run(Frame(flat.view())); }), "'x' was given as an array; this model takes it as images");
    raw[0].second = flat;
    same(refusal([&] { bundle.frame(raw); }),
         "a raw image is float32 [1, 3, 4, 4]; RGB images are uint8 [N, H, W, 3]");
    Image torn{Format::rgb, 7, 9, {nullptr, nullptr, nullptr}, {21, 0, 0}};
    check(!refusal([&] { runner.run(Frame(torn)); }).empty(), "an image without pixels");
    return verdict("images");
}
