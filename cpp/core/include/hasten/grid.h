// The moments k / fps in nanoseconds, each rounded once: no error adds up, however long the stream. spec/time.md
#pragma once
#include <cstdint>

namespace hasten {

using Nanoseconds = std::int64_t;

// A double is a whole number over a power of two, so 1e9 / fps is a fraction. It is walked along with its remainder, as
// a line is drawn on pixels: point k is at floor(k * 1e9 / fps + 1/2), in 64-bit integers alone.
class Grid {
public:
    // Throws std::invalid_argument for an fps outside 0.001 .. 1000000.
    explicit Grid(double fps);

    Nanoseconds elapsed() const { return elapsed_; }  // of this point since point 0
    std::int64_t index() const { return index_; }
    Nanoseconds period() const { return whole_; }  // 1e9 / fps, rounded down

    void next();
    void restart();

private:
    Nanoseconds whole_ = 0;                     // from point to point: whole_ + part_ / parts_
    std::uint64_t part_ = 0, parts_ = 0;        // parts_ < 2^54
    Nanoseconds elapsed_ = 0;
    std::uint64_t left_ = 0;                    // what rounding has put aside, in parts_; begins at one half
    std::int64_t index_ = 0;
};

}  // namespace hasten
