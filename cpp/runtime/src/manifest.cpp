#include "manifest.h"

#include <set>

#include "hasten/hasten.h"
#include "schema.h"
#include "sha256.h"

namespace hasten {
namespace {

constexpr std::int64_t newest = 1;
constexpr const char* name = "bundle.json";
constexpr const char* other = "give a folder that hasten boost has made";

void check_format(const Json& data, const std::string& path) {
    auto number = data.is_object() ? data.find("format") : data.end();
    if (!data.is_object() || number == data.end() || !number->is_number_integer() || *number < 1)
        throw Error(Error::input, path + " has no format number", other);
    if (*number > newest)
        throw Error(Error::input,
                    path + " has format " + repr(*number) + ", this version reads " + std::to_string(newest),
                    "pip install --upgrade hasten");
}

// The seal stands in the text once, and is the digest of the text with zeros in its place.
void check_seal(std::string text, const std::string& seal, const std::string& path) {
    std::size_t at = text.find(seal);
    bool once = at != std::string::npos && text.find(seal, at + seal.size()) == std::string::npos;
    if (once) text.replace(at, seal.size(), std::string(seal.size(), '0'));
    if (!once || sha256(text) != seal)
        throw Error(Error::input, path + " was changed after the bundle was made", again);
}

void check_files(const Folder& folder, const Json& digests) {
    std::set<std::string> here = folder.files(), listed;
    here.erase(name);
    for (const auto& [file, digest] : digests.get_ref<const Json::object_t&>()) listed.insert(file);
    for (const std::string& file : listed)
        if (!here.count(file)) throw Error(Error::input, folder.path() + " lacks " + file, again);
    for (const std::string& file : here)
        if (!listed.count(file))
            throw Error(Error::input, folder.path() + " holds " + repr(file).substr(1, repr(file).size() - 2) +
                                          ", which " + name + " does not list", "remove it");
    for (const auto& [file, digest] : digests.get_ref<const Json::object_t&>())
        if (folder.sha256(file) != digest.get_ref<const std::string&>())
            throw Error(Error::input, folder.path() + "/" + file + " was changed after the bundle was made", again);
}

}  // namespace

Json read_manifest(const Folder& folder) {
    if (!folder.has(name))
        throw Error(Error::input, folder.path() + " is not a bundle: it has no " + name, other);
    File file = folder.open(name);
    std::string text;
    Json data = parse(file, &text);
    check_format(data, file.path());
    if (std::string why = fault(data, bundle_schema()); !why.empty())
        throw Error(Error::input, file.path() + ": " + why, again);
    check_seal(std::move(text), data["seal"].get_ref<const std::string&>(), file.path());
    check_files(folder, data["files"]);
    return data;
}

}  // namespace hasten
