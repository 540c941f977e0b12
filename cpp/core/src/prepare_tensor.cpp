#include "prepare_tensor.h"

#include <cstring>
#include <limits>
#include <stdexcept>

namespace hasten {
namespace {

// A channel of a row, every `in_step`-th byte, through `value` to every `out_step`-th element.
template <int in_step, int out_step, class T, class Value>
void spread(const std::uint8_t* in, int width, T* out, Value value) {
    for (int x = 0; x < width; ++x) out[std::size_t(x) * out_step] = value(in[std::size_t(x) * in_step]);
}

template <class T, class Value>
void spread(int in_step, int out_step, const std::uint8_t* in, int width, T* out, Value value) {
    if (in_step == 1)
        (out_step == 1 ? spread<1, 1, T, Value> : spread<1, 3, T, Value>)(in, width, out, value);
    else
        (out_step == 1 ? spread<3, 1, T, Value> : spread<3, 3, T, Value>)(in, width, out, value);
}

}  // namespace

TensorWriter::TensorWriter(const Prepare& how, const Plan& plan, int row_channels)
    : width_(plan.canvas.width),
      height_(plan.canvas.height),
      channels_(plan.channels),
      row_channels_(row_channels),
      planar_(how.layout == Layout::nchw),
      bytes_wanted_(how.dtype == Dtype::uint8) {
    const std::uint64_t bytes = std::uint64_t(width_) * height_ * channels_ * (bytes_wanted_ ? 1 : sizeof(float));
    if (bytes > std::uint64_t(std::numeric_limits<std::ptrdiff_t>::max()))
        throw std::invalid_argument("the tensor is larger than memory can be");
    bytes_ = static_cast<std::size_t>(bytes);
    if (bytes_wanted_) return;
    tables_.resize(channels_);
    for (int c = 0; c < channels_; ++c)
        for (int level = 0; level < 256; ++level)
            tables_[c][level] = (static_cast<float>(level) - how.mean[how.mean.size() == 1 ? 0 : c]) /
                                how.std[how.std.size() == 1 ? 0 : c];
}

std::array<int, 3> TensorWriter::shape() const {
    if (planar_) return {channels_, height_, width_};
    return {height_, width_, channels_};
}

void TensorWriter::put(const std::uint8_t* row, int y, void* tensor) const {
    if (bytes_wanted_)
        put_bytes(row, y, static_cast<std::uint8_t*>(tensor));
    else
        put_floats(row, y, static_cast<float*>(tensor));
}

void TensorWriter::put_floats(const std::uint8_t* row, int y, float* tensor) const {
    const std::size_t begin = std::size_t(y) * width_ * (planar_ ? 1 : channels_);
    const std::size_t next = planar_ ? std::size_t(width_) * height_ : 1;  // the same pixel of the next channel
    for (int c = 0; c < channels_; ++c) {
        const float* table = tables_[c].data();
        spread(row_channels_, planar_ ? 1 : channels_, row + (row_channels_ == 1 ? 0 : c), width_,
               tensor + begin + c * next, [table](std::uint8_t level) { return table[level]; });
    }
}

void TensorWriter::put_bytes(const std::uint8_t* row, int y, std::uint8_t* tensor) const {
    const std::size_t begin = std::size_t(y) * width_ * (planar_ ? 1 : channels_);
    const std::size_t next = planar_ ? std::size_t(width_) * height_ : 1;
    if (channels_ == row_channels_ && (!planar_ || channels_ == 1)) {
        std::memcpy(tensor + begin, row, std::size_t(width_) * channels_);
        return;
    }
    for (int c = 0; c < channels_; ++c)
        spread(row_channels_, planar_ ? 1 : channels_, row + (row_channels_ == 1 ? 0 : c), width_,
               tensor + begin + c * next, [](std::uint8_t level) { return level; });
}

}  // namespace hasten
