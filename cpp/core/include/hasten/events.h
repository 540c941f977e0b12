// From a score a step to events: two thresholds, and a rest after each. spec/time.md
#pragma once
#include <cstdint>
#include <optional>

#include "hasten/grid.h"

namespace hasten {

struct Event {
    Nanoseconds begin, end;  // of its first step, at or above `on`, and of its last, at or above `off`
    double peak;             // the highest score, and the first step that had it
    Nanoseconds peak_time;
};

// An event begins at or above `on` and ends below `off`; none begins within `refractory` after the end of the last one.
// A score that is no number is at or above nothing.
class Hysteresis {
public:
    struct Settings {
        double on = 0.5, off = 0.5;
        Nanoseconds refractory = 0;
    };
    // Throws std::invalid_argument, with a sentence.
    explicit Hysteresis(const Settings& settings);

    // The event that ended, if this step shows it. Throws std::invalid_argument for a time not later than the last.
    std::optional<Event> push(Nanoseconds time, double score);

    // The stream ends, or a new segment begins: the event still open, if one is. What comes next may be earlier; then
    // it is another clock, and nothing is left of the rest.
    std::optional<Event> flush();

    // The event that goes on, as far as it has come.
    const std::optional<Event>& open() const { return open_; }

private:
    bool resting(Nanoseconds time) const;

    Settings settings_;
    std::optional<Nanoseconds> last_;   // step since the last flush
    std::optional<Nanoseconds> ended_;  // the last event
    std::optional<Event> open_;
};

}  // namespace hasten
