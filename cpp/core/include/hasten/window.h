// When a window of samples is full, and where in a ring its samples lie. spec/time.md
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "hasten/sampler.h"

namespace hasten {

// A window that is full with the sample just pushed.
struct WindowReady {
    Nanoseconds end;  // grid time of that sample
    double coverage;  // different frames in the window / its length: 1 where no frame is in it twice
};

// Windows of `seconds` at `fps`, one every `stride_s`; none reaches over the end of a segment. It keeps places, not
// frames: the caller has a ring of `length()` slots.
class Window {
public:
    enum class Padding { wait, repeat };  // while a segment is shorter than a window: none, or its first frame again
    struct Settings {
        double seconds = 1, fps = 30, stride_s = 1;
        Padding padding = Padding::wait;
    };
    // Throws std::invalid_argument, with a sentence.
    explicit Window(const Settings& settings);
    std::size_t length() const { return slots_.size(); }  // samples in a window: seconds * fps, to the nearest
    std::size_t stride() const { return stride_; }        // samples from one window to the next: stride_s * fps

    // The slot where the sample belongs, and whether a window is full with it.
    struct Pushed {
        std::size_t slot;
        std::optional<WindowReady> ready;
    };
    // Throws std::invalid_argument where it is not the next sample of its segment or the first of another one.
    Pushed push(const Sample& sample);

    // The slots of the window that was last full, its oldest sample first. Valid until the next one is.
    const std::vector<std::size_t>& slots() const { return slots_; }

private:
    void take(const Sample& sample, std::size_t slot);
    void fill_slots(std::size_t slot, std::size_t seen);

    std::size_t stride_;
    Padding padding_;
    std::vector<std::size_t> slots_;
    std::vector<unsigned char> fresh_;  // by slot: the sample has another frame than the one before it
    std::size_t changes_ = 0;           // of frame, within the last `length` samples of this segment
    std::optional<Sample> last_;
};

}  // namespace hasten
