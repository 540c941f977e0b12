// One call at a time: raw inputs to an answer.
#include "contents.h"

namespace hasten {
namespace {

// [N * frames, ...] -> [N, frames, ...]
void fold(Array& tensor, std::size_t frames) {
    const Shape& flat = tensor.shape();
    if (flat[0] % frames)
        throw Error(Error::input,
                    std::to_string(flat[0]) + " images were given, and a window has " + std::to_string(frames),
                    "give whole windows, in order of time");
    Shape shape{flat[0] / frames, frames};
    for (std::size_t i = 1; i < flat.rank(); ++i) shape.push(flat[i]);
    tensor.reshape(shape);
}

}  // namespace

Calls::Calls(std::shared_ptr<const Bundle::Contents> contents)
    : contents_(std::move(contents)), flow_(contents_->stages, contents_->models()) {
    for (const Tensor& t : contents_->signature.inputs) {
        auto how = contents_->pipeline.images.find(t.name);
        bool array = how == contents_->pipeline.images.end();
        preparations_.push_back(array ? nullptr : std::make_unique<Preparation>(how->second));
    }
    wanted_ = contents_->signature.outputs;
    for (Tensor& tensor : wanted_)  // a first axis that is a number is the batch of a stage
        if (!tensor.shape.empty() && tensor.shape[0].length)
            tensor.shape[0] = {0, std::to_string(tensor.shape[0].length)};
}

// What the frame has for an input.
const Frame::Raw& Calls::raw(const Frame& frame, std::size_t i) const {
    const auto& inputs = contents_->signature.inputs;
    const Frame::Raw* found = nullptr;
    for (const Frame::Raw& raw : frame.raw())
        if (raw.input == inputs[i].name || (raw.input.empty() && inputs.size() == 1)) found = &raw;
    if (found && frame.raw().size() == inputs.size()) return *found;
    std::vector<std::string> given;
    for (const Frame::Raw& raw : frame.raw()) given.push_back(raw.input);
    throw Error(Error::input, "inputs " + repr(Json(given)) + " were given", "this model has " + listed(inputs));
}

void Calls::prepare(const Frame& frame) {
    for (std::size_t i = 0; i < preparations_.size(); ++i) {
        const Frame::Raw& raw = this->raw(frame, i);
        const std::string& name = contents_->signature.inputs[i].name;
        bool images = !raw.images.empty();
        if (images != (preparations_[i] != nullptr))
            throw Error(Error::input, repr(name) + (images ? " was given as images" : " was given as an array"),
                        images ? "this model takes it prepared, as an array" : "this model takes it as images");
        if (images) {
            preparations_[i]->run(raw.images, input(i));
            if (contents_->pipeline.frames) fold(input(i), contents_->pipeline.frames);
        } else if (raw.array.shape.rank() && raw.array.shape[0] == 0) {
            throw Error(Error::input, "there are no samples in the feed", "give at least one");
        } else {
            input(i).assign(raw.array);
        }
    }
}

void Calls::infer() { flow_.run(); }

void Calls::answer(Answer& to) {
    const auto& outputs = contents_->stages.outputs;
    to.outputs.resize(outputs.size());
    axes_.clear();
    for (std::size_t k = 0; k < outputs.size(); ++k) {
        check(wanted_[k], flow_.tensor(outputs[k]), axes_);
        to.outputs[k].assign(flow_.tensor(outputs[k]).view());
    }
    decision_.run(contents_->pipeline, to);
}

}  // namespace hasten
