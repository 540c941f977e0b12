// JSON, read strictly: UTF-8, no key twice, numbers finite, integers that a double holds exactly.
#pragma once
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>

#include "folder.h"

namespace hasten {

using Json = nlohmann::ordered_json;  // keys in the order of the file, so that the first fault is the first one there

constexpr std::size_t max_json_bytes = 4 << 20;

Json parse(const std::string& text, const std::string& path);  // throws Error; `path` is for the sentence
Json parse(const File& file, std::string* text = nullptr);     // of at most 4 MiB; `text`: takes what was read

// As Python writes a value, cut after `most` characters: the sentences of both readers are the same.
std::string repr(const Json& value, std::size_t most = std::string::npos);
std::string repr(const std::string& text, std::size_t most = std::string::npos);
std::string cut(const std::string& text, std::size_t most);  // UTF-8, after so many characters
std::string shown(double value, int digits);                  // as %g

}  // namespace hasten
