// Preparer for Python: numpy arrays in, where they lie, and a numpy array out.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <cctype>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "hasten/prepare.h"

namespace nb = nanobind;
using namespace hasten;

namespace {

using Array = nb::ndarray<nb::ro, nb::device::cpu>;
using Writable = nb::ndarray<nb::c_contig, nb::device::cpu>;
using Sides = std::vector<std::size_t>;

[[noreturn]] void refuse(const std::string& sentence) { throw std::invalid_argument(sentence); }

std::string text(nb::handle value) { return nb::cast<std::string>(nb::str(value)); }

std::string shown(const Sides& sides) {
    std::string all = "[";
    for (std::size_t side : sides) all += (all.size() > 1 ? ", " : "") + std::to_string(side);
    return all + "]";
}

// ---- from keywords to a Prepare

// One of the names, in whatever case.
template <class T>
T chosen(const std::string& key, nb::handle value, std::initializer_list<std::pair<const char*, T>> names) {
    std::string given = text(value), allowed;
    for (char& letter : given) letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
    for (const auto& [name, meaning] : names) {
        if (given == name) return meaning;
        allowed += (allowed.empty() ? "" : ", ") + std::string(name);
    }
    refuse(key + " is " + text(value) + "; it has to be one of " + allowed);
}

template <class T>
std::vector<T> numbers(const std::string& key, nb::handle value) {
    std::vector<T> all;
    if (!nb::isinstance<nb::sequence>(value) || nb::isinstance<nb::str>(value))
        refuse(key + " is " + text(value) + "; it has to be a sequence of numbers");
    for (nb::handle one : nb::borrow<nb::sequence>(value)) {
        T number;
        if (!nb::try_cast(one, number))
            refuse(key + " has the value " + text(one) + ", which is not a number that fits");
        all.push_back(number);
    }
    return all;
}

std::vector<int> integers(const std::string& key, nb::handle value, std::size_t count, const char* names) {
    std::vector<int> all = numbers<int>(key, value);
    if (all.size() != count) refuse(key + " is " + text(value) + "; it has to be " + names + ", in pixels");
    return all;
}

std::vector<float> floats(const std::string& key, nb::handle value) {
    std::vector<double> given = numbers<double>(key, value);
    return std::vector<float>(given.begin(), given.end());
}

void set(Prepare& how, const std::string& key, nb::handle value) {
    if (key == "source")
        how.source = chosen<Format>(key, value, {{"rgb", Format::rgb}, {"bgr", Format::bgr}, {"grey", Format::grey},
                                                 {"i420", Format::i420}, {"nv12", Format::nv12}});
    else if (key == "matrix")
        how.matrix = chosen<Matrix>(key, value, {{"bt601", Matrix::bt601}, {"bt709", Matrix::bt709}});
    else if (key == "range")
        how.range = chosen<Range>(key, value, {{"limited", Range::limited}, {"full", Range::full}});
    else if (key == "colour")
        how.colour = chosen<Colour>(key, value, {{"rgb", Colour::rgb}, {"bgr", Colour::bgr}, {"grey", Colour::grey}});
    else if (key == "crop") {
        if (value.is_none()) return;
        auto box = integers(key, value, 4, "(top, left, height, width)");
        how.crop = Box{box[0], box[1], box[2], box[3]};
    } else if (key == "size") {
        if (value.is_none()) return;
        auto size = integers(key, value, 2, "(height, width)");
        how.size = Size{size[0], size[1]};
    } else if (key == "fit")
        how.fit = chosen<Fit>(key, value, {{"stretch", Fit::stretch}, {"letterbox", Fit::letterbox},
                                           {"centre_crop", Fit::centre_crop}});
    else if (key == "filter")
        how.filter = chosen<Filter>(key, value, {{"bilinear", Filter::bilinear}, {"bicubic", Filter::bicubic}});
    else if (key == "fill") {
        int fill;
        if (!nb::try_cast(value, fill) || fill < 0 || fill > 255)
            refuse("fill is " + text(value) + "; it has to be a grey level 0..255");
        how.fill = static_cast<std::uint8_t>(fill);
    } else if (key == "mean")
        how.mean = floats(key, value);
    else if (key == "std")
        how.std = floats(key, value);
    else if (key == "layout")
        how.layout = chosen<Layout>(key, value, {{"nchw", Layout::nchw}, {"nhwc", Layout::nhwc}});
    else if (key == "dtype")
        how.dtype = chosen<Dtype>(key, value, {{"float32", Dtype::float32}, {"uint8", Dtype::uint8}});
    else
        refuse("there is no setting '" + key + "' of an image's preparation");
}

Prepare parsed(const nb::kwargs& settings) {
    Prepare how;
    for (auto [key, value] : settings) set(how, text(key), value);
    return how;
}

// ---- from arrays to an Image

Array array_of(nb::handle value, const char* what) {
    Array array;
    if (!nb::try_cast(value, array, false) || array.dtype() != nb::dtype<std::uint8_t>())
        refuse(std::string(what) + " has to be a uint8 array");
    return array;
}

template <class T>
Sides sides(const T& array) {
    Sides all;
    for (std::size_t i = 0; i < array.ndim(); ++i) all.push_back(array.shape(i));
    return all;
}

// Bytes from row to row, of an array whose rows are without gaps.
std::ptrdiff_t row_stride(const Array& array) {
    std::int64_t wanted = 1;
    for (std::size_t i = array.ndim() - 1; i > 0; wanted *= static_cast<std::int64_t>(array.shape(i--)))
        if (array.shape(i) > 1 && array.stride(i) != wanted)
            refuse("the pixels of a row do not lie side by side; give numpy.ascontiguousarray(image)");
    return static_cast<std::ptrdiff_t>(array.stride(0));
}

void put_plane(Image& image, int index, const Array& array, const Sides& wanted) {
    if (sides(array) != wanted)
        refuse("plane " + std::to_string(index) + " has the shape " + shown(sides(array)) + ", expected " +
               shown(wanted));
    image.plane[index] = static_cast<const std::uint8_t*>(array.data());
    image.stride[index] = row_stride(array);
}

// Luma and chroma in one array [height * 3 / 2, width].
void put_packed(Image& image, const Array& array) {
    const std::size_t w = image.width, h = image.height;
    if (w % 2 || h % 2)
        refuse("an image of " + std::to_string(w) + "x" + std::to_string(h) +
               " does not fit into one array; give its planes");
    put_plane(image, 0, array, {h / 2 * 3, w});
    image.plane[1] = image.plane[0] + static_cast<std::ptrdiff_t>(h) * image.stride[0];
    if (image.format == Format::nv12) {
        image.stride[1] = image.stride[0];
        return;
    }
    // Two rows of chroma in a row of the array: only without gaps are they evenly apart.
    if (image.stride[0] != static_cast<std::ptrdiff_t>(w))
        refuse("an I420 image in one array has to be without gaps; give numpy.ascontiguousarray(image), or its planes");
    image.stride[1] = image.stride[2] = static_cast<std::ptrdiff_t>(w / 2);
    image.plane[2] = image.plane[1] + h / 2 * (w / 2);
}

class PyPreparer {
public:
    PyPreparer(int width, int height, const nb::kwargs& how)
        : how_(parsed(how)), width_(width), height_(height), preparer_(how_, width, height) {}

