// JSON Schema, as much of it as spec/*.schema.json uses: the law is the same file for every reader.
#pragma once
#include <string>

#include "json.h"

namespace hasten {

// The first fault as jsonschema's best_match would choose and say it, `place: what is wrong`; empty: there is none.
std::string fault(const Json& value, const Json& schema);

const Json& bundle_schema();  // spec/bundle.schema.json, compiled in
const Json& golden_schema();  // spec/golden.schema.json

}  // namespace hasten
