#include "live.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

namespace hasten {
namespace {

constexpr std::size_t most_sizes = 4;  // of frames, for which coefficients are kept
constexpr const char* changed = "give the pipeline a size, to which frames are resized";

Nanoseconds nanoseconds(double seconds) { return std::llrint(seconds * 1e9); }

// Tensors that frames give, and that later stages or the answer take.
std::vector<std::size_t> handed_over(const Bundle::Contents& contents) {
    std::set<std::size_t> given{0}, read(contents.stages.outputs.begin(), contents.stages.outputs.end()), both;
    for (const Stage& stage : contents.stages.all)
        if (stage.by_frame)
            given.insert(stage.outputs.begin(), stage.outputs.end());
        else
            read.insert(stage.inputs.begin(), stage.inputs.end());
    std::set_intersection(given.begin(), given.end(), read.begin(), read.end(), std::inserter(both, both.end()));
    return {both.begin(), both.end()};
}

}  // namespace

Watching Watching::of(const Bundle::Contents& contents) {
    const Pipeline& how = contents.pipeline;
    const std::string place = contents.folder.path();
    if (!how.frames)
        throw Error(Error::input, place + " has no time window",
                    "give the pipeline one: Window(seconds, fps, stride_s)");
    if (contents.signature.inputs.size() != 1 || how.images.size() != 1)
        throw Error(Error::input, place + " takes " + listed(contents.signature.inputs),
                    "what watches takes the frames of one video");
    if (how.kind != Answer::Kind::events)
        throw Error(Error::input, place + " does not answer with events", "a bundle that watches answers with events");
    const auto padding = how.repeat ? Window::Padding::repeat : Window::Padding::wait;
    return {{how.seconds, how.fps, how.stride_s, padding},
            nanoseconds(how.max_gap_s),
            {how.on, how.off, nanoseconds(how.refractory_s)}};
}

Live::Live(std::shared_ptr<const Bundle::Contents> contents, const Watching& watching, LiveCounts& counts)
    : contents_(std::move(contents)), counts_(counts), flow_(contents_->stages, contents_->models()),
      window_(watching.window), kept_(handed_over(*contents_)), now_(kept_.size()), ring_(kept_.size()) {}

std::optional<ScoredWindow> Live::push(const Sample& sample, const VideoFrame& frame) {
    ++counts_.samples;
    if (last_ != sample.frame) encode(frame);
    last_ = sample.frame;
    const Window::Pushed pushed = window_.push(sample);
    keep(pushed.slot);
    if (!pushed.ready) return std::nullopt;
    ++counts_.windows;
    return score(*pushed.ready, sample.segment);
}

// The same bytes as those of the frame before have the same features.
void Live::encode(const VideoFrame& frame) {
    prepare(frame);
    const bool same = before_.bytes() && before_.shape() == prepared_.shape() &&
                      !std::memcmp(before_.data(), prepared_.data(), before_.bytes());
    if (same) {
        ++counts_.same_bytes;
        return;
    }
    before_.assign(prepared_.view());
    flow_.tensor(0).assign(prepared_.view());
    flow_.run(Flow::Part::frames);
    ++counts_.encoded;
    for (std::size_t k = 0; k < kept_.size(); ++k) now_[k].assign(flow_.tensor(kept_[k]).view());
}

void Live::prepare(const VideoFrame& frame) {
    Prepare how = contents_->pipeline.images.begin()->second;
    how.source = frame.image.format;
    how.matrix = frame.matrix.value_or(how.matrix);
    how.range = frame.range.value_or(how.range);
    const auto key = std::make_tuple(static_cast<int>(how.source), static_cast<int>(how.matrix),
                                     static_cast<int>(how.range), frame.image.width, frame.image.height);
    auto found = preparers_.find(key);
    if (found == preparers_.end()) {
        if (preparers_.size() >= most_sizes) preparers_.clear();
        try {
            found = preparers_.emplace(key, Preparer(how, frame.image.width, frame.image.height)).first;
        } catch (const std::invalid_argument& fault) {
            throw Error(Error::input,
                        "the pipeline cannot prepare " + std::to_string(frame.image.width) + "x" +
                            std::to_string(frame.image.height) + " images: " + fault.what(), "change it");
        }
    }
    Shape shape{1, 1};
    for (int length : found->second.shape()) shape.push(static_cast<std::size_t>(length));
    prepared_.resize(how.dtype == Dtype::uint8 ? Type::uint8 : Type::float32, shape);
    found->second.run(frame.image, prepared_.data());
}

void Live::keep(std::size_t slot) {
    for (std::size_t k = 0; k < kept_.size(); ++k) {
        Shape shape = now_[k].shape();
        shape[1] = window_.length();
        Array& ring = ring_[k];
        if (!ring.bytes()) ring.resize(now_[k].dtype(), shape);
        if (ring.shape() != shape)
            throw Error(Error::input, "what is kept of a frame was " + shown(ring.shape()) + " and is " + shown(shape) +
                                          ": the source has changed its size", changed);
        std::memcpy(static_cast<char*>(ring.data()) + slot * now_[k].bytes(), now_[k].data(), now_[k].bytes());
    }
}

ScoredWindow Live::score(const WindowReady& ready, std::int64_t segment) {
    for (std::size_t k = 0; k < kept_.size(); ++k) {
        Array& tensor = flow_.tensor(kept_[k]);
        tensor.resize(ring_[k].dtype(), ring_[k].shape());
        const std::size_t each = ring_[k].bytes() / window_.length();
        char* to = static_cast<char*>(tensor.data());
        for (std::size_t slot : window_.slots()) {
            std::memcpy(to, ring_[k].as<char>() + slot * each, each);
            to += each;
        }
    }
    flow_.run(Flow::Part::windows);
    const Array& first = flow_.tensor(contents_->stages.outputs[0]);
    const std::size_t classes = first.shape()[first.shape().rank() - 1], rows = first.shape().count() / classes;
    std::vector<double> values(rows * classes), scores(rows * classes);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = as_double(first, i);
    activate(values.data(), rows, classes, contents_->pipeline.best.activation, scores.data());
    ScoredWindow made{ready.end, ready.coverage, segment, {scores.begin(), scores.begin() + static_cast<long>(classes)}};
    for (std::size_t i = classes; i < scores.size(); ++i) {
        double& most = made.scores[i % classes];
        if (!std::isnan(most) && !(scores[i] <= most)) most = scores[i];  // NaN in any row is NaN
    }
    return made;
}

}  // namespace hasten
