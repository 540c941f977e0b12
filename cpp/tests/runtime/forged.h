// A bundle made here, and changed as somebody would who wants to hide it: x float32 [N, 4] -> y float32 [N, 4], whose
// network is never read, as the null engine echoes it.
#pragma once
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>

#include "contents.h"
#include "engines/null.h"
#include "json.h"
#include "npy.h"
#include "sha256.h"

namespace forged {

namespace fs = std::filesystem;
using namespace hasten;
using Edit = std::function<void(Json&)>;

inline std::string content(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

// A folder of its own, gone with the object.
struct Place {
    fs::path path;
    Place() {
        char name[] = "/tmp/hasten-bundle-XXXXXX";
        path = mkdtemp(name);
    }
    ~Place() { fs::remove_all(path); }
    std::string bundle() const { return (path / "b").string(); }
};

inline Json tensor(const std::string& name, const Json& shape) {
    return {{"name", name}, {"dtype", "float32"}, {"shape", shape}};
}

inline Json stage(const std::string& name, const Json& signature, const Json& unless = nullptr) {
    return {{"name", name}, {"file", name + ".onnx"}, {"when", unless.is_null() ? "always" : "unless"},
            {"unless", unless}, {"engine", {{"name", "openvino"}, {"settings", {{"threads", 1}}}}},
            {"signature", signature}};
}

inline Json manifest() {
    Json signature{{"inputs", {tensor("x", {"N", 4})}}, {"outputs", {tensor("y", {"N", 4})}}};
    Json answer{{"kind", "classes"}, {"activation", "none"}, {"labels", {"a", "b", "c", "d"}}, {"top_k", 1},
                {"threshold", nullptr}, {"iou", 0.5}, {"on", 0.5}, {"off", 0.5}, {"refractory_s", 0.0}};
    return {{"format", 1}, {"seal", std::string(64, '0')}, {"signature", signature},
            {"stages", {stage("model", signature)}},
            {"pipeline", {{"inputs", Json::object()}, {"window", nullptr}, {"answer", answer}}},
            {"recipe", ""}, {"measurements", Json::object()}, {"conditions", Json::object()},
            {"versions", Json::object()}, {"files", Json::object()}};
}

// Digests and seal as they have to be, after `edit`; `late` edits what has digests already.
inline void seal(const fs::path& folder, Json data, const Edit& edit = {}, const Edit& late = {}) {
    if (edit) edit(data);
    data["files"] = Json::object();
    for (const auto& entry : fs::recursive_directory_iterator(folder))
        if (entry.is_regular_file() && entry.path().filename() != "bundle.json")
            data["files"][fs::relative(entry.path(), folder).string()] = sha256(content(entry.path()));
    if (late) late(data);
    std::string zeros(64, '0'), text = data.dump();
    std::size_t at = text.find("\"seal\":\"" + zeros);
    if (at != std::string::npos) text.replace(at + 8, 64, sha256(text));
    std::ofstream(folder / "bundle.json", std::ios::binary) << text;
}

// Eight cases of which the echo is right; `cases` edits golden/cases.json.
inline std::string make(const Place& place, const Edit& edit = {}, const Edit& late = {}, const Edit& cases = {}) {
    fs::path folder = place.bundle();
    Json golden{{"tolerance", {{"y", 0.01}}}, {"cases", Json::array()}};
    for (std::size_t i = 0; i < 8; ++i) {
        std::string id = "00" + std::to_string(i), in = "golden/" + id + "/";
        fs::create_directories(folder / in);
        Array array(Type::float32, {1, 4});
        for (std::size_t c = 0; c < 4; ++c) static_cast<float*>(array.data())[c] = c == i % 4 ? 3.f : 0.1f * c;
        for (const char* part : {"raw.x", "prepared.x", "output.y"})
            write_npy((folder / (in + part + ".npy")).string(), array.view());
        golden["cases"].push_back({{"id", id}, {"raw", {{"x", in + "raw.x.npy"}}},
                                   {"prepared", {{"x", in + "prepared.x.npy"}}},
                                   {"output", {{"y", in + "output.y.npy"}}}, {"decision", {{i % 4}}}, {"margin", 270}});
    }
    if (cases) cases(golden);
    std::ofstream(folder / "golden/cases.json") << golden.dump();
    Json data = manifest();
    if (edit) edit(data);
    for (const Json& one : data["stages"])
        if (one.is_object() && one["name"].is_string())
            std::ofstream(folder / (one["name"].get<std::string>() + ".onnx")) << "no network";
    seal(folder, data, {}, late);
    return folder.string();
}

inline const Engines& nulls() {
    static const Engines all{null_engine(onnxruntime()), null_engine(openvino())};
    return all;
}

inline Bundle load(const std::string& folder, bool verify = true) { return hasten::load(folder, verify, nulls()); }

}  // namespace forged
