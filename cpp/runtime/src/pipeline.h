// What happens around the network: raw input to tensor, and outputs to a decision.
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hasten/answers.h"
#include "hasten/hasten.h"
#include "hasten/prepare.h"
#include "json.h"

namespace hasten {

struct Pipeline {
    std::map<std::string, Prepare> images;  // by input; one that is not named is an array
    std::size_t frames = 0;                 // of a time window; 0 where there is none
    Answer::Kind kind = Answer::Kind::tensor;
    TopK best;
    double iou = 0.5, on = 0.5, off = 0.5, refractory_s = 0;
    double seconds = 0, fps = 0, stride_s = 0, max_gap_s = 0;  // of the window
    bool repeat = false;                                       // its padding; else it waits
    std::vector<std::string> labels;

    // Of a bundle that has passed the schema; throws Error for what is not there or cannot be honoured.
    static Pipeline of(const Json& data, const Signature& signature);
};

Activation activation_of(const std::string& name);

// One input's raw images to its tensor, for images of the size that came last.
class Preparation {
public:
    explicit Preparation(const Prepare& how) : how_(how) {}
    void run(const std::vector<Image>& images, Array& tensor);  // throws Error

private:
    Prepare how_;
    int width_ = -1, height_ = -1;
    std::optional<Preparer> preparer_;
};

// The images that an array of bytes holds, as a pipeline's source wants them: [N, ...], or [N, frames, ...] where a window
// has frames. They point into it.
void images_of(const View& array, Format source, std::size_t frames, std::vector<Image>& images);

// Decides from the outputs that `answer` has; `row` and its like keep their memory from call to call.
class Decision {
public:
    void run(const Pipeline& pipeline, Answer& answer);

private:
    void boxes(const Pipeline& pipeline, Answer& answer);
    void row(const Array& array, std::size_t number, std::size_t classes);

    std::vector<double> row_, scores_;
    std::vector<Detection> found_;
    std::vector<int> kept_;
};

double as_double(const Array& array, std::size_t at);  // any type

}  // namespace hasten
