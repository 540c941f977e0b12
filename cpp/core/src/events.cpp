#include "hasten/events.h"

#include <cmath>
#include <stdexcept>
#include <string>

namespace hasten {

Hysteresis::Hysteresis(const Settings& settings) : settings_(settings) {
    if (!std::isfinite(settings.on) || !std::isfinite(settings.off) || settings.off > settings.on)
        throw std::invalid_argument("on is " + std::to_string(settings.on) + " and off " +
                                    std::to_string(settings.off) + "; off has to be at most on, both finite");
    if (settings.refractory < 0)
        throw std::invalid_argument("refractory is " + std::to_string(settings.refractory) +
                                    " ns; it has to be 0 or more");
}

std::optional<Event> Hysteresis::push(Nanoseconds time, double score) {
    if (last_ && time <= *last_)
        throw std::invalid_argument("a step at " + std::to_string(time) + " ns came after one at " +
                                    std::to_string(*last_) + " ns; flush between two stretches of time");
    last_ = time;
    if (!open_) {
        if (score >= settings_.on && !resting(time)) open_ = Event{time, time, score, time};
        return std::nullopt;
    }
    if (score >= settings_.off) {
        open_->end = time;
        if (score > open_->peak) open_->peak = score, open_->peak_time = time;
        return std::nullopt;
    }
    const std::optional<Event> over = open_;
    ended_ = over->end;
    open_.reset();
    return over;
}

std::optional<Event> Hysteresis::flush() {
    const std::optional<Event> over = open_;
    if (over) ended_ = over->end;
    open_.reset();
    last_.reset();
    return over;
}

// The difference is taken without a sign: any two times may be given.
bool Hysteresis::resting(Nanoseconds time) const {
    if (!ended_ || time < *ended_) return false;
    const std::uint64_t since = static_cast<std::uint64_t>(time) - static_cast<std::uint64_t>(*ended_);
    return since < static_cast<std::uint64_t>(settings_.refractory);
}

}  // namespace hasten
