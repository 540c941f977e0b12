// The last steps: grey levels -> normalised values in the tensor's layout and dtype.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "prepare_plan.h"

namespace hasten {

class TensorWriter {
public:
    // Rows have `row_channels` interleaved: the tensor's own number, or one that stands for all of them.
    TensorWriter(const Prepare& how, const Plan& plan, int row_channels);
    std::array<int, 3> shape() const;
    std::size_t bytes() const { return bytes_; }
    void put(const std::uint8_t* row, int y, void* tensor) const;

private:
    void put_floats(const std::uint8_t* row, int y, float* tensor) const;
    void put_bytes(const std::uint8_t* row, int y, std::uint8_t* tensor) const;

    int width_, height_, channels_, row_channels_;
    bool planar_, bytes_wanted_;
    std::size_t bytes_;
    std::vector<std::array<float, 256>> tables_;  // normalised, of each channel and level
};

}  // namespace hasten
