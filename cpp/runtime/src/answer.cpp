// An answer as people and files read it.
#include "hasten/hasten.h"

namespace hasten {

std::vector<int> Answer::classes(std::size_t sample, std::size_t row) const {
    std::size_t k = sample * rows + row;
    if (sample >= samples || row >= rows || k >= ends.size()) return {};
    return {best.begin() + static_cast<std::ptrdiff_t>(k ? ends[k - 1] : 0),
            best.begin() + static_cast<std::ptrdiff_t>(ends[k])};
}

std::string Answer::decision(std::size_t sample) const {
    if (kind == Kind::tensor) return "null";
    std::string text;
    for (std::size_t row = 0; row < rows; ++row) {
        // A bracket for each axis that begins or ends with this row.
        std::size_t block = 1;
        std::string opened, closed;
        for (std::size_t axis = axes.rank(); axis-- > 0;) {
            block *= axes[axis];
            if (row % block == 0) opened += '[';
            if ((row + 1) % block == 0) closed += ']';
        }
        text += (row ? ", " : "") + opened + '[';
        std::size_t k = sample * rows + row, first = k ? ends[k - 1] : 0;
        for (std::size_t i = first; i < ends[k]; ++i) {
            std::string index = std::to_string(best[i]);
            text += i > first ? ", " : "";
            text += kind == Kind::boxes ? '[' + index + ", " + std::to_string(labels[i]) + ']' : index;
        }
        text += ']' + closed;
    }
    return text.empty() ? "[]" : text;
}

}  // namespace hasten
