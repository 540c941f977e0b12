// Whether arrays are a signature's: names, types, shapes, free axes that agree.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "hasten/hasten.h"
#include "json.h"

namespace hasten {

Signature signature_of(const Json& data);     // that has passed the schema
std::string shown(const Tensor& tensor);      // x float32 [N, 6]
std::string shown(const Shape& shape);        // [1, 6]
std::string listed(const std::vector<Tensor>& tensors);  // ['x float32 [N, 6]']

using Axes = std::vector<std::pair<const std::string*, std::size_t>>;  // the lengths of free axes

// Throws Error (input) where the array is not what the tensor says. `axes` are those of the call so far.
void check(const Tensor& tensor, const Array& array, Axes& axes);

// The first axis that all inputs and outputs share where its length is fixed; 0 where there is none.
std::size_t fixed_batch(const Signature& signature);

}  // namespace hasten
