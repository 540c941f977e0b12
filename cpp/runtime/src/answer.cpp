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
    if (ends.empty() && !rows) return "null";
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
        const char* between = "";
        for (int index : classes(sample, row)) text += between + std::to_string(index), between = ", ";
        text += ']' + closed;
    }
    return text.empty() ? "[]" : text;
}

}  // namespace hasten
