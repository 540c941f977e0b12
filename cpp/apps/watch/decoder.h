// Frames of one container, in the order in which they are shown, by libav. spec/stream.md
#pragma once
#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "live.h"

struct AVCodecContext;
struct AVFormatContext;
struct AVFrame;
struct AVIOContext;
struct AVPacket;

namespace hasten {

using Clock = std::chrono::steady_clock;

// A frame with the decoder's memory, which it holds.
struct Decoded {
    VideoFrame frame;
    bool trusted = true;
    Clock::time_point arrived;  // when its packet was read
    std::shared_ptr<AVFrame> owner;
};

struct Patience {
    double stall_s = 10, backoff_s = 0.5, most_backoff_s = 10, give_up_s = 60;
};

enum class Kind { file, pipe, live };

// What was asked to end does so by this.
struct Stopped {};

// A pixel format that is not read: another connection would give it too.
struct Unread : Error {
    using Error::Error;
};

std::string shown(double seconds);  // as the lines have it

void set_up_libav();  // once, before the first Decoder

bool is_camera(const std::string& place);  // of V4L2
bool has_cameras();                        // whether libav reads them here

class Decoder {
public:
    // Throws Error where it cannot be opened or has no video. `asked`: whether to stop; `stalls`: told once that a pipe
    // gives nothing.
    Decoder(const std::string& place, Kind kind, const Patience& patience, const std::atomic<bool>& asked,
            std::function<void()> stalls);
    ~Decoder();
    Decoder(const Decoder&) = delete;
    // Gives each frame to `take`, to the end; why it broke, or nothing. A live one breaks where its packets give no
    // frames. Throws Unread.
    std::string run(const std::function<void(Decoded)>& take);

    struct Interrupt {
        const std::atomic<bool>* asked;
        Clock::time_point until;
    };
    struct Pipe;

private:
    void open(const std::string& place, Kind kind, std::function<void()> stalls);
    int input(const std::string& place, const char* coded);
    bool receive(const std::function<void(Decoded)>& take);
    std::string blind(Clock::time_point came, Clock::time_point framed) const;
    bool is_trusted(const AVFrame& frame, Clock::time_point came);
    Decoded given(std::shared_ptr<AVFrame> frame);

    Kind kind_;
    Patience patience_;
    Interrupt interrupt_;
    std::unique_ptr<Pipe> pipe_;
    AVFormatContext* container_ = nullptr;
    AVCodecContext* codec_ = nullptr;
    int stream_ = -1;
    std::optional<Clock::time_point> damaged_;  // when the last damaged packet was read, since the last key frame
    std::map<std::int64_t, Clock::time_point> arrivals_;
    Clock::time_point arrived_;
};

}  // namespace hasten
