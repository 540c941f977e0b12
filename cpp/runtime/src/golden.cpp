#include "golden.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "npy.h"
#include "pipeline.h"
#include "schema.h"
#include "signature.h"

namespace hasten {
namespace {

constexpr const char* index = "golden/cases.json";

std::set<std::string> names(const std::vector<Tensor>& tensors) {
    std::set<std::string> found;
    for (const Tensor& t : tensors) found.insert(t.name);
    return found;
}

std::string listed(const std::set<std::string>& names) {
    std::string text = "[";
    for (const std::string& name : names) text += (text.size() > 1 ? ", " : "") + repr(name);
    return text + "]";
}

template <class V> std::set<std::string> keys(const std::map<std::string, V>& pairs) {
    std::set<std::string> found;
    for (const auto& pair : pairs) found.insert(pair.first);
    return found;
}

// What the schema cannot say; empty where all is well.
std::string fault_of(const Case& one, const Signature& signature, const std::set<std::string>& files) {
    const std::set<std::string> inputs = names(signature.inputs), outputs = names(signature.outputs);
    const struct {
        const char* name;
        const std::map<std::string, std::string>& arrays;
        const std::set<std::string>& wanted;
    } parts[] = {{"raw", one.raw, inputs}, {"prepared", one.prepared, inputs}, {"output", one.output, outputs}};
    for (const auto& part : parts) {
        if (keys(part.arrays) != part.wanted)
            return "case " + one.id + " has other " + part.name + " arrays than " + listed(part.wanted);
        std::set<std::string> strange;
        for (const auto& [name, file] : part.arrays)
            if (!files.count(file)) strange.insert(file);
        if (!strange.empty())
            return "case " + one.id + " names " + *strange.begin() + ", which is no file of the bundle";
    }
    return "";
}

bool is_same(const Array& got, const Array& was) {
    return got.dtype() == was.dtype() && got.shape() == was.shape() &&
           (!was.bytes() || std::memcmp(got.data(), was.data(), was.bytes()) == 0);
}

std::string about(const Array& array) { return std::string(name_of(array.dtype())) + " " + shown(array.shape()); }

// The largest difference; equal infinities are none, and a value that is none is never near another.
double worst(const Array& got, const Array& was) {
    double most = 0;
    std::size_t count = was.shape().count();
    for (std::size_t i = 0; i < count; ++i) {
        double a = as_double(got, i), b = as_double(was, i), apart = a == b ? 0 : std::fabs(a - b);
        if (std::isnan(apart)) return NAN;
        most = std::max(most, apart);
    }
    return most;
}

}  // namespace

Error unmet(const Case& one, const std::string& what) {
    return Error(Error::unmet, "golden case " + one.id + ": " + what,
                 "this machine does not give the answers that were measured: run hasten boost on it");
}

Golden Golden::read(const Folder& folder, const Signature& signature, const std::set<std::string>& files) {
    File file = folder.open(index);
    Json data = parse(file);
    auto refuse = [&](const std::string& why) { return Error(Error::input, file.path() + ": " + why, again); };
    if (std::string why = fault(data, golden_schema()); !why.empty()) throw refuse(why);
    Golden made;
    for (const auto& [name, most] : data["tolerance"].get_ref<const Json::object_t&>()) made.tolerance[name] = most;
    if (keys(made.tolerance) != names(signature.outputs))
        throw refuse("tolerances are not those of " + listed(names(signature.outputs)));
    for (Json& item : data["cases"]) {
        auto arrays = [&](const char* part) {
            std::map<std::string, std::string> found;
            for (const auto& [name, path] : item[part].get_ref<const Json::object_t&>()) found[name] = path;
            return found;
        };
        Case one{item["id"], arrays("raw"), arrays("prepared"), arrays("output"), std::move(item["decision"])};
        if (std::string why = fault_of(one, signature, files); !why.empty()) throw refuse(why);
        made.cases.push_back(std::move(one));
    }
    return made;
}

std::vector<Array> load(const Folder& folder, const std::vector<Tensor>& tensors,
                        const std::map<std::string, std::string>& files) {
    std::vector<Array> arrays;
    for (const Tensor& t : tensors) arrays.push_back(read_npy(folder.open(files.at(t.name))));
    return arrays;
}

void compare_prepared(const Case& one, const std::string& name, const Array& got, const Array& was) {
    if (!is_same(got, was)) throw unmet(one, "the prepared tensor " + repr(name) + " is not the same");
}

void compare_output(const Case& one, const std::string& name, const Array& got, const Array& was, double tolerance) {
    if (got.dtype() != was.dtype() || got.shape() != was.shape())
        throw unmet(one, "output " + repr(name) + " is " + about(got) + ", it was " + about(was));
    double most = worst(got, was);
    if (!(most <= tolerance))
        throw unmet(one, "output " + repr(name) + " differs by " + shown(most, 3) + ", " + shown(tolerance, 3) +
                             " is allowed");
}

void compare_decision(const Case& one, const Answer& answer) {
    Json decision = Json::array();
    for (std::size_t n = 0; n < answer.samples; ++n) decision.push_back(Json::parse(answer.decision(n)));
    if (decision != one.decision)
        throw unmet(one, "the decision is " + repr(decision, 80) + ", it was " + repr(one.decision, 80));
}

}  // namespace hasten
