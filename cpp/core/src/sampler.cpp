#include "hasten/sampler.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace hasten {
namespace {

constexpr Nanoseconds kLatest = (Nanoseconds{1} << 62) - 1;  // the difference of two such times fits as well
constexpr Nanoseconds kHour = 3'600'000'000'000;
constexpr Nanoseconds kMostPoints = 1'000'000;  // that one frame can settle: a bound for memory

void refuse(const std::string& sentence) { throw std::invalid_argument(sentence); }

}  // namespace

Sampler::Sampler(const Settings& settings) : settings_(settings), grid_(settings.fps) {
    const auto& [fps, phase, max_gap, wrap] = settings_;
    if (phase < 0 || phase > kHour)
        refuse("phase is " + std::to_string(phase) + " ns; it has to be between 0 and an hour");
    if (max_gap < 1 || max_gap > kHour)
        refuse("max_gap is " + std::to_string(max_gap) + " ns; it has to be above 0 and at most an hour");
    if (max_gap / std::max<Nanoseconds>(grid_.period(), 1) > kMostPoints)
        refuse("max_gap is " + std::to_string(max_gap) + " ns, more than " + std::to_string(kMostPoints) +
               " samples at this fps");
    if (wrap && (*wrap <= 2 * max_gap || *wrap > kLatest))
        refuse("wrap is " + std::to_string(*wrap) + " ns; it has to be more than twice max_gap, and less than 2^62");
}

bool Sampler::push(Nanoseconds timestamp, std::vector<Sample>& samples) {
    Shown now{timestamp, frames_++};
    if (timestamp < -kLatest || timestamp > kLatest) return ++dropped_, false;  // kNoTimestamp is one of these
    bool breaks = segment_ < 0;
    Nanoseconds step = 0;
    if (!breaks) {
        step = step_to(timestamp);
        if (step <= 0 && step >= -settings_.max_gap) return ++dropped_, false;
        breaks = step > settings_.max_gap || step < 0;
        if (settings_.wrap) now.time = last_.time + step;
        if (now.time > kLatest || now.time < -kLatest) now.time = timestamp, breaks = true;  // after centuries
    }
    raw_ = timestamp;
    if (breaks) begin(now), step = 0;
    settle(now, std::min(step, grid_.period()) / 2, samples);
    last_ = now;
    return true;
}

// From the last frame to this one. A clock that wraps goes the shorter way round.
Nanoseconds Sampler::step_to(Nanoseconds timestamp) const {
    const Nanoseconds step = timestamp - raw_;
    if (!settings_.wrap) return step;
    const Nanoseconds wrap = *settings_.wrap, forwards = (step % wrap + wrap) % wrap;
    return forwards <= wrap - forwards ? forwards : forwards - wrap;
}

void Sampler::begin(const Shown& first) {
    ++segment_;
    grid_.restart();
    start_ = first.time + settings_.phase;
    last_ = first;
}

// A point goes to the nearer frame, the earlier one of equals. One that is up to `ahead` in the future would most
// likely go to this frame when the next is here, so it does at once.
void Sampler::settle(const Shown& now, Nanoseconds ahead, std::vector<Sample>& samples) {
    for (;; grid_.next()) {
        const Nanoseconds point = start_ + grid_.elapsed();
        if (point - now.time > ahead) return;
        const Shown& nearer = point - last_.time <= now.time - point ? last_ : now;
        samples.push_back({point, nearer.frame, grid_.index(), segment_});
    }
}

}  // namespace hasten
