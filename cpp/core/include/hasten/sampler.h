// Video by timestamp: which frame stands for which moment of an even grid. spec/time.md
#pragma once
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "hasten/grid.h"

namespace hasten {

constexpr Nanoseconds kNoTimestamp = std::numeric_limits<Nanoseconds>::min();  // of a frame that has none

// A point of the grid, and the frame that stands for it. Within a segment no point is given twice or left out.
struct Sample {
    Nanoseconds time;      // of the point, on the stream's clock, carried on where that wraps
    std::int64_t frame;    // running number of the frame pushed, from 0; the dropped ones have theirs too
    std::int64_t index;    // of the point within its segment, from 0
    std::int64_t segment;  // from 0
};

// Puts frames of any rate on a grid of `fps` a second that begins `phase` after the first frame. Frames further apart
// than `max_gap`, forwards or backwards, are of two segments, and each segment has a grid of its own.
class Sampler {
public:
    struct Settings {
        double fps = 30;  // points a second
        Nanoseconds phase = 0;
        Nanoseconds max_gap = 500'000'000;
        std::optional<Nanoseconds> wrap;  // how long the clock runs before it is 0 again; none: it never is
    };
    // Throws std::invalid_argument, with a sentence.
    explicit Sampler(const Settings& settings);

    // Appends the points that this frame settles: each has this frame, or the one that was taken before it. So a caller
    // keeps one frame. Returns false where the frame is dropped: no timestamp, or not later than the last.
    bool push(Nanoseconds timestamp, std::vector<Sample>& samples);
    std::int64_t dropped() const { return dropped_; }

private:
    struct Shown {
        Nanoseconds time;
        std::int64_t frame;
    };
    Nanoseconds step_to(Nanoseconds timestamp) const;
    void begin(const Shown& first);
    void settle(const Shown& now, Nanoseconds ahead, std::vector<Sample>& samples);

    Settings settings_;
    Grid grid_;
    Nanoseconds start_ = 0;  // of the segment's grid
    Nanoseconds raw_ = 0;    // the last timestamp taken, as it came
    Shown last_{0, 0};
    std::int64_t segment_ = -1, frames_ = 0, dropped_ = 0;
};

}  // namespace hasten
