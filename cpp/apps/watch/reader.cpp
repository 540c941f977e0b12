#include "reader.h"

#include <sys/stat.h>

#include <algorithm>
#include <optional>

namespace hasten {
namespace {

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// When a frame of a file would be shown.
class Pace {
public:
    double left(const VideoFrame& frame) {
        if (frame.time == kNoTimestamp) return 0;
        if (!began_) began_ = Clock::now(), first_ = frame.time;
        return std::max(0.0, static_cast<double>(frame.time - first_) / 1e9 - seconds_since(*began_));
    }

private:
    std::optional<Clock::time_point> began_;
    Nanoseconds first_ = 0;
};

}  // namespace

Source Source::of(const std::string& place, bool live) {
    if (place == "-") return {place, Kind::pipe, live};
    if (place.find("://") != std::string::npos && place.rfind("file:", 0) != 0) return {place, Kind::live, true};
    struct stat about {};
    if (::stat(place.c_str(), &about))
        throw Error(Error::input, place + " does not exist", "give a video file, a device, a URL, or - for a pipe");
    if (is_camera(place) && !has_cameras())
        throw Error(Error::missing, "hasten-watch was built without libavdevice, which reads " + place,
                    "install libavdevice-dev beside the other libraries of libav, or watch without --cpp");
    if (S_ISCHR(about.st_mode)) return {place, Kind::live, true};
    if (S_ISFIFO(about.st_mode)) return {place, Kind::pipe, live};
    if (!S_ISREG(about.st_mode))
        throw Error(Error::input, place + " is neither a file nor a device", "give a video file, a device, a URL, or -");
    return {place, Kind::file, live, live};
}

Reader::Reader(const Source& source, Waiting& waiting, const Patience& patience)
    : source_(source), waiting_(waiting), patience_(patience), thread_([this] { run(); }) {}

// Whatever is thrown ends this source, and no other.
void Reader::run() {
    State end;
    try {
        end = read();
    } catch (const Stopped&) {
        end = {"stopped", false, true, false};
    } catch (const std::exception& fault) {
        end = {fault.what(), false, true, true};
    }
    waiting_.put(end);
    ended_ = true;
}

// Connection after connection of a live source; the one that a file or a pipe has.
State Reader::read() {
    double wait = patience_.backoff_s;
    for (;;) {
        const std::int64_t before = frames_;
        std::string fault;
        try {
            fault = connection();
        } catch (const Unread&) {
            throw;
        } catch (const Error& refused) {
            if (source_.kind != Kind::live) throw;
            fault = refused.what();
        }
        if (source_.kind != Kind::live) {
            if (!frames_) return {"gave no frame" + (fault.empty() ? "" : " (" + fault + ")"), false, true, true};
            return {fault.empty() ? "ended" : "ended early (" + fault + ")", false, true, !fault.empty()};
        }
        if (frames_ > before) wait = patience_.backoff_s;
        if (seconds_since(framed_) > patience_.give_up_s)
            return {"gave no frame for " + shown(patience_.give_up_s) + " s (" + fault + ")", false, true, true};
        waiting_.put(State{"is opened again in " + shown(wait) + " s (" + (fault.empty() ? "it ended" : fault) + ")"});
        pause(wait);
        wait = std::min(2 * wait, patience_.most_backoff_s);
    }
}

// All frames of one connection; why it broke, or nothing where it came to its end.
std::string Reader::connection() {
    Decoder decoder(source_.place, source_.kind, patience_, asked_, [this] {
        waiting_.put(State{"gives nothing for " + shown(patience_.stall_s) + " s"});
    });
    waiting_.put(State{"opened", true});
    Pace pace;
    return decoder.run([&](Decoded frame) {
        if (source_.paced) pause(pace.left(frame.frame));
        if (asked_) throw Stopped{};
        framed_ = Clock::now(), ++frames_;
        if (!waiting_.put(std::move(frame))) throw Stopped{};
    });
}

void Reader::pause(double seconds) {
    for (auto start = Clock::now(); seconds_since(start) < seconds;) {
        if (asked_) throw Stopped{};
        const double left = std::max(0.0, seconds - seconds_since(start));
        std::this_thread::sleep_for(std::chrono::duration<double>(std::min(0.05, left)));
    }
}

}  // namespace hasten
