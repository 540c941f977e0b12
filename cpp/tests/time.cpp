// The sampler, the window and the events by hand; what is refused; and that a stream allocates nothing.
#include <cstdio>
#include <cstdlib>
#include <new>
#include <stdexcept>
#include <vector>

#include "allocations.h"
#include "hasten/events.h"
#include "hasten/sampler.h"
#include "hasten/window.h"

namespace {

using namespace hasten;

constexpr Nanoseconds kMs = 1'000'000, kSecond = 1'000'000'000;

int failures = 0;

void expect(bool right, const char* what) {
    if (!right) std::printf("FAILED: %s\n", what), ++failures;
}

template <class T>
bool refused(const typename T::Settings& settings) {
    try {
        T made(settings);
        return false;
    } catch (const std::invalid_argument&) {
        return true;
    }
}

void grid() {
    Grid thirty(30);
    for (int i = 0; i < 3; ++i) thirty.next();
    expect(thirty.elapsed() == 100 * kMs && thirty.index() == 3, "three thirtieths");
    for (int i = 3; i < 2'592'000; ++i) thirty.next();
    expect(thirty.elapsed() == 86'400 * kSecond, "a day of thirtieths");
    thirty.restart();
    thirty.next();
    expect(thirty.elapsed() == 33'333'333, "one thirtieth");
}

void sampler() {
    std::vector<Sample> samples;
    Sampler half({2, 0, 500 * kMs, std::nullopt});
    for (Nanoseconds time : {0 * kMs, 490 * kMs, 490 * kMs, 300 * kMs, 900 * kMs}) half.push(time, samples);
    expect(samples.size() == 3 && samples[1].frame == 1 && samples[1].time == 500 * kMs, "the nearest frame, at once");
    expect(samples[2].frame == 4 && samples[2].time == 1000 * kMs, "half a step ahead");
    expect(half.dropped() == 2, "repeated and backward frames are dropped");
    expect(!half.push(kNoTimestamp, samples) && half.dropped() == 3, "and one without a timestamp");
    half.push(1401 * kMs, samples);
    expect(samples.size() == 4 && samples[3].segment == 1 && samples[3].index == 0, "a gap begins a segment");
    expect(samples[3].time == 1401 * kMs && samples[3].frame == 6, "with a grid of its own");

    samples.clear();
    Sampler wrapping({10, 0, 500 * kMs, 2 * kSecond});
    for (Nanoseconds time : {1900 * kMs, 0 * kMs, 100 * kMs}) wrapping.push(time, samples);
    expect(samples.size() == 3 && samples[2].time == 2100 * kMs && samples[2].segment == 0, "a wrap is carried on");

    expect(refused<Sampler>({0, 0, kSecond, std::nullopt}), "no rate");
    expect(refused<Sampler>({30, -1, kSecond, std::nullopt}), "a phase before the first frame");
    expect(refused<Sampler>({30, 0, 0, std::nullopt}), "no gap at all");
    expect(refused<Sampler>({30, 0, kSecond, kSecond}), "a clock that wraps within the gap");
}

void window() {
    Window repeat({0.4, 10, 0.2, Window::Padding::repeat});
    auto push = [&](std::int64_t index, std::int64_t frame) {
        return repeat.push({index * 100 * kMs, frame, index, 0});
    };
    expect(!push(0, 0).ready, "none is due");
    auto second = push(1, 1);
    expect(second.ready && second.ready->coverage == 0.5, "two of four");
    expect(repeat.slots() == std::vector<std::size_t>{0, 0, 0, 1}, "the first is repeated");
    push(2, 1);
    auto full = push(3, 2);
    expect(full.slot == 3 && full.ready && full.ready->coverage == 0.75, "a repeated frame counts once");
    push(4, 3);
    expect(push(5, 4).ready && repeat.slots() == std::vector<std::size_t>{2, 3, 0, 1}, "oldest first");

    Window wait({0.4, 10, 0.2, Window::Padding::wait});
    int ready = 0;
    for (std::int64_t segment = 0; segment < 3; ++segment)
        for (std::int64_t index = 0; index < 3; ++index) ready += bool(wait.push({0, index, index, segment}).ready);
    expect(ready == 0, "no window over the end of a segment");
    try {
        wait.push({0, 0, 7, 2});
        expect(false, "a sample left out is refused");
    } catch (const std::invalid_argument&) {
    }
    expect(refused<Window>({0, 10, 1, Window::Padding::wait}), "no seconds");
    expect(refused<Window>({1, 10, 0.01, Window::Padding::wait}), "no stride");
}

void events() {
    Hysteresis steps({0.7, 0.3, 10});
    expect(!steps.push(0, 0.6) && !steps.open(), "it has not begun");
    expect(!steps.push(1, 0.7) && steps.open() && steps.open()->begin == 1, "it begins");
    expect(!steps.push(2, 0.3) && steps.open() && steps.open()->end == 2, "it goes on");
    auto event = steps.push(3, 0.2);
    expect(!steps.open(), "nothing is open");
    expect(event && event->begin == 1 && event->end == 2 && event->peak == 0.7 && event->peak_time == 1, "and ends");
    steps.push(11, 1);
    expect(!steps.flush(), "it rests");
    steps.push(12, 1);
    event = steps.flush();
    expect(event && event->begin == 12 && event->end == 12 && !steps.flush(), "the open event is told once");
    expect(refused<Hysteresis>({0.3, 0.7, 0}), "off above on");
    expect(refused<Hysteresis>({0.7, 0.3, -1}), "a rest below nothing");
}

void allocates_nothing() {
    Sampler sampler({30, 0, 500 * kMs, std::nullopt});
    Window window({1, 30, 0.1, Window::Padding::repeat});
    Hysteresis hysteresis({0.5, 0.5, 0});
    std::vector<Sample> samples;
    samples.reserve(32);
    const std::size_t before = allocations;
    std::size_t ready = 0;
    for (std::int64_t frame = 0; frame < 6000; ++frame) {
        samples.clear();
        // 60 frames a second, with a gap now and then.
        sampler.push(frame * kSecond / 60 + frame / 1000 * kSecond, samples);
        for (const Sample& sample : samples) {
            auto pushed = window.push(sample);
            ready += bool(pushed.ready);
            if (pushed.ready) hysteresis.push(sample.time, frame % 7 < 3);
        }
    }
    expect(allocations == before, "nothing is allocated");
    expect(ready > 900, "windows were full");
}

}  // namespace

int main() {
    grid();
    sampler();
    window();
    events();
    allocates_nothing();
    return failures ? 1 : 0;
}
