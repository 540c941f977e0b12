// Sampler, Window and Hysteresis for Python. Each takes one step or an array of them, and the answer is the same.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <mutex>
#include <type_traits>

#include "arrays.h"
#include "hasten/events.h"
#include "hasten/sampler.h"
#include "hasten/window.h"

namespace nb = nanobind;
using namespace hasten;
using arrays::any;

namespace {

using Int = std::int64_t;

// Samples are rows of four integers, here and in numpy.
constexpr std::size_t kFields = 4;
static_assert(std::is_standard_layout_v<Sample> && sizeof(Sample) == kFields * sizeof(Int), "a row has no gaps");

// ---- Sampler

class PySampler {
public:
    PySampler(double fps, Int phase, Int max_gap, std::optional<Int> wrap) : sampler_({fps, phase, max_gap, wrap}) {}

    nb::object push(nb::handle timestamps) {
        if (timestamps.is_none()) return run(&kNoTimestamp, 1);
        if (nb::isinstance<nb::int_>(timestamps)) {
            Int one;
            if (!nb::try_cast(timestamps, one)) arrays::refuse("a timestamp has to fit into 64 bits");
            return run(&one, 1);
        }
        auto all = arrays::seen<Int>(timestamps, "timestamps", "an integer, None or an int64 array [N]", {any});
        return run(all.data(), all.size());
    }

    Int dropped() {
        std::lock_guard<std::mutex> alone(mutex_);
        return sampler_.dropped();
    }

private:
    nb::object run(const Int* timestamps, std::size_t count) {
        std::vector<Sample> samples;
        {
            nb::gil_scoped_release released;
            std::lock_guard<std::mutex> alone(mutex_);
            for (std::size_t i = 0; i < count; ++i) sampler_.push(timestamps[i], samples);
        }
        const std::size_t rows = samples.size();
        return arrays::given<Int>(std::move(samples), {rows, kFields});
    }

    Sampler sampler_;
    std::mutex mutex_;
};

// ---- Window

Window::Settings window_settings(double seconds, double fps, double stride_s, const std::string& padding) {
    if (padding != "wait" && padding != "repeat")
        arrays::refuse("padding is " + padding + "; it has to be one of wait, repeat");
    return {seconds, fps, stride_s, padding == "wait" ? Window::Padding::wait : Window::Padding::repeat};
}

class PyWindow {
public:
    PyWindow(double seconds, double fps, double stride_s, const std::string& padding)
        : window_(window_settings(seconds, fps, stride_s, padding)) {}

    std::size_t length() const { return window_.length(); }
    std::size_t stride() const { return window_.stride(); }

    nb::tuple push(nb::handle samples) {
        auto rows = arrays::seen<Int>(samples, "samples", "an int64 array [N, 4]", {any, kFields});
        const std::size_t count = rows.shape(0);
        std::vector<Int> slots(count), at, end, order;
        std::vector<double> coverage;
        {
            nb::gil_scoped_release released;
            std::lock_guard<std::mutex> alone(mutex_);
            const Int* row = rows.data();
            for (std::size_t i = 0; i < count; ++i, row += kFields) {
                auto [slot, ready] = window_.push({row[0], row[1], row[2], row[3]});
                slots[i] = static_cast<Int>(slot);
                if (!ready) continue;
                at.push_back(static_cast<Int>(i));
                end.push_back(ready->end);
                coverage.push_back(ready->coverage);
                order.insert(order.end(), window_.slots().begin(), window_.slots().end());
            }
        }
        const std::size_t full = at.size();
        return nb::make_tuple(arrays::given(std::move(slots)), arrays::given(std::move(at)),
                              arrays::given(std::move(end)), arrays::given(std::move(coverage)),
                              arrays::given<Int>(std::move(order), {full, length()}));
    }

private:
    Window window_;
    std::mutex mutex_;
};

// ---- Hysteresis

// Events as four arrays: begin, end, peak, peak_time.
class Found {
public:
    void add(const std::optional<Event>& event) {
        if (!event) return;
        begin_.push_back(event->begin);
        end_.push_back(event->end);
        peak_.push_back(event->peak);
        peak_time_.push_back(event->peak_time);
    }
    nb::tuple given() {
        return nb::make_tuple(arrays::given(std::move(begin_)), arrays::given(std::move(end_)),
                              arrays::given(std::move(peak_)), arrays::given(std::move(peak_time_)));
    }

private:
    std::vector<Int> begin_, end_, peak_time_;
    std::vector<double> peak_;
};

class PyHysteresis {
public:
    PyHysteresis(double on, double off, Int refractory) : hysteresis_({on, off, refractory}) {}

