#include "hasten/window.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

namespace hasten {
namespace {

constexpr double kMostSamples = 1e6;

std::size_t samples(const char* name, double seconds, double fps) {
    if (!(seconds > 0) || std::isinf(seconds))
        throw std::invalid_argument(std::string(name) + " is " + std::to_string(seconds) +
                                    "; it has to be a number of seconds above 0");
    const double count = std::floor(seconds * fps + 0.5);
    if (!(count >= 1 && count <= kMostSamples))
        throw std::invalid_argument(std::string(name) + " is " + std::to_string(seconds) + ", which is " +
                                    (count < 1 ? "less than half a sample" : "more than 1000000 samples") +
                                    " at this fps");
    return static_cast<std::size_t>(count);
}

std::size_t length_of(const Window::Settings& settings) {
    Grid(settings.fps);  // throws where it means nothing
    return samples("seconds", settings.seconds, settings.fps);
}

}  // namespace

Window::Window(const Settings& settings)
    : stride_(1), padding_(settings.padding), slots_(length_of(settings)), fresh_(slots_.size()) {
    stride_ = samples("stride_s", settings.stride_s, settings.fps);
}

Window::Pushed Window::push(const Sample& sample) {
    const bool follows = last_ && sample.segment == last_->segment;
    const std::int64_t expected = follows ? last_->index + 1 : 0;
    if (sample.index != expected)
        throw std::invalid_argument("sample " + std::to_string(sample.index) + " of segment " +
                                    std::to_string(sample.segment) + " came where " + std::to_string(expected) +
                                    " was expected");
    const std::size_t index = static_cast<std::size_t>(sample.index), slot = index % length();
    take(sample, slot);
    Pushed pushed{slot, std::nullopt};
    const std::size_t seen = std::min(index + 1, length());
    // Counted so that the first full window is one of them, whatever the padding.
    const bool due = index % stride_ == (length() - 1) % stride_;
    if (!due || (seen < length() && padding_ == Padding::wait)) return pushed;
    fill_slots(slot, seen);
    pushed.ready = WindowReady{sample.time, static_cast<double>(changes_ + 1) / static_cast<double>(length())};
    return pushed;
}

// Counts the changes of frame after the window's first sample, which is itself no change.
void Window::take(const Sample& sample, std::size_t slot) {
    if (sample.index == 0) {
        changes_ = 0;
        fresh_[slot] = 0;
    } else {
        fresh_[slot] = sample.frame != last_->frame;
        changes_ += fresh_[slot];
    }
    if (static_cast<std::size_t>(sample.index) >= length()) {
        const std::size_t oldest = (slot + 1) % length();
        changes_ -= fresh_[oldest];
        fresh_[oldest] = 0;
    }
    last_ = sample;
}

// `seen` samples up to `slot`; before them the segment's first, which is then in slot 0.
void Window::fill_slots(std::size_t slot, std::size_t seen) {
    const std::size_t missing = length() - seen;
    for (std::size_t i = 0; i < length(); ++i)
        slots_[i] = i < missing ? 0 : (slot + 1 + i) % length();
}

}  // namespace hasten
