#include "prepare_plan.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

namespace hasten {
namespace {

[[noreturn]] void refuse(const std::string& sentence) { throw std::invalid_argument(sentence); }

std::string shown(std::int64_t width, std::int64_t height) {
    return std::to_string(width) + "x" + std::to_string(height);
}

void check_side(const char* what, int width, int height) {
    if (width < 1 || height < 1 || width > kMaxSide || height > kMaxSide)
        refuse(std::string(what) + " is " + shown(width, height) + " pixels; each side has to be 1.." +
               std::to_string(kMaxSide));
}

void check_values(const char* what, const std::vector<float>& values, std::size_t channels, bool positive) {
    if (values.size() != 1 && values.size() != channels)
        refuse(std::string(what) + " has " + std::to_string(values.size()) +
               " values; give one, or one for each of the " + std::to_string(channels) + " channels");
    for (float value : values)
        if (!std::isfinite(value) || (positive && value <= 0))
            refuse(std::string(what) + " has the value " + std::to_string(value) + ", which is not a " +
                   (positive ? "finite number above 0" : "finite number"));
}

void check_normalise(const Prepare& how, int channels) {
    check_values("mean", how.mean, channels, false);
    check_values("std", how.std, channels, true);
    auto is = [](float wanted) { return [wanted](float value) { return value == wanted; }; };
    if (how.dtype == Dtype::uint8 && !(std::all_of(how.mean.begin(), how.mean.end(), is(0)) &&
                                       std::all_of(how.std.begin(), how.std.end(), is(1))))
        refuse("a uint8 tensor takes no mean and no std; leave them out, or make it float32");
}

void check_crop(const Box& crop, int width, int height) {
    auto reaches = [](int from, int length, int end) { return from < 0 || length < 1 || from > end - length; };
    if (reaches(crop.left, crop.width, width) || reaches(crop.top, crop.height, height))
        refuse("the crop of " + shown(crop.width, crop.height) + " pixels at left " + std::to_string(crop.left) +
               ", top " + std::to_string(crop.top) + " is not within the image of " + shown(width, height));
}

// a * b / c to the nearest, half up, and at least 1.
int share(std::int64_t a, std::int64_t b, std::int64_t c) {
    return static_cast<int>(std::max<std::int64_t>(1, (2 * a * b + c) / (2 * c)));
}

// The largest centred part of `box` with the aspect ratio of `canvas`.
Box centred(const Box& box, const Size& canvas) {
    Box part = box;
    if (std::int64_t{box.width} * canvas.height > std::int64_t{box.height} * canvas.width)
        part.width = share(box.height, canvas.width, canvas.height);
    else
        part.height = share(box.width, canvas.height, canvas.width);
    part.left += (box.width - part.width) / 2;
    part.top += (box.height - part.height) / 2;
    return part;
}

// The largest size with the aspect ratio of `box` that fits into `canvas`.
Size fitted(const Box& box, const Size& canvas) {
    if (std::int64_t{box.width} * canvas.height > std::int64_t{box.height} * canvas.width)
        return {share(canvas.width, box.height, box.width), canvas.width};
    return {canvas.height, share(canvas.height, box.width, box.height)};
}

}  // namespace

Plan plan(const Prepare& how, int width, int height) {
    check_side("the image", width, height);
    Plan plan;
    plan.channels = how.colour == Colour::grey ? 1 : 3;
    check_normalise(how, plan.channels);
    if (how.crop) check_crop(*how.crop, width, height);
    if (how.size) check_side("size", how.size->width, how.size->height);

    plan.source = how.crop.value_or(Box{0, 0, height, width});
    plan.canvas = how.size.value_or(Size{plan.source.height, plan.source.width});
    plan.scaled = plan.canvas;
    if (how.fit == Fit::centre_crop) plan.source = centred(plan.source, plan.canvas);
    if (how.fit == Fit::letterbox) plan.scaled = fitted(plan.source, plan.canvas);
    plan.top = (plan.canvas.height - plan.scaled.height) / 2;
    plan.left = (plan.canvas.width - plan.scaled.width) / 2;
    return plan;
}

}  // namespace hasten
