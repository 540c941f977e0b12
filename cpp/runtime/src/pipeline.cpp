#include "pipeline.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "signature.h"

namespace hasten {
namespace {

constexpr std::size_t most_bytes = 256 << 20;  // of one prepared image
constexpr std::size_t most_side = 1 << 20;    // pixels
constexpr int most_frames = 1000000;           // of a window
constexpr const char* newer = "use arrays that are already prepared, or a newer version";

// A word of the bundle in lower case and without dots: BT.601 is bt601.
std::string plain(const Json& data, const char* key, const char* usual) {
    std::string word;
    for (char c : data.value(key, std::string(usual)))
        if (c != '.') word += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    return word;
}

template <class T> T one_of(const std::string& word, std::initializer_list<std::pair<const char*, T>> meanings) {
    for (const auto& [name, meaning] : meanings)
        if (word == name) return meaning;
    throw Error(Error::missing, "this version of hasten does not know " + repr(word) + " in the pipeline", newer);
}

Prepare prepare_of(const Json& data) {
    Prepare made;
    std::string colour = plain(data, "colour", "rgb");
    made.source = one_of<Format>(plain(data, "source", "rgb"), {{"rgb", Format::rgb}, {"bgr", Format::bgr},
                                 {"grey", Format::grey}, {"i420", Format::i420}, {"nv12", Format::nv12}});
    made.matrix = one_of<Matrix>(plain(data, "matrix", "bt601"), {{"bt601", Matrix::bt601}, {"bt709", Matrix::bt709}});
    made.range = one_of<Range>(plain(data, "range", "limited"), {{"limited", Range::limited}, {"full", Range::full}});
    made.colour = one_of<Colour>(colour, {{"rgb", Colour::rgb}, {"bgr", Colour::bgr}, {"grey", Colour::grey}});
    made.fit = one_of<Fit>(data["fit"], {{"stretch", Fit::stretch}, {"letterbox", Fit::letterbox},
                                         {"centre_crop", Fit::centre_crop}});
    made.filter = one_of<Filter>(data["filter"], {{"bilinear", Filter::bilinear}, {"bicubic", Filter::bicubic}});
    made.layout = data["layout"] == "NCHW" ? Layout::nchw : Layout::nhwc;
    made.dtype = data["dtype"] == "uint8" ? Dtype::uint8 : Dtype::float32;
    made.fill = data["fill"].get<std::uint8_t>();
    made.mean = data["mean"].get<std::vector<float>>();
    made.std = data["std"].get<std::vector<float>>();
    if (const Json& size = data["size"]; size.is_array()) made.size = Size{size[0].get<int>(), size[1].get<int>()};
    if (auto crop = data.find("crop"); crop != data.end() && crop->is_array())
        made.crop = Box{crop->at(0).get<int>(), crop->at(1).get<int>(), crop->at(2).get<int>(), crop->at(3).get<int>()};
    return made;
}

std::string joined(const std::vector<std::string>& names) {
    std::string text;
    for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
    return text;
}

std::string joined(const std::vector<Tensor>& tensors) {
    std::vector<std::string> words;
    for (const Tensor& t : tensors) words.push_back(shown(t));
    return joined(words);
}

void check_inputs(const Json& prepare, const Signature& signature, bool window) {
    std::vector<std::string> names;
    for (const Tensor& t : signature.inputs) names.push_back(repr(t.name));
    for (const auto& [name, how] : prepare.get_ref<const Json::object_t&>()) {
        auto input = std::find_if(signature.inputs.begin(), signature.inputs.end(),
                                  [&n = name](const Tensor& t) { return t.name == n; });
        if (input == signature.inputs.end())
            throw Error(Error::input, "the pipeline prepares " + repr(name),
                        "the network's inputs are [" + joined(names) + "]");
        if (how["kind"] == "image" && input->shape.size() != (window ? 5 : 4))
            throw Error(Error::input, "the pipeline prepares images, and the input is " + shown(*input),
                        "images are [N, C, H, W], with a time window [N, frames, C, H, W]");
    }
}

// The frames of a window, of which some input has as many.
std::size_t frames_of(const Json& window, const Signature& signature) {
    double frames = std::floor(window["seconds"].get<double>() * window["fps"].get<double>() + 0.5);
    std::string count = shown(frames, 17);
    if (!(frames >= 1 && frames <= most_frames))
        throw Error(Error::input, "the window has " + count + " frames",
                    "it has from 1 to " + std::to_string(most_frames));
    auto has_time = [&](const Tensor& t) {
        std::size_t length = t.shape.size() > 1 ? t.shape[1].length : 1;
        return t.shape.size() > 1 && (!length || length == static_cast<std::size_t>(frames));
    };
    if (std::none_of(signature.inputs.begin(), signature.inputs.end(), has_time))
        throw Error(Error::input, "the window has " + count + " frames, and the inputs are " + joined(signature.inputs),
                    "an input with a time axis is [N, frames, ...]");
    return static_cast<std::size_t>(frames);
}

bool is_same(const Axis& a, const Axis& b) { return a.length == b.length && a.name == b.name; }

bool are_boxes(const std::vector<Tensor>& outputs) {
    if (outputs.size() < 2) return false;
    const auto &scores = outputs[0].shape, &boxes = outputs[1].shape;
    return scores.size() == 3 && boxes.size() == 3 && is_same(scores[0], boxes[0]) && is_same(scores[1], boxes[1]) &&
           boxes[2].length == 4;
}

void check_answer(const Json& answer, const std::vector<Tensor>& outputs) {
    std::string kind = answer["kind"];
    const Tensor& first = outputs[0];
    std::size_t labels = answer["labels"].size();
    if (kind == "tensor") return;
    if (first.shape.size() < 2)
        throw Error(Error::input, "the pipeline answers with " + kind + ", but the first output is " + shown(first),
                    "scores [N, ..., classes] have to come first");
    if (labels && first.shape.back().length != labels)
        throw Error(Error::input,
                    "the pipeline has " + std::to_string(labels) + " labels, and the first output is " + shown(first),
                    "give one label for each class");
    if (kind == "boxes" && !are_boxes(outputs))
        throw Error(Error::input, "the pipeline answers with boxes, but the outputs are " + joined(outputs),
                    "scores [N, boxes, classes] have to come first, then boxes [N, boxes, 4]");
    double on = answer["on"].get<double>(), off = answer["off"].get<double>();
    if (kind == "events" && off > on)
        throw Error(Error::input, "an event begins at " + shown(on, 6) + " and ends below " + shown(off, 6),
                    "let `off` be at most `on`");
}

float half(std::uint16_t bits) {
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    float size = exponent == 31  ? (fraction ? NAN : INFINITY)
                 : exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                                 : std::ldexp(static_cast<float>(fraction + 1024), exponent - 25);
    return bits >> 15 ? -size : size;
}

double ranked(double value) { return std::isnan(value) ? -INFINITY : value; }

template <class T> T value(const Array& array, std::size_t at) { return array.as<T>()[at]; }

}  // namespace

Activation activation_of(const std::string& name) {
    return name == "softmax" ? Activation::softmax : name == "sigmoid" ? Activation::sigmoid : Activation::none;
}

Pipeline Pipeline::of(const Json& data, const Signature& signature) {
    using Kind = Answer::Kind;
    const Json &answer = data["answer"], &window = data["window"];
    Pipeline made;
    check_inputs(data["inputs"], signature, window.is_object());
    if (window.is_object()) {
        made.frames = frames_of(window, signature);
        made.seconds = window["seconds"].get<double>(), made.fps = window["fps"].get<double>();
        made.stride_s = window["stride_s"].get<double>(), made.max_gap_s = window["max_gap_s"].get<double>();
        made.repeat = window["padding"] == "repeat";
    }
    check_answer(answer, signature.outputs);
    made.kind = one_of<Kind>(answer["kind"], {{"tensor", Kind::tensor}, {"classes", Kind::classes},
                                              {"boxes", Kind::boxes}, {"events", Kind::events}});
    for (const auto& [name, how] : data["inputs"].get_ref<const Json::object_t&>())
        if (how["kind"] == "image") made.images.emplace(name, prepare_of(how));
    made.labels = answer["labels"].get<std::vector<std::string>>();
    made.best.top_k = answer["top_k"].is_number() ? answer["top_k"].get<std::size_t>()
                      : made.kind == Kind::boxes  ? std::numeric_limits<std::size_t>::max()
                                                  : 1;
    made.iou = answer["iou"].get<double>(), made.on = answer["on"].get<double>();
    made.off = answer["off"].get<double>(), made.refractory_s = answer["refractory_s"].get<double>();
    made.best.activation = activation_of(answer["activation"]);
    if (answer["threshold"].is_number()) made.best.threshold = answer["threshold"].get<double>();
    return made;
}

void Preparation::run(const std::vector<Image>& images, Array& tensor) {
    try {
        if (!preparer_ || images[0].width != width_ || images[0].height != height_) {
            preparer_.reset();
            preparer_.emplace(how_, images[0].width, images[0].height);
            width_ = images[0].width, height_ = images[0].height;
        }
        auto one = preparer_->shape();
        Shape shape{images.size()};
        for (int length : one) shape.push(static_cast<std::size_t>(length));
        if (preparer_->bytes() > most_bytes)
            throw Error(Error::input, "a prepared image would take more than 256 MiB", "prepare to a smaller size");
        tensor.resize(how_.dtype == Dtype::uint8 ? Type::uint8 : Type::float32, shape);
        for (std::size_t i = 0; i < images.size(); ++i)
            preparer_->run(images[i], static_cast<char*>(tensor.data()) + i * preparer_->bytes());
    } catch (const std::invalid_argument& fault) {
        std::string size = std::to_string(images[0].width) + "x" + std::to_string(images[0].height);
        throw Error(Error::input, "the pipeline cannot prepare " + size + " images: " + fault.what(), "change it");
    }
}

void images_of(const View& array, Format source, std::size_t frames, std::vector<Image>& images) {
    const char* const names[] = {"RGB", "BGR", "grey", "I420", "NV12"};
    Shape shape = array.shape;
    if (frames) {
        if (shape.rank() < 2 || shape[1] != frames)
            throw Error(Error::input, std::string("raw frames are ") + name_of(array.dtype) + " " + shown(shape),
                        "the window has " + std::to_string(frames) + " frames: [N, " + std::to_string(frames) +
                            ", ...]");
        Shape flat{shape[0] * shape[1]};
        for (std::size_t i = 2; i < shape.rank(); ++i) flat.push(shape[i]);
        shape = flat;
    }
    const std::string name = names[static_cast<int>(source)];
    bool yuv = source == Format::i420 || source == Format::nv12, grey = source == Format::grey;
    std::size_t channels = grey || yuv ? 1 : 3;
    bool good = array.dtype == Type::uint8 && shape.rank() == (channels == 3 ? 4 : 3) &&
                !std::count(shape.begin() + 1, shape.end(), std::size_t(0)) && (channels == 1 || shape[3] == 3) &&
                shape[1] <= most_side && shape[2] <= most_side;
    if (!good)
        throw Error(Error::input, std::string("a raw image is ") + name_of(array.dtype) + " " + shown(shape),
                    name + " images are uint8 " +
                        (channels == 3 ? "[N, H, W, 3]" : grey ? "[N, H, W]" : "[N, H * 3 / 2, W]"));
    if (yuv && (shape[1] % 3 || shape[2] % 2))
        throw Error(Error::input,
                    name + " images of " + shown(Shape{shape[1], shape[2]}) + " have no even height and width",
                    "an array holds H rows of luma and H / 2 of chroma");
    auto height = static_cast<int>(yuv ? shape[1] / 3 * 2 : shape[1]), width = static_cast<int>(shape[2]);
    std::size_t bytes = shape[1] * shape[2] * channels, luma = static_cast<std::size_t>(height) * shape[2];
    images.clear();
    for (std::size_t i = 0; i < shape[0]; ++i) {
        const auto* first = static_cast<const std::uint8_t*>(array.data) + i * bytes;
        auto row = static_cast<std::ptrdiff_t>(shape[2] * channels);
        Image image{source, width, height, {first, nullptr, nullptr}, {row, 0, 0}};
        if (yuv) {
            bool apart = source == Format::i420;
            image.plane[1] = first + luma, image.stride[1] = apart ? row / 2 : row;
            if (apart) image.plane[2] = first + luma + luma / 4, image.stride[2] = row / 2;
        }
        images.push_back(image);
    }
}

// Row `number` of an array [..., classes], in double.
void Decision::row(const Array& array, std::size_t number, std::size_t classes) {
    row_.resize(classes);
    for (std::size_t c = 0; c < classes; ++c) row_[c] = as_double(array, number * classes + c);
}

void Decision::run(const Pipeline& pipeline, Answer& answer) {
    const Array& first = answer.outputs[0];
    const Shape& shape = first.shape();
    answer.kind = pipeline.kind;
    answer.samples = shape.rank() ? shape[0] : 1;
    answer.best.clear();
    answer.labels.clear();
    answer.ends.clear();
    answer.axes = Shape();
    answer.rows = 0;
    if (pipeline.kind == Answer::Kind::tensor) return;
    if (pipeline.kind == Answer::Kind::boxes) return boxes(pipeline, answer);
    for (std::size_t i = 1; i + 1 < shape.rank(); ++i) answer.axes.push(shape[i]);
    answer.rows = answer.axes.count();
    std::size_t classes = shape[shape.rank() - 1], rows = answer.samples * answer.rows;
    scores_.resize(classes);
    for (std::size_t r = 0; r < rows; ++r) {
        row(first, r, classes);
        if (pipeline.kind == Answer::Kind::classes) {
            top_k(row_.data(), classes, pipeline.best, answer.best);
        } else {
            activate(row_.data(), 1, classes, pipeline.best.activation, scores_.data());
            for (std::size_t c = 0; c < classes; ++c)
                if (scores_[c] >= pipeline.on) answer.best.push_back(static_cast<int>(c));
        }
        answer.ends.push_back(answer.best.size());
    }
}

// Every box has its best class; then the weaker of those that overlap go.
void Decision::boxes(const Pipeline& pipeline, Answer& answer) {
    const Array &scores = answer.outputs[0], &sides = answer.outputs[1];
    std::size_t count = scores.shape()[1], classes = scores.shape()[2];
    answer.rows = 1;
    scores_.resize(classes);
    for (std::size_t n = 0; n < answer.samples; ++n) {
        found_.clear();
        for (std::size_t i = n * count; i < (n + 1) * count; ++i) {
            row(scores, i, classes);
            activate(row_.data(), 1, classes, pipeline.best.activation, scores_.data());
            std::size_t best = 0;
            for (std::size_t c = 1; c < classes; ++c)
                if (ranked(row_[c]) > ranked(row_[best])) best = c;
            found_.push_back({as_double(sides, 4 * i), as_double(sides, 4 * i + 1), as_double(sides, 4 * i + 2),
                              as_double(sides, 4 * i + 3), scores_[best], static_cast<int>(best)});
        }
        suppress(found_.data(), found_.size(), pipeline.iou, pipeline.best.threshold, kept_);
        if (kept_.size() > pipeline.best.top_k) kept_.resize(pipeline.best.top_k);
        for (int i : kept_) {
            answer.best.push_back(i);
            answer.labels.push_back(found_[static_cast<std::size_t>(i)].label);
        }
        answer.ends.push_back(answer.best.size());
    }
}

double as_double(const Array& array, std::size_t at) {
    switch (array.dtype()) {
        case Type::boolean:
        case Type::uint8: return value<std::uint8_t>(array, at);
        case Type::float16: return half(value<std::uint16_t>(array, at));
        case Type::float32: return value<float>(array, at);
        case Type::float64: return value<double>(array, at);
        case Type::int8: return value<std::int8_t>(array, at);
        case Type::int16: return value<std::int16_t>(array, at);
        case Type::int32: return value<std::int32_t>(array, at);
        case Type::int64: return static_cast<double>(value<std::int64_t>(array, at));
        case Type::uint16: return value<std::uint16_t>(array, at);
        case Type::uint32: return value<std::uint32_t>(array, at);
        default: return static_cast<double>(value<std::uint64_t>(array, at));
    }
}

}  // namespace hasten
