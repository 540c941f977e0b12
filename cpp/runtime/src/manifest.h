// bundle.json: read strictly, checked against its schema and against the folder that it describes, and its seal.
#pragma once
#include "folder.h"
#include "json.h"

namespace hasten {

// Throws Error for the first thing that is wrong: the JSON, the format, the schema, the seal, a file.
Json read_manifest(const Folder& folder);

}  // namespace hasten
