// hasten._core: the native pipeline, for Python. Arrays go in and out without a copy; the GIL is released.
#include <nanobind/nanobind.h>

void bind_pixels(nanobind::module_& m);   // pixels.cpp
void bind_time(nanobind::module_& m);     // time.cpp
void bind_answers(nanobind::module_& m);  // answers.cpp
void bind_memory(nanobind::module_& m);   // memory.cpp

NB_MODULE(_core, m) {
    m.doc() = "The pipeline's machine code, and what it takes to tell how fast memory is.";
    bind_pixels(m);
    bind_time(m);
    bind_answers(m);
    bind_memory(m);
}
