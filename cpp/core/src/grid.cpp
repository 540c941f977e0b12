#include "hasten/grid.h"

#include <cmath>
#include <stdexcept>
#include <string>

namespace hasten {

Grid::Grid(double fps) {
    if (!(fps >= 0.001 && fps <= 1e6))
        throw std::invalid_argument("fps is " + std::to_string(fps) +
                                    "; it has to be between 0.001 and 1000000 samples a second");
    int exponent;
    const double mantissa = std::frexp(fps, &exponent);  // fps is mantissa * 2^exponent, and exponent <= 20
    parts_ = 2 * static_cast<std::uint64_t>(std::ldexp(mantissa, 53));
    // 2e9 * 2^(53 - exponent) / parts_, a bit at a time: the quotient is whole_, the remainder part_.
    part_ = 2'000'000'000;
    for (int bit = exponent; bit < 53; ++bit) {
        whole_ *= 2;
        part_ *= 2;
        if (part_ >= parts_) part_ -= parts_, ++whole_;
    }
    restart();
}

void Grid::next() {
    ++index_;
    elapsed_ += whole_;
    left_ += part_;
    if (left_ >= parts_) left_ -= parts_, ++elapsed_;
}

void Grid::restart() {
    index_ = 0;
    elapsed_ = 0;
    left_ = parts_ / 2;
}

}  // namespace hasten
