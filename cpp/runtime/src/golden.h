// The golden cases of a bundle: real samples with the answers that were given where it was made.
#pragma once
#include <map>
#include <set>
#include <string>
#include <vector>

#include "folder.h"
#include "hasten/hasten.h"
#include "json.h"

namespace hasten {

struct Case {
    std::string id;
    std::map<std::string, std::string> raw, prepared, output;  // tensor -> file
    Json decision;
};

struct Golden {
    std::map<std::string, double> tolerance;
    std::vector<Case> cases;

    // Throws Error: what does not fit the schema, the signature or the list of files.
    static Golden read(const Folder& folder, const Signature& signature, const std::set<std::string>& files);
};

// Arrays by name, in the order of `tensors`.
std::vector<Array> load(const Folder& folder, const std::vector<Tensor>& tensors,
                        const std::map<std::string, std::string>& files);

// One case against what was recorded. Throws Error (unmet) that says what differs, and by how much.
void compare_prepared(const Case& one, const std::string& name, const Array& got, const Array& was);
void compare_output(const Case& one, const std::string& name, const Array& got, const Array& was, double tolerance);
void compare_decision(const Case& one, const Answer& answer);
Error unmet(const Case& one, const std::string& what);

}  // namespace hasten
