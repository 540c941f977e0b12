// How many bytes a second come from memory, and go back to it, at a given size of the working set.
#pragma once
#include <cstddef>

namespace hasten {

enum class Traffic { kRead, kCopy };

// Bytes a second of `threads` together, the best of several rounds within `seconds`, each thread on a buffer of its own
// of `bytes`. A copy counts the bytes that are read and those that are written.
double bandwidth(Traffic traffic, std::size_t bytes, int threads, double seconds);

}  // namespace hasten
