#include "engine.h"

#include <algorithm>

namespace hasten {
namespace {

bool fits(const Setting& setting, const Json& value) {
    if (setting.kind == Setting::integer) return value.is_number_integer();
    if (setting.kind == Setting::boolean) return value.is_boolean();
    const auto& all = setting.choices;
    return value.is_string() && std::find(all.begin(), all.end(), value.get<std::string>()) != all.end();
}

}  // namespace

const Engines& engines() {
    static const Engines all{onnxruntime(), openvino(), tensorrt()};
    return all;
}

const Engine& find(const Engines& known, const std::string& name, const Json& settings) {
    if (name == "torch")
        throw Error(Error::input, "the engine torch does not run ONNX files",
                    "make the bundle again with hasten boost");
    auto engine = std::find_if(known.begin(), known.end(), [&](const Engine& e) { return e.name == name; });
    if (engine == known.end())
        throw Error(Error::missing,
                    "the bundle runs on the engine " + repr(name) + ", which this version of hasten does not have",
                    "pip install --upgrade hasten, or the package that adds the engine");
    for (const auto& [key, value] : settings.get_ref<const Json::object_t&>()) {
        const auto& has = engine->settings;
        auto named = [&key = key](const Setting& s) { return s.name == key; };
        auto setting = std::find_if(has.begin(), has.end(), named);
        if (setting == has.end() || !fits(*setting, value))
            throw Error(Error::input, "the engine " + name + " has no setting " + key + "=" + repr(value),
                        "pip install --upgrade hasten, or make the bundle again");
    }
    return *engine;
}

}  // namespace hasten
