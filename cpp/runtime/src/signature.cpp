#include "signature.h"

#include <algorithm>
#include <cstring>

namespace hasten {
namespace {

Type type_of(const std::string& name) {
    for (int i = 0; i <= static_cast<int>(Type::uint64); ++i)
        if (name == name_of(static_cast<Type>(i))) return static_cast<Type>(i);
    throw Error(Error::bug, "the schema allows the type " + name + ", which this reader does not know");
}

Tensor tensor_of(const Json& data) {
    Tensor tensor{data["name"], type_of(data["dtype"]), {}};
    for (const Json& axis : data["shape"])
        tensor.shape.push_back(axis.is_string() ? Axis{0, axis} : Axis{axis.get<std::size_t>(), ""});
    return tensor;
}

std::vector<Tensor> tensors_of(const Json& data, const char* side) {
    std::vector<Tensor> tensors;
    for (const Json& item : data) {
        Tensor made = tensor_of(item);
        for (const Tensor& known : tensors)
            if (known.name == made.name)
                throw Error(Error::input, std::string("two ") + side + " are called " + repr(made.name),
                            "give each a name of its own");
        tensors.push_back(std::move(made));
    }
    return tensors;
}

bool fits(const Axis& axis, std::size_t length, Axes& axes) {
    if (axis.length) return axis.length == length;
    for (const auto& [name, known] : axes)
        if (*name == axis.name) return known == length;
    axes.emplace_back(&axis.name, length);
    return true;
}

}  // namespace

Signature signature_of(const Json& data) {
    return {tensors_of(data["inputs"], "inputs"), tensors_of(data["outputs"], "outputs")};
}

std::string shown(const Tensor& tensor) {
    std::string text = tensor.name + " " + name_of(tensor.dtype) + " [";
    const char* between = "";
    for (const Axis& axis : tensor.shape) {
        text += between + (axis.length ? std::to_string(axis.length) : axis.name);
        between = ", ";
    }
    return text + "]";
}

std::string shown(const Shape& shape) {
    std::string text = "[";
    for (std::size_t i = 0; i < shape.rank(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
    return text + "]";
}

std::string listed(const std::vector<Tensor>& tensors) {
    std::string text = "[";
    for (const Tensor& tensor : tensors) text += (text.size() > 1 ? ", " : "") + repr(shown(tensor));
    return text + "]";
}

void check(const Tensor& tensor, const Array& array, Axes& axes) {
    if (array.dtype() != tensor.dtype)
        throw Error(Error::input, repr(tensor.name) + " is " + name_of(array.dtype()),
                    std::string(name_of(tensor.dtype)) + " is expected: convert it");
    bool good = array.shape().rank() == tensor.shape.size();
    for (std::size_t i = 0; good && i < tensor.shape.size(); ++i) good = fits(tensor.shape[i], array.shape()[i], axes);
    if (!good)
        throw Error(Error::input, repr(tensor.name) + " has shape " + shown(array.shape()),
                    shown(tensor) + " is expected");
}

std::size_t fixed_batch(const Signature& signature) {
    std::size_t size = 0;
    for (const auto* side : {&signature.inputs, &signature.outputs}) {
        for (const Tensor& tensor : *side) {
            std::size_t length = tensor.shape.empty() ? 0 : tensor.shape[0].length;
            if (!length || (size && size != length)) return 0;
            size = length;
        }
    }
    return size;
}

}  // namespace hasten
