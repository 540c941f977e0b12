// Types, shapes, arrays and frames: the values that go in and out.
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>

#include "hasten/hasten.h"

namespace hasten {
namespace {

constexpr std::size_t alignment = 64;  // a cache line, and the widest vector

struct Kind {
    const char* name;
    std::size_t size;
};
constexpr Kind kinds[] = {{"bool", 1},  {"float16", 2}, {"float32", 4}, {"float64", 8}, {"int8", 1},   {"int16", 2},
                          {"int32", 4}, {"int64", 8},   {"uint8", 1},   {"uint16", 2},  {"uint32", 4}, {"uint64", 8}};

}  // namespace

Error::Error(Kind kind, const std::string& fault, const std::string& mend)
    : std::runtime_error(mend.empty() ? fault : fault + "; " + mend), kind_(kind), fault_(fault) {}

const char* name_of(Type type) { return kinds[static_cast<std::size_t>(type)].name; }
std::size_t size_of(Type type) { return kinds[static_cast<std::size_t>(type)].size; }

Shape::Shape(std::initializer_list<std::size_t> lengths) {
    for (std::size_t length : lengths) push(length);
}

void Shape::push(std::size_t length) {
    if (rank_ == max_rank) throw Error(Error::input, "an array has more than 16 axes", "use fewer");
    lengths_[rank_++] = length;
}

std::size_t Shape::count() const {
    std::size_t product = 1;
    for (std::size_t length : *this) {
        if (length && product > std::numeric_limits<std::size_t>::max() / 16 / length)
            throw Error(Error::input, "an array has more values than there is memory for", "use a smaller one");
        product *= length;
    }
    return product;
}

bool Shape::operator==(const Shape& other) const {
    return rank_ == other.rank_ && std::equal(begin(), end(), other.begin());
}

void Array::Release::operator()(void* memory) const { ::operator delete(memory, std::align_val_t(alignment)); }

void Array::resize(Type dtype, const Shape& shape) {
    std::size_t bytes = shape.count() * size_of(dtype);
    if (bytes > capacity_ || !memory_) {
        memory_.reset();
        capacity_ = 0;
        std::size_t size = bytes ? bytes : 1;
        memory_.reset(::operator new(size, std::align_val_t(alignment)));
        capacity_ = size;
    }
    dtype_ = dtype, shape_ = shape, bytes_ = bytes;
}

void Array::assign(const View& values) {
    resize(values.dtype, values.shape);
    if (bytes_) std::memcpy(data(), values.data, bytes_);
}

Array& Array::operator=(const Array& other) {
    if (this != &other) assign(other.view());
    return *this;
}

Array& Array::operator=(Array&& other) noexcept {
    swap(other);
    return *this;
}

void Array::swap(Array& other) noexcept {
    std::swap(dtype_, other.dtype_);
    std::swap(shape_, other.shape_);
    std::swap(bytes_, other.bytes_);
    std::swap(capacity_, other.capacity_);
    memory_.swap(other.memory_);
}

Frame& Frame::add(const std::string& input, const Image& image) {
    for (Raw& raw : raw_) {
        if (raw.input == input && !raw.images.empty()) {
            raw.images.push_back(image);
            return *this;
        }
    }
    raw_.push_back({input, {}, {image}});
    return *this;
}

Frame& Frame::add(const std::string& input, const View& array) {
    raw_.push_back({input, array, {}});
    return *this;
}

}  // namespace hasten
