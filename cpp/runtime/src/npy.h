// Arrays as .npy files of version 1.0, little-endian, in C order.
#pragma once
#include <string>

#include "folder.h"
#include "hasten/hasten.h"

namespace hasten {

constexpr std::uint64_t max_array_bytes = 256 << 20;  // of one file of a bundle

Array read_npy(const File& file, std::uint64_t most = max_array_bytes);  // throws Error
Array read_npy(const std::string& path);                                 // a user's own; of any size
void write_npy(const std::string& path, const View& array);

}  // namespace hasten