    nb::tuple push(nb::handle times, nb::handle scores) {
        Int time;
        double score;
        if (nb::isinstance<nb::int_>(times)) {
            if (!nb::try_cast(times, time)) arrays::refuse("a time has to fit into 64 bits");
            if (!nb::try_cast(scores, score)) arrays::refuse("the score of one time has to be a number");
            return run(&time, &score, 1);
        }
        auto all = arrays::seen<Int>(times, "times", "an integer or an int64 array [N]", {any});
        auto held = arrays::seen<double>(scores, "scores", "a float64 array, as long as times,", {all.size()});
        return run(all.data(), held.data(), all.size());
    }

    nb::tuple flush() {
        Found found;
        {
            std::lock_guard<std::mutex> alone(mutex_);
            found.add(hysteresis_.flush());
        }
        return found.given();
    }

    nb::tuple open() {
        Found found;
        {
            std::lock_guard<std::mutex> alone(mutex_);
            found.add(hysteresis_.open());
        }
        return found.given();
    }

private:
    nb::tuple run(const Int* times, const double* scores, std::size_t count) {
        Found found;
        {
            nb::gil_scoped_release released;
            std::lock_guard<std::mutex> alone(mutex_);
            for (std::size_t i = 0; i < count; ++i) found.add(hysteresis_.push(times[i], scores[i]));
        }
        return found.given();
    }

    Hysteresis hysteresis_;
    std::mutex mutex_;
};

}  // namespace

void bind_time(nb::module_& m) {
    m.attr("NO_TIMESTAMP") = kNoTimestamp;
    nb::class_<PySampler>(m, "Sampler", "Puts frames of any rate on an even grid; times in nanoseconds.")
        .def(nb::init<double, Int, Int, std::optional<Int>>(), nb::arg("fps"), nb::kw_only(), nb::arg("phase") = 0,
             nb::arg("max_gap") = Sampler::Settings().max_gap, nb::arg("wrap") = nb::none())
        .def("push", &PySampler::push, nb::arg("timestamps").none(),
             "Timestamps i64 -> the samples that they settle, i64 [K, 4]: time, frame, index, segment.")
        .def_prop_ro("dropped", &PySampler::dropped, "Frames without a timestamp, or not later than the last.");
    nb::class_<PyWindow>(m, "Window", "When a window of samples is full, and where in a ring they lie.")
        .def(nb::init<double, double, double, const std::string&>(), nb::arg("seconds"), nb::arg("fps"),
             nb::arg("stride_s"), nb::arg("padding") = "wait")
        .def_prop_ro("length", &PyWindow::length, "Samples in a window.")
        .def_prop_ro("stride", &PyWindow::stride, "Samples from one window to the next.")
        .def("push", &PyWindow::push, nb::arg("samples"),
             "Samples i64 [N, 4] -> the slot of each i64 [N]; of the K windows that are full with one of them: which "
             "one i64 [K], the end i64 [K], the coverage f64 [K], the slots then, oldest first, i64 [K, length].");
    nb::class_<PyHysteresis>(m, "Hysteresis", "From scores to events: two thresholds, and a rest after each event.")
        .def(nb::init<double, double, Int>(), nb::kw_only(), nb::arg("on") = 0.5, nb::arg("off") = 0.5,
             nb::arg("refractory") = 0)
        .def("push", &PyHysteresis::push, nb::arg("times"), nb::arg("scores"),
             "Times i64 and scores f64 -> the events that end: begin i64, end i64, peak f64, peak_time i64, [K] each.")
        .def("flush", &PyHysteresis::flush, "The event that is still open, as `push` gives them.")
        .def_prop_ro("open", &PyHysteresis::open, "The event that goes on, as far as it has come, as `push` gives them.");
}
