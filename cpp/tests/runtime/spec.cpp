// The bundles of spec/: every golden one is read and gives its answers again, every broken one is refused with its
// sentence. Where OpenVINO was not built in, nothing is run: the null engine stands in, and only reading is tested.
#include <filesystem>
#include <regex>

#include "check.h"
#include "forged.h"

using namespace forged;

namespace {

bool can_run() {  // on OpenVINO, as all of them do
    for (const Engine& engine : engines())
        if (engine.name == "openvino") return engine.missing.empty();
    return false;
}

void load(const fs::path& folder) { hasten::load(folder.string(), can_run(), can_run() ? engines() : nulls()); }

void golden(const fs::path& place) {
    std::size_t count = 0;
    for (const auto& entry : fs::directory_iterator(place)) {
        same(refusal([&] { load(entry.path()); }), "");
        ++count;
    }
    check(count >= 8, "there are eight golden bundles");
}

// Without what a parser of JSON or of arrays adds in parentheses.
std::string plain(const std::string& sentence) {
    static const std::regex own("(is not strict JSON|is not a \\.npy file) \\(.*\\)");
    return std::regex_replace(sentence, own, "$1");
}

void broken(const fs::path& place) {
    Json cases = Json::parse(content(place / "cases.json"));
    check(cases.size() >= 15, "there are fifteen broken bundles");
    for (const auto& [name, wanted] : cases.get_ref<const Json::object_t&>()) {
        std::string folder = (place / name).string(), says = wanted["says"];
        bool runs = wanted["exit"] == Error::unmet || says.find(".npy file") != std::string::npos;
        if (runs && !can_run()) continue;
        for (std::size_t at; (at = says.find("BUNDLE")) != std::string::npos;) says.replace(at, 6, folder);
        try {
            load(folder);
            check(false, name + " was not refused");
        } catch (const Error& fault) {
            same(plain(fault.what()), says);
            check(fault.kind() == wanted["exit"], name + ": the kind of fault");
        }
    }
}

}  // namespace

int main(int, char** words) {
    golden(fs::path(words[1]) / "golden");
    broken(fs::path(words[1]) / "broken");
    return verdict("spec");
}
