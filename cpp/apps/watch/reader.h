// Reads one source into its queue, in a thread of its own, to its end or until it is told to stop.
#pragma once
#include <atomic>
#include <string>
#include <thread>

#include "waiting.h"

namespace hasten {

struct Source {
    std::string place;
    Kind kind;
    bool live = false;   // frames are dropped rather than waited for
    bool paced = false;  // a file is played at the pace of its timestamps

    // What a word of the command line means. Throws Error where there is no such file.
    static Source of(const std::string& place, bool live);
};

class Reader {
public:
    Reader(const Source& source, Waiting& waiting, const Patience& patience);
    ~Reader() { join(); }
    void stop() { asked_ = true; }
    bool ended() const { return ended_; }
    void join() {
        if (thread_.joinable()) thread_.join();
    }

private:
    void run();
    State read();
    std::string connection();
    void pause(double seconds);  // throws Stopped

    const Source& source_;
    Waiting& waiting_;
    Patience patience_;
    std::atomic<bool> asked_{false}, ended_{false};
    Clock::time_point framed_ = Clock::now();  // when the last frame came
    std::int64_t frames_ = 0;
    std::thread thread_;
};

}  // namespace hasten
