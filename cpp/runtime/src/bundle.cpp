// Bundle: parse, format, schema, seal and digests, engines and pipeline, golden cases. The first fault ends it.
#include <algorithm>

#include "contents.h"
#include "manifest.h"
#include "npy.h"
#include "threads.h"

namespace hasten {
namespace {

// Threads that were fastest where the bundle was made, and never more than there are processors for.
int settled(const Json& settings) {
    int wanted = settings.value("threads", 0), most = threads();
    return wanted ? std::min(wanted, most) : most;
}

std::set<std::string> keys(const Json& object) {
    std::set<std::string> found;
    for (const auto& [key, value] : object.get_ref<const Json::object_t&>()) found.insert(key);
    return found;
}

// Raw through the pipeline, prepared through the stages, outputs to decisions: the first that differs is named.
void replay(const Bundle& bundle, Calls& calls, const Case& one) {
    const Bundle::Contents& all = *bundle.contents();
    const auto &inputs = all.signature.inputs, &outputs = all.signature.outputs;
    std::vector<std::pair<std::string, Array>> raw;
    std::vector<Array> given = load(all.folder, inputs, one.raw), prepared = load(all.folder, inputs, one.prepared),
                       expected = load(all.folder, outputs, one.output);
    for (std::size_t i = 0; i < inputs.size(); ++i) raw.emplace_back(inputs[i].name, std::move(given[i]));
    calls.prepare(bundle.frame(raw));
    for (std::size_t i = 0; i < inputs.size(); ++i) compare_prepared(one, inputs[i].name, calls.input(i), prepared[i]);
    Answer answer;
    try {
        calls.infer();
        calls.answer(answer);
    } catch (const Error& fault) {
        throw unmet(one, "it does not run: " + fault.fault());
    }
    for (std::size_t k = 0; k < outputs.size(); ++k)
        compare_output(one, outputs[k].name, answer.outputs[k], expected[k], all.golden.tolerance.at(outputs[k].name));
    compare_decision(one, answer);
}

Bundle read(const std::string& path, bool verify, const Engines& known) {
    auto made = std::make_shared<Bundle::Contents>(Folder(path));
    Json data = read_manifest(made->folder);
    made->signature = signature_of(data["signature"]);
    made->stages = Stages::of(data, made->signature, known);
    made->pipeline = Pipeline::of(data["pipeline"], made->signature);
    made->stages.require();
    made->golden = Golden::read(made->folder, made->signature, keys(data["files"]));
    Bundle bundle(std::move(made));
    if (verify) bundle.verify();
    return bundle;
}

}  // namespace

const std::vector<std::unique_ptr<Model>>& Bundle::Contents::models() const {
    std::lock_guard<std::mutex> held(compiling_);
    if (models_.empty()) {
        std::vector<std::unique_ptr<Model>> made;
        for (const Stage& stage : stages.all)
            made.push_back(stage.engine->compile(
                {folder.path() + "/" + stage.file, stage.signature, stage.settings, settled(stage.settings)}));
        models_ = std::move(made);
    }
    return models_;
}

Bundle load(const std::string& folder, bool verify, const Engines& known) {
    try {
        return read(folder, verify, known);
    } catch (const std::bad_alloc&) {
        throw Error(Error::input, folder + " needs more memory than there is", again);
    }
}

Bundle Bundle::load(const std::string& folder, bool verify) { return hasten::load(folder, verify, engines()); }

void Bundle::verify() const {
    Calls calls(contents_);
    for (const Case& one : contents_->golden.cases) replay(*this, calls, one);
}

const std::string& Bundle::folder() const { return contents_->folder.path(); }
const Signature& Bundle::signature() const { return contents_->signature; }
const std::vector<std::string>& Bundle::labels() const { return contents_->pipeline.labels; }
std::size_t Bundle::cases() const { return contents_->golden.cases.size(); }

std::vector<std::pair<std::string, Array>> Bundle::raw(std::size_t golden_case) const {
    std::vector<std::pair<std::string, Array>> found;
    const auto& inputs = contents_->signature.inputs;
    std::vector<Array> arrays =
        hasten::load(contents_->folder, inputs, contents_->golden.cases.at(golden_case).raw);
    for (std::size_t i = 0; i < inputs.size(); ++i) found.emplace_back(inputs[i].name, std::move(arrays[i]));
    return found;
}

Frame Bundle::frame(const std::vector<std::pair<std::string, Array>>& raw) const {
    Frame frame;
    std::vector<Image> images;
    for (const auto& [name, array] : raw) {
        auto how = contents_->pipeline.images.find(name);
        if (how == contents_->pipeline.images.end()) {
            frame.add(name, array.view());
            continue;
        }
        images_of(array.view(), how->second.source, contents_->pipeline.frames, images);
        if (images.empty()) throw Error(Error::input, "there are no samples in the feed", "give at least one");
        for (const Image& image : images) frame.add(name, image);
    }
    return frame;
}

}  // namespace hasten
