// Numpy arrays at the door: looked at where they lie, and handed over without a copy.
#pragma once
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace arrays {

namespace nb = nanobind;

template <class T>
using Array = nb::ndarray<const T, nb::c_contig, nb::device::cpu>;

constexpr std::size_t any = static_cast<std::size_t>(-1);  // a side of whatever length

[[noreturn]] inline void refuse(const std::string& sentence) { throw std::invalid_argument(sentence); }

// `expected` is for the sentence: "an int64 array [N]".
template <class T>
Array<T> seen(nb::handle value, const char* name, const char* expected, std::initializer_list<std::size_t> shape) {
    Array<T> array;
    bool good = nb::try_cast(value, array, false) && array.ndim() == shape.size();
    std::size_t axis = 0;
    for (std::size_t side : shape) good = good && (side == any || array.shape(axis) == side), ++axis;
    if (!good) refuse(std::string(name) + " has to be " + expected + " without gaps");
    return array;
}

// The vector's own memory as an array of this shape, of the `Scalar`s that its elements are made of.
template <class Scalar, class T>
nb::object given(std::vector<T>&& values, std::initializer_list<std::size_t> shape) {
    auto* kept = new std::vector<T>(std::move(values));
    nb::capsule owner(kept, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
    auto* data = reinterpret_cast<Scalar*>(kept->data());
    return nb::cast(nb::ndarray<nb::numpy, Scalar>(data, shape, owner));
}

template <class T>
nb::object given(std::vector<T>&& values) {
    const std::size_t count = values.size();
    return given<T>(std::move(values), {count});
}

}  // namespace arrays
