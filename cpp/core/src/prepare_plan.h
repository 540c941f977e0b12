// Where the pixels go: which box of the source is resized to what, and where it stands in the tensor.
#pragma once
#include "hasten/prepare.h"

namespace hasten {

struct Plan {
    Box source;         // of the image
    Size scaled;        // what the box is resized to
    Size canvas;        // of the tensor
    int top = 0, left = 0;  // of the scaled box in the canvas; bars around it
    int channels = 3;       // of the tensor
};

// Throws std::invalid_argument, with a sentence, where `how` means nothing for images of this size.
Plan plan(const Prepare& how, int width, int height);

}  // namespace hasten
