// The instructions that this processor has and the caller wants.
#pragma once
#include "colour.h"
#include "resize.h"

namespace hasten {

struct Kernels {
    Across across;
    Down down;
    YuvToRgb yuv_to_rgb;
    RgbToGrey rgb_to_grey;
};
const Kernels& kernels();

}  // namespace hasten
