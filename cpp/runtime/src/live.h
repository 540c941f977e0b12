// A bundle on one stream: each frame goes through the frame stages once, and a ring keeps what windows are made of.
// spec/stream.md
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <tuple>
#include <vector>

#include "contents.h"
#include "hasten/events.h"
#include "hasten/sampler.h"
#include "hasten/window.h"

namespace hasten {

// A frame of video as its decoder holds it.
struct VideoFrame {
    Nanoseconds time = kNoTimestamp;
    Image image;                   // I420 or NV12
    std::optional<Matrix> matrix;  // as the stream says; none: the pipeline's hold
    std::optional<Range> range;
};

// A window that is full.
struct ScoredWindow {
    Nanoseconds end;
    double coverage;
    std::int64_t segment;
    std::vector<double> scores;  // of each class, the largest over the rows
};

struct LiveCounts {
    std::int64_t samples = 0, encoded = 0, same_bytes = 0, windows = 0;
};

// What a bundle that watches says of time and of events.
struct Watching {
    Window::Settings window;
    Nanoseconds max_gap;
    Hysteresis::Settings event;

    // Throws Error for a bundle that cannot watch: no window, other inputs than the frames of one video, no events.
    static Watching of(const Bundle::Contents& contents);
};

// One thread at a time.
class Live {
public:
    Live(std::shared_ptr<const Bundle::Contents> contents, const Watching& watching, LiveCounts& counts);
    // A sample, and the frame that stands for it; `number` tells frames apart. The window that is full with it.
    std::optional<ScoredWindow> push(const Sample& sample, const VideoFrame& frame);

private:
    void encode(const VideoFrame& frame);
    void prepare(const VideoFrame& frame);
    void keep(std::size_t slot);
    ScoredWindow score(const WindowReady& ready, std::int64_t segment);

    std::shared_ptr<const Bundle::Contents> contents_;
    LiveCounts& counts_;
    Flow flow_;
    Window window_;
    std::vector<std::size_t> kept_;         // numbers of the tensors in the ring
    std::vector<Array> now_, ring_;         // of each: of the last frame [1, 1, ...]; of the window [frames, ...]
    std::map<std::tuple<int, int, int, int, int>, Preparer> preparers_;  // by format, colours and size
    Array prepared_, before_;
    std::optional<std::int64_t> last_;  // number of the frame whose tensors are in now_
};

}  // namespace hasten
