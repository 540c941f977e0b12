// Broken bundles: each is its own sentence, the one that the Python reader says.
#include "check.h"
#include "forged.h"

using namespace forged;

namespace {

const std::string mend = std::string("; ") + again;

// What loading says, with B for the folder.
std::string said(const Place& place, bool verify = false) {
    std::string text = refusal([&] { forged::load(place.bundle(), verify); }), path = place.bundle();
    for (std::size_t at; (at = text.find(path)) != std::string::npos;) text.replace(at, path.size(), "B");
    return text;
}

// What is said of a bundle whose JSON has `value` at `pointer`, sealed again.
std::string with(const char* pointer, const Json& value) {
    Place place;
    make(place, {}, [&](Json& data) { data[Json::json_pointer(pointer)] = value; });
    return said(place);
}

std::string golden(const char* pointer, const Json& value) {
    Place place;
    make(place, {}, {}, [&](Json& data) { data[Json::json_pointer(pointer)] = value; });
    return said(place, true);
}

std::string changed(const std::function<void(const fs::path&)>& change) {
    Place place;
    make(place);
    change(place.bundle());
    return said(place);
}

void manifests() {
    const std::string b = "B/bundle.json: ";
    const std::string path = " is not a path inside the bundle (letters, digits, '.', '_', '-', parts with '/' between "
                             "them, none of which begins with '.')" + mend;
    same(with("/format", 2), "B/bundle.json has format 2, this version reads 1; pip install --upgrade hasten");
    same(with("/format", true), "B/bundle.json has no format number; give a folder that hasten boost has made");
    same(with("/author", "me"),
         b + "the whole: Additional properties are not allowed ('author' was unexpected)" + mend);
    same(with("/stages", Json::array()), b + "stages: [] should be non-empty" + mend);
    same(with("/stages/0/when", "unless"), b + "stages[0].unless: None is not of type 'object'" + mend);
    same(with("/stages/0/engine/settings/threads", 2.0),
         b + "stages[0].engine.settings.threads: 2.0 is not of type 'integer'" + mend);
    same(with("/signature/inputs/0/shape", {-1, 4}),
         b + "signature.inputs[0].shape[0]: -1 is less than the minimum of 1" + mend);
    for (const char* bad : {"/etc/passwd", "../model.onnx", "a/../../model.onnx", "a//b", ".hidden", "a/", ""})
        same(with("/stages/0/file", bad), b + "stages[0].file: " + repr(std::string(bad)) + path);
    same(with("/files/..~1report.html", std::string(64, 'a')), b + "files: '../report.html'" + path);
    same(with("/stages/0/file", "other.onnx"),
         "stage 'model' names other.onnx, which is no file of the bundle" + mend);
    same(with("/stages/0/signature/inputs/0/name", "z"),
         "stage 'model' takes z float32 [N, 4], which nothing before it gives" + mend);
    same(with("/signature/outputs/0/dtype", "float64"), "no stage gives the output y float64 [N, 4]" + mend);
    same(with("/pipeline/answer/labels", {"a"}),
         "the pipeline has 1 labels, and the first output is y float32 [N, 4]; give one label for each class");
    same(with("/files/model.onnx", std::string(63, '0') + "1"),
         "B/model.onnx was changed after the bundle was made" + mend);
}

void engines_and_times() {
    const std::string newer = "; pip install --upgrade hasten, or make the bundle again";
    same(with("/stages/0/engine/settings/hint", "int4"), "the engine openvino has no setting hint='int4'" + newer);
    same(with("/stages/0/engine/settings/transforms", 1), "the engine openvino has no setting transforms=1" + newer);
    same(with("/stages/0/engine/settings/turbo", true), "the engine openvino has no setting turbo=True" + newer);
    same(with("/stages/0/engine/name", "torch"),
         "the engine torch does not run ONNX files; make the bundle again with hasten boost");
    same(with("/stages/0/engine/name", "abacus"),
         "the bundle runs on the engine 'abacus', which this version of hasten does not have; pip install --upgrade "
         "hasten, or the package that adds the engine");
    same(with("/stages/0/when", "frame"),
         "stage 'model' runs by 'frame', and the pipeline has no window" + mend);
    same(with("/pipeline/answer/kind", "boxes"),
         "the pipeline answers with boxes, but the outputs are y float32 [N, 4]; scores [N, boxes, classes] have to "
         "come first, then boxes [N, boxes, 4]");
    Engines lacking{null_engine(openvino())};
    lacking[0].missing = "install it";
    Place place;
    make(place);
    same(refusal([&] { hasten::load(place.bundle(), true, lacking); }),
         "the engine openvino cannot run here; install it");
}

void folders() {
    same(changed([](auto& b) { fs::remove_all(b); }), "B is not a folder; give the folder of a bundle");
    same(changed([](auto& b) { fs::remove(b / "bundle.json"); }),
         "B is not a bundle: it has no bundle.json; give a folder that hasten boost has made");
    same(changed([](auto& b) { fs::remove(b / "golden/003/raw.x.npy"); }), "B lacks golden/003/raw.x.npy" + mend);
    same(changed([](auto& b) { std::ofstream(b / "golden/notes.txt") << "hello"; }),
         "B holds golden/notes.txt, which bundle.json does not list; remove it");
    same(changed([](auto& b) { fs::rename(b / "model.onnx", b.parent_path() / "m");
                               fs::create_symlink(b.parent_path() / "m", b / "model.onnx"); }),
         "B/model.onnx is a symbolic link; copy the bundle with the files themselves (cp -rL)");
    same(changed([](auto& b) { fs::rename(b / "golden", b.parent_path() / "g");
                               fs::create_directory_symlink(b.parent_path() / "g", b / "golden"); }),
         "B/golden is a symbolic link; copy the bundle with the files themselves (cp -rL)");
    same(changed([](auto& b) { fs::rename(b / "bundle.json", b.parent_path() / "j");
                               fs::create_symlink(b.parent_path() / "j", b / "bundle.json"); }),
         "B/bundle.json is a link or not a file" + mend);
    same(changed([](auto& b) { fs::resize_file(b / "bundle.json", (4 << 20) + 1); }),
         "B/bundle.json is larger than 4 MiB" + mend);
    Place place;
    make(place);
    fs::create_directory_symlink(place.bundle(), place.path / "current");
    same(refusal([&] { forged::load((place.path / "current").string()); }), "");
}

// A byte wherever it is: at both ends and in the middle of every file.
void bytes() {
    Place place;
    make(place);
    for (const auto& entry : fs::recursive_directory_iterator(place.bundle())) {
        if (!entry.is_regular_file()) continue;
        std::string whole = content(entry.path()), name = fs::relative(entry.path(), place.bundle()).string();
        for (std::size_t at : {std::size_t(0), whole.size() / 2, whole.size() - 1}) {
            std::string damaged = whole;
            damaged[at] = static_cast<char>(damaged[at] ^ 1);
            std::ofstream(entry.path(), std::ios::binary) << damaged;
            std::string text = said(place);
            if (name == "bundle.json") check(text.rfind("B/bundle.json", 0) == 0, text);
            else same(text, "B/" + name + " was changed after the bundle was made" + mend);
        }
        std::ofstream(entry.path(), std::ios::binary) << whole;
    }
    same(said(place, true), "");
}

void cases() {
    const std::string g = "B/golden/cases.json: ";
    const std::string boost = "; this machine does not give the answers that were measured: run hasten boost on it";
    same(golden("/cases", Json::array()), g + "cases: [] is too short" + mend);
    same(golden("/cases/2/raw/x", "golden/002/other.npy"),
         g + "case 002 names golden/002/other.npy, which is no file of the bundle" + mend);
    same(golden("/cases/2/output", Json::object()), g + "case 002 has other output arrays than ['y']" + mend);
    same(golden("/tolerance", Json::object()), g + "tolerances are not those of ['y']" + mend);
    same(golden("/cases/0/margin", 5.0), g + "cases[0].margin: 5.0 is less than the minimum of 10" + mend);
    same(golden("/cases/1/decision", {{3}}),
         "golden case 001: the decision is [[1]], it was [[3]]" + boost);
    same(golden("/cases/4/prepared/x", "golden/005/prepared.x.npy"),
         "golden case 004: the prepared tensor 'x' is not the same" + boost);
    same(golden("/cases/4/output/y", "golden/005/output.y.npy"),
         "golden case 004: output 'y' differs by 3, 0.01 is allowed" + boost);
}

}  // namespace

int main() {
    manifests();
    engines_and_times();
    folders();
    bytes();
    cases();
    return verdict("reader");
}
