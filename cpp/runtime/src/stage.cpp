#include "stage.h"

#include <algorithm>
#include <map>

#include "pipeline.h"

namespace hasten {
namespace {

struct Known {
    std::size_t number;
    Type dtype;
};
using Names = std::map<std::string, Known>;

bool gives(const Names& known, const Tensor& tensor) {
    auto found = known.find(tensor.name);
    return found != known.end() && found->second.dtype == tensor.dtype;
}

Stage stage_of(const Json& data, const Engines& engines) {
    Stage stage;
    stage.name = data["name"], stage.file = data["file"];
    stage.settings = data["engine"]["settings"];
    stage.engine = &find(engines, data["engine"]["name"], stage.settings);
    stage.signature = signature_of(data["signature"]);
    stage.batch = fixed_batch(stage.signature);
    return stage;
}

// The numbers of what a stage takes, and when it runs.
void connect(Stage& stage, const Json& data, std::size_t number, Names& known) {
    std::string file = stage.file.substr(stage.file.rfind('/') + 1);
    if (!data["files"].contains(stage.file))
        throw Error(Error::input, "stage " + repr(stage.name) + " names " + file + ", which is no file of the bundle",
                    again);
    for (const Tensor& t : stage.signature.inputs) {
        if (!gives(known, t))
            throw Error(Error::input,
                        "stage " + repr(stage.name) + " takes " + shown(t) + ", which nothing before it gives", again);
        stage.inputs.push_back(known[t.name].number);
    }
    std::string when = data["stages"][number]["when"];
    if ((when == "frame" || when == "window") && data["pipeline"]["window"].is_null())
        throw Error(Error::input,
                    "stage " + repr(stage.name) + " runs by " + repr(when) + ", and the pipeline has no window", again);
    stage.by_frame = when == "frame";
}

void connect_unless(Stage& stage, const Json& unless, const Names& known) {
    std::string output = unless["output"];
    auto found = known.find(output);
    if (found == known.end())
        throw Error(Error::input, "stage " + repr(stage.name) + " looks at " + repr(output) +
                                      ", which nothing before it gives", again);
    for (const Tensor& t : stage.signature.outputs)
        if (!gives(known, t))
            throw Error(Error::input,
                        "stage " + repr(stage.name) + " is left out at times, and nothing before it gives " + shown(t),
                        again);
    stage.unless = Unless{found->second.number, activation_of(unless["activation"]), unless["threshold"].get<double>()};
}

// Rows which(0), which(1) ... of `from`, `have` of them; the last again where `count` is more.
template <class Which>
void gather(const Array& from, Which which, std::size_t have, std::size_t count, Array& to) {
    Shape shape = from.shape();
    std::size_t bytes = shape[0] ? from.bytes() / shape[0] : 0;
    shape[0] = count;
    to.resize(from.dtype(), shape);
    for (std::size_t i = 0; i < count; ++i)
        std::copy_n(from.as<char>() + which(std::min(i, have - 1)) * bytes, bytes,
                    static_cast<char*>(to.data()) + i * bytes);
}

// The first rows of `from` become rows `which` of `to`.
void scatter(const Array& from, const std::size_t* which, std::size_t count, Array& to) {
    std::size_t bytes = to.shape()[0] ? to.bytes() / to.shape()[0] : 0;
    for (std::size_t i = 0; i < count; ++i)
        std::copy_n(from.as<char>() + i * bytes, bytes, static_cast<char*>(to.data()) + which[i] * bytes);
}

// How many samples all of them hold; 0 where they differ or have no such axis.
std::size_t samples(const std::vector<const Array*>& arrays) {
    std::size_t count = 0;
    for (const Array* array : arrays) {
        std::size_t length = array->shape().rank() ? array->shape()[0] : 0;
        if (!length || (count && count != length)) return 0;
        count = length;
    }
    return count;
}

bool has_same_rows(const Array& a, const Array& b) {
    return a.dtype() == b.dtype() && a.shape().rank() && a.shape().rank() == b.shape().rank() &&
           std::equal(a.shape().begin() + 1, a.shape().end(), b.shape().begin() + 1);
}

}  // namespace

Stages Stages::of(const Json& data, const Signature& whole, const Engines& engines) {
    Stages made;
    for (const Json& item : data["stages"]) made.all.push_back(stage_of(item, engines));
    Names known;
    for (const Tensor& t : whole.inputs) known[t.name] = {made.tensors++, t.dtype};
    for (std::size_t i = 0; i < made.all.size(); ++i) {
        Stage& stage = made.all[i];
        connect(stage, data, i, known);
        if (const Json& unless = data["stages"][i]["unless"]; unless.is_object()) connect_unless(stage, unless, known);
        for (const Tensor& t : stage.signature.outputs) {
            if (!stage.unless || !known.count(t.name)) known[t.name] = {made.tensors++, t.dtype};
            stage.outputs.push_back(known[t.name].number);
        }
    }
    for (const Tensor& t : whole.outputs) {
        if (!gives(known, t)) throw Error(Error::input, "no stage gives the output " + shown(t), again);
        made.outputs.push_back(known[t.name].number);
    }
    return made;
}

void Stages::require() const {
    for (const Stage& stage : all)
        if (!stage.engine->missing.empty())
            throw Error(Error::missing, "the engine " + stage.engine->name + " cannot run here", stage.engine->missing);
}

Flow::Flow(const Stages& stages, const std::vector<std::unique_ptr<Model>>& models)
    : stages_(stages), tensors_(stages.tensors), calls_(stages.all.size()) {
    for (std::size_t i = 0; i < calls_.size(); ++i) {
        const Stage& stage = stages.all[i];
        calls_[i].request = models[i]->request();
        calls_[i].given.resize(stage.inputs.size());
        calls_[i].part.resize(stage.outputs.size());
        calls_[i].whole.resize(stage.outputs.size());
        for (const Array& array : calls_[i].given) calls_[i].inputs.push_back(&array);
    }
}

void Flow::run(Part part) {
    for (std::size_t i = 0; i < calls_.size(); ++i) {
        const Stage& stage = stages_.all[i];
        Call& call = calls_[i];
        if (part != Part::all && stage.by_frame != (part == Part::frames)) continue;
        if (stage.unless) {
            unless(stage, call);
            continue;
        }
        inputs_.clear();
        for (std::size_t number : stage.inputs) inputs_.push_back(&tensors_[number]);
        if (stage.by_frame)
            by_frame(stage, call);
        else
            always(stage, call, inputs_);
        for (std::size_t k = 0; k < stage.outputs.size(); ++k) tensors_[stage.outputs[k]].swap(call.whole[k]);
    }
}

// Into `whole`. Where the batch is fixed: in calls of that many samples, the last filled up with its last sample.
void Flow::always(const Stage& stage, Call& call, const std::vector<const Array*>& inputs) {
    std::size_t count = samples(inputs);
    if (!stage.batch || !count || count == stage.batch) return ask(stage, call, inputs, call.whole);
    for (std::size_t start = 0; start < count; start += stage.batch) {
        std::size_t have = std::min(stage.batch, count - start);
        for (std::size_t k = 0; k < inputs.size(); ++k)
            gather(*inputs[k], [&](std::size_t n) { return start + n; }, have, stage.batch, call.given[k]);
        ask(stage, call, call.inputs, call.part);
        for (std::size_t k = 0; k < call.part.size(); ++k) {
            Shape shape = call.part[k].shape();
            std::size_t bytes = call.part[k].bytes() / stage.batch;
            shape[0] = count;
            if (start == 0) call.whole[k].resize(call.part[k].dtype(), shape);
            std::copy_n(call.part[k].as<char>(), have * bytes,
                        static_cast<char*>(call.whole[k].data()) + start * bytes);
        }
    }
}

// For each frame of a window: tensors [N, frames, ...] without the axis of time.
void Flow::by_frame(const Stage& stage, Call& call) {
    const Shape front = inputs_[0]->shape();
    for (const Array* array : inputs_)
        if (front.rank() < 2 || array->shape().rank() < 2 || array->shape()[0] != front[0] ||
            array->shape()[1] != front[1])
            throw Error(Error::input,
                        "stage " + repr(stage.name) + " runs by frame, and its inputs have no time in common",
                        "give inputs [N, frames, ...] of as many frames as each other");
    auto flat = [&](const Shape& shape) {
        Shape made{shape[0] * shape[1]};
        for (std::size_t i = 2; i < shape.rank(); ++i) made.push(shape[i]);
        return made;
    };
    auto folded = [&](const Shape& shape) {
        Shape made{front[0], front[1]};
        for (std::size_t i = 1; i < shape.rank(); ++i) made.push(shape[i]);
        return made;
    };
    for (std::size_t number : stage.inputs) tensors_[number].reshape(flat(tensors_[number].shape()));
    auto back = [&] {
        for (std::size_t number : stage.inputs) tensors_[number].reshape(folded(tensors_[number].shape()));
    };
    try {
        always(stage, call, inputs_);
    } catch (...) {
        back();
        throw;
    }
    back();
    for (std::size_t k = 0; k < call.whole.size(); ++k) {
        const Shape shape = call.whole[k].shape();
        if (!shape.rank() || shape[0] != front[0] * front[1])
            throw Error(Error::input,
                        "stage " + repr(stage.name) + " runs by frame, and gives " +
                            repr(stage.signature.outputs[k].name) + " " + shown(shape) + " for " +
                            std::to_string(front[0] * front[1]) + " frames",
                        "give outputs with a row for each frame");
        call.whole[k].reshape(folded(shape));
    }
}

// For the samples alone of which an earlier stage was not sure; its outputs take the place of theirs.
void Flow::unless(const Stage& stage, Call& call) {
    inputs_.clear();
    for (std::size_t number : stage.inputs) inputs_.push_back(&tensors_[number]);
    std::size_t count = samples(inputs_);
    const Shape& judged = tensors_[stage.unless->tensor].shape();
    if (!count || !judged.rank() || judged[0] != count)
        throw Error(Error::input, "stage " + repr(stage.name) + " runs on single samples, and its inputs are none",
                    "give inputs that have as many samples as each other");
    unsure_.clear();
    for (std::size_t n = 0; n < count; ++n)
        if (!is_sure(*stage.unless, n)) unsure_.push_back(n);
    if (unsure_.empty()) return;
    std::size_t some = unsure_.size();
    std::size_t step = stage.batch ? stage.batch : some;
    for (std::size_t start = 0; start < some; start += step) {
        std::size_t have = std::min(step, some - start);
        for (std::size_t k = 0; k < inputs_.size(); ++k)
            gather(*inputs_[k], [&](std::size_t n) { return unsure_[start + n]; }, have, step, call.given[k]);
        ask(stage, call, call.inputs, call.part);
        for (std::size_t k = 0; k < call.part.size(); ++k) {
            Array& whole = tensors_[stage.outputs[k]];
            if (!has_same_rows(call.part[k], whole) || call.part[k].shape()[0] != step || whole.shape()[0] != count)
                throw Error(Error::input,
                            "stage " + repr(stage.name) + " gives " + repr(stage.signature.outputs[k].name) + " " +
                                shown(call.part[k].shape()) + " in the place of " + shown(whole.shape()),
                            "make the bundle again");
            scatter(call.part[k], unsure_.data() + start, have, whole);
        }
    }
}

void Flow::ask(const Stage& stage, Call& call, const std::vector<const Array*>& inputs, std::vector<Array>& outputs) {
    axes_.clear();
    for (std::size_t k = 0; k < inputs.size(); ++k) check(stage.signature.inputs[k], *inputs[k], axes_);
    call.request->run(inputs, outputs);
    axes_.clear();
    try {
        for (std::size_t k = 0; k < outputs.size(); ++k) check(stage.signature.outputs[k], outputs[k], axes_);
    } catch (const Error& fault) {
        throw Error(Error::bug, std::string("the engine answered outside the signature: ") + fault.what());
    }
}

// Where the scores have axes between samples and classes, each of their rows has to be sure.
bool Flow::is_sure(const Unless& unless, std::size_t sample) {
    const Array& array = tensors_[unless.tensor];
    const Shape& shape = array.shape();
    std::size_t classes = shape.rank() > 1 ? shape[shape.rank() - 1] : 1, of_one = shape.count() / shape[0];
    row_.resize(classes);
    scores_.resize(classes);
    for (std::size_t at = 0; at < of_one; at += classes) {
        for (std::size_t c = 0; c < classes; ++c) row_[c] = as_double(array, sample * of_one + at + c);
        activate(row_.data(), 1, classes, unless.activation, scores_.data());
        if (!(*std::max_element(scores_.begin(), scores_.end()) >= unless.threshold)) return false;
    }
    return true;
}

}  // namespace hasten
