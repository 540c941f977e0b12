// From an image to the tensor that the network takes: crop, colour, resize, normalise, layout. spec/pixels.md
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "hasten/image.h"

namespace hasten {

enum class Colour { rgb, bgr, grey };                // what the network was trained on
enum class Fit { stretch, letterbox, centre_crop };  // an aspect ratio that is not the network's
enum class Filter { bilinear, bicubic };
enum class Layout { nchw, nhwc };
enum class Dtype { float32, uint8 };

constexpr int kMaxSide = 65536;  // pixels, of an image and of a tensor

struct Box {
    int top = 0, left = 0, height = 0, width = 0;  // pixels
};
struct Size {
    int height = 0, width = 0;  // pixels
};

// The fields of a bundle's `prepare`, and of hasten.Prepare.
struct Prepare {
    Format source = Format::rgb;  // what is handed over
    Matrix matrix = Matrix::bt601;
    Range range = Range::limited;
    Colour colour = Colour::rgb;
    std::optional<Box> crop;   // of the source, before everything else
    std::optional<Size> size;  // none: the source's own
    Fit fit = Fit::stretch;
    Filter filter = Filter::bilinear;
    std::uint8_t fill = 0;  // grey level of a letterbox's bars
    std::vector<float> mean{0.0f}, std{1.0f};  // one, or one a channel of `colour`; in grey levels 0..255
    Layout layout = Layout::nchw;
    Dtype dtype = Dtype::float32;  // uint8 takes no mean and no std
};

// Whether Preparers made from now on use the processor's vector instructions, where it has them. They are on from the
// start; the tests turn them off, as the bytes have to be the same. Returns whether they are on now.
bool vectorised(bool wanted);

// Prepares images of one size. Everything that depends on the size is computed once; `run` allocates nothing.
// One thread at a time.
class Preparer {
public:
    // Throws std::invalid_argument, with a sentence, for a Prepare that means nothing or a crop outside the image.
    Preparer(const Prepare& how, int width, int height);
    ~Preparer();
    Preparer(Preparer&&) noexcept;
    Preparer& operator=(Preparer&&) noexcept;

    std::array<int, 3> shape() const;  // of the tensor, without the batch: C, H, W or H, W, C
    std::size_t bytes() const;         // of the tensor

    // Throws std::invalid_argument where `image` has another format or size than was announced, or a plane is missing.
    void run(const Image& image, void* tensor);

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace hasten