    nb::tuple shape() const {
        auto sides = preparer_.shape();
        return nb::make_tuple(sides[0], sides[1], sides[2]);
    }

    nb::object run(const nb::args& planes, const nb::object& out) {
        Image image;
        image.format = how_.source;
        image.width = width_;
        image.height = height_;
        std::vector<Array> arrays;  // which keep the memory
        for (nb::handle plane : planes) arrays.push_back(array_of(plane, "the image"));
        describe(image, arrays);
        auto shape = preparer_.shape();
        const Sides wanted(shape.begin(), shape.end());
        if (out.is_none()) {
            nb::object made = empty(wanted);
            fill(image, nb::cast<Writable>(made).data());
            return made;
        }
        fill(image, checked(out, wanted).data());
        return out;
    }

private:
    void describe(Image& image, const std::vector<Array>& arrays) const {
        const std::size_t w = width_, h = height_, count = arrays.size();
        const Sides chroma{(h + 1) / 2, (w + 1) / 2};
        if (image.format == Format::rgb || image.format == Format::bgr) {
            require(count == 1, "one array [H, W, 3]");
            put_plane(image, 0, arrays[0], {h, w, 3});
        } else if (image.format == Format::grey) {
            require(count == 1, "one array [H, W]");
            put_plane(image, 0, arrays[0], {h, w});
        } else if (count == 1) {
            put_packed(image, arrays[0]);
        } else if (image.format == Format::i420) {
            require(count == 3, "one array [H * 3 / 2, W], or the planes Y, U and V");
            put_plane(image, 0, arrays[0], {h, w});
            put_plane(image, 1, arrays[1], chroma);
            put_plane(image, 2, arrays[2], chroma);
        } else {
            require(count == 2, "one array [H * 3 / 2, W], or the planes Y and UV");
            put_plane(image, 0, arrays[0], {h, w});
            put_plane(image, 1, arrays[1], {chroma[0], chroma[1], 2});
        }
    }

