// Scores, classes and boxes for Python.
#include "hasten/answers.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <cmath>

#include "arrays.h"

namespace nb = nanobind;
using namespace hasten;
using arrays::any;

namespace {

constexpr double kLowest = -std::numeric_limits<double>::infinity();

Activation activation_of(const std::string& name) {
    if (name == "none") return Activation::none;
    if (name == "softmax") return Activation::softmax;
    if (name == "sigmoid") return Activation::sigmoid;
    arrays::refuse("activation is " + name + "; it has to be one of none, softmax, sigmoid");
}

double threshold_of(const std::optional<double>& given) {
    if (given && std::isnan(*given)) arrays::refuse("threshold is no number; None is for none");
    return given.value_or(kLowest);
}

arrays::Array<double> rows_of(nb::handle value) {
    auto rows = arrays::seen<double>(value, "rows", "a float64 array [N, classes]", {any, any});
    if (rows.shape(1) > static_cast<std::size_t>(std::numeric_limits<int>::max()))
        arrays::refuse("rows has more than 2^31 classes");
    return rows;
}

nb::object activated(nb::handle value, const std::string& kind) {
    const Activation activation = activation_of(kind);
    auto rows = rows_of(value);
    std::vector<double> scores(rows.size());
    {
        nb::gil_scoped_release released;
        activate(rows.data(), rows.shape(0), rows.shape(1), activation, scores.data());
    }
    return arrays::given<double>(std::move(scores), {rows.shape(0), rows.shape(1)});
}

nb::tuple best(nb::handle value, std::int64_t k, std::optional<double> threshold, const std::string& kind) {
    if (k < 1) arrays::refuse("k is " + std::to_string(k) + "; it has to be at least 1");
    const TopK how{static_cast<std::size_t>(k), threshold_of(threshold), activation_of(kind)};
    auto rows = rows_of(value);
    const std::size_t count = rows.shape(0), classes = rows.shape(1);
    std::vector<int> classes_found;
    std::vector<std::int64_t> ends(count);
    {
        nb::gil_scoped_release released;
        for (std::size_t i = 0; i < count; ++i) {
            top_k(rows.data() + i * classes, classes, how, classes_found);
            ends[i] = static_cast<std::int64_t>(classes_found.size());
        }
    }
    return nb::make_tuple(arrays::given(std::move(classes_found)), arrays::given(std::move(ends)));
}

nb::object kept(nb::handle boxes, nb::handle scores, nb::handle labels, double iou, std::optional<double> threshold) {
    auto sides = arrays::seen<double>(boxes, "boxes", "a float64 array [N, 4]", {any, 4});
    const std::size_t count = sides.shape(0);
    auto score = arrays::seen<double>(scores, "scores", "a float64 array, one for each box,", {count});
    auto label = arrays::seen<int>(labels, "labels", "an int32 array, one for each box,", {count});
    const double lowest = threshold_of(threshold);
    std::vector<int> found;
    {
        nb::gil_scoped_release released;
        std::vector<Detection> all(count);
        const double* box = sides.data();
        for (std::size_t i = 0; i < count; ++i, box += 4)
            all[i] = {box[0], box[1], box[2], box[3], score.data()[i], label.data()[i]};
        suppress(all.data(), count, iou, lowest, found);
    }
    return arrays::given(std::move(found));
}

}  // namespace

void bind_answers(nb::module_& m) {
    m.def("activate", &activated, nb::arg("rows"), nb::arg("activation"),
          "Rows f64 [N, classes] -> scores f64 [N, classes].");
    m.def("top_k", &best, nb::arg("rows"), nb::arg("k") = 1, nb::kw_only(), nb::arg("threshold") = nb::none(),
          nb::arg("activation") = "none",
          "Rows f64 [N, classes] -> the best classes of each row in turn i32 [K], best first; where they end i64 [N].");
    m.def("suppress", &kept, nb::arg("boxes"), nb::arg("scores"), nb::arg("labels"), nb::kw_only(),
          nb::arg("iou") = 0.5, nb::arg("threshold") = nb::none(),
          "Boxes f64 [N, 4] (left, top, right, bottom), scores f64 [N], labels i32 [N] -> those kept, best "
          "first, i32 [K].");
}
