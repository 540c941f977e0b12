#include "pipeline.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "signature.h"

namespace hasten {
namespace {

constexpr std::size_t most_bytes = 256 << 20;  // of one prepared image
constexpr std::size_t most_side = 1 << 20;    // pixels
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

void check_names(const Json& prepare, const Signature& signature) {
    std::vector<std::string> strange;
    std::string inputs;
    for (const Tensor& t : signature.inputs) inputs += (inputs.empty() ? "" : ", ") + repr(t.name);
    for (const auto& [name, how] : prepare.get_ref<const Json::object_t&>())
        if (std::none_of(signature.inputs.begin(), signature.inputs.end(),
                         [&n = name](const Tensor& t) { return t.name == n; }))
            strange.push_back(name);
    if (!strange.empty())
        throw Error(Error::input,
                    "the pipeline prepares " + repr(*std::min_element(strange.begin(), strange.end())),
                    "the network's inputs are [" + inputs + "]");
}

void check_classes(const Json& answer, const Tensor& first) {
    std::size_t labels = answer["labels"].size();
    if (first.shape.size() < 2)
        throw Error(Error::input, "the pipeline answers with classes, but the first output is " + shown(first),
                    "scores [N, ..., classes] have to come first");
    if (labels && first.shape.back().length != labels)
        throw Error(Error::input,
                    "the pipeline has " + std::to_string(labels) + " labels, and the first output is " + shown(first),
                    "give one label for each class");
}

float half(std::uint16_t bits) {
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    float size = exponent == 31  ? (fraction ? NAN : INFINITY)
                 : exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                                 : std::ldexp(static_cast<float>(fraction + 1024), exponent - 25);
    return bits >> 15 ? -size : size;
}

template <class T> T value(const Array& array, std::size_t at) { return array.as<T>()[at]; }

}  // namespace

Activation activation_of(const std::string& name) {
    return name == "softmax" ? Activation::softmax : name == "sigmoid" ? Activation::sigmoid : Activation::none;
}

Pipeline Pipeline::of(const Json& data, const Signature& signature) {
    const Json& answer = data["answer"];
    check_names(data["inputs"], signature);
    Pipeline made;
    made.classes = answer["kind"] == "classes";
    if (made.classes) check_classes(answer, signature.outputs[0]);
    std::vector<std::string> wanted;
    if (!data["window"].is_null()) wanted.push_back("the time window");
    if (!made.classes && answer["kind"] != "tensor")
        wanted.push_back("answers as " + answer["kind"].get<std::string>());
    if (!wanted.empty())
        throw Error(Error::missing, "this version of hasten has no native code for " + joined(wanted), newer);
    for (const auto& [name, how] : data["inputs"].get_ref<const Json::object_t&>())
        if (how["kind"] == "image") made.images.emplace(name, prepare_of(how));
    made.labels = answer["labels"].get<std::vector<std::string>>();
    made.best.top_k = answer["top_k"].get<std::size_t>();
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

void images_of(const View& array, Format source, std::vector<Image>& images) {
    const char* const names[] = {"RGB", "BGR", "grey", "I420", "NV12"};
    const Shape& shape = array.shape;
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

void Decision::run(const Pipeline& pipeline, const Array& first, Answer& answer) {
    const Shape& shape = first.shape();
    answer.samples = shape.rank() ? shape[0] : 1;
    answer.best.clear();
    answer.ends.clear();
    answer.axes = Shape();
    answer.rows = 0;
    if (!pipeline.classes) return;
    for (std::size_t i = 1; i + 1 < shape.rank(); ++i) answer.axes.push(shape[i]);
    answer.rows = answer.axes.count();
    std::size_t classes = shape[shape.rank() - 1], rows = answer.samples * answer.rows;
    row_.resize(classes);
    for (std::size_t r = 0; r < rows; ++r) {
        for (std::size_t c = 0; c < classes; ++c) row_[c] = as_double(first, r * classes + c);
        top_k(row_.data(), classes, pipeline.best, answer.best);
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
