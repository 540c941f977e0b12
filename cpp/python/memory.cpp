// Bandwidth for Python.
#include "hasten/memory.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <stdexcept>
#include <string>

namespace nb = nanobind;
using namespace hasten;
using namespace nb::literals;

void bind_memory(nb::module_& m) {
    m.def(
        "bandwidth",
        [](const std::string& traffic, std::size_t bytes, int threads, double seconds) {
            if (traffic != "read" && traffic != "copy")
                throw std::invalid_argument("traffic is " + traffic + "; it has to be one of read, copy");
            nb::gil_scoped_release released;
            return bandwidth(traffic == "read" ? Traffic::kRead : Traffic::kCopy, bytes, threads, seconds);
        },
        "traffic"_a, "bytes"_a, "threads"_a = 1, "seconds"_a = 0.1,
        "Bytes a second that `threads` together read, or read and write, each on a buffer of `bytes`.");
}