    static void require(bool right, const char* what) {
        if (!right) refuse(std::string("an image of this format is ") + what);
    }

    nb::dlpack::dtype dtype() const {
        return how_.dtype == Dtype::uint8 ? nb::dtype<std::uint8_t>() : nb::dtype<float>();
    }

    nb::object empty(const Sides& wanted) const {
        auto* memory = new std::uint8_t[preparer_.bytes()];
        nb::capsule owner(memory, [](void* p) noexcept { delete[] static_cast<std::uint8_t*>(p); });
        return nb::cast(nb::ndarray<nb::numpy>(memory, 3, wanted.data(), owner, nullptr, dtype()));
    }

    Writable checked(nb::handle out, const Sides& wanted) const {
        Writable array;
        if (!nb::try_cast(out, array, false) || array.dtype() != dtype() || sides(array) != wanted)
            refuse(std::string("out has to be a writable ") + (how_.dtype == Dtype::uint8 ? "uint8" : "float32") +
                   " array without gaps, of shape " + shown(wanted));
        return array;
    }

    // Other threads may go on meanwhile; those that share this object wait for each other.
    void fill(const Image& image, void* tensor) {
        nb::gil_scoped_release released;
        std::lock_guard<std::mutex> alone(mutex_);
        preparer_.run(image, tensor);
    }

    Prepare how_;
    int width_, height_;
    Preparer preparer_;
    std::mutex mutex_;
};

}  // namespace

void bind_pixels(nb::module_& m) {
    m.def("vectorised", &vectorised, nb::arg("wanted"),
          "Whether Preparers made from now on use vector instructions; returns whether they do.");
    nb::class_<PyPreparer>(m, "Preparer", "Prepares images of one size; the same bytes in Python and in C++.")
        .def(nb::init<int, int, const nb::kwargs&>(), nb::arg("width"), nb::arg("height"), nb::arg("how"),
             "Images of this size in pixels; `how`: the fields of a bundle's `prepare`, those that are not as usual.")
        .def_prop_ro("shape", &PyPreparer::shape, "Of the tensor, without the batch.")
        .def("run", &PyPreparer::run, nb::arg("planes"), nb::kw_only(), nb::arg("out") = nb::none(),
             "Planes u8 -> the tensor, in `out` where it is given.");
}
