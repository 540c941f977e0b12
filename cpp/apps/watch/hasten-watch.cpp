// hasten-watch BUNDLE SOURCE...: events of live video as JSON lines, as they happen. spec/stream.md says what it does.
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "stream.h"

namespace {

using namespace hasten;

constexpr const char* help = R"(usage: hasten-watch BUNDLE SOURCE...       one JSON line for each thing that happens

SOURCE is a video file, a device (/dev/video0), a URL that libav opens, or - for y4m on standard input.
--windows: tell the scores of every window too. --figures S: tell the figures of each source every S seconds.
--live: play files at their own pace, and drop what comes too late.
--no-verify: start without replaying the golden cases.
--patience S,S,S,S: seconds without anything until a source stalls, to the first and longest wait before it is opened
again, and without a frame until it is given up (10,0.5,10,60).
SIGTERM ends it like the end of its sources.
Exit codes: 0 done, 1 another answer than was measured, 2 usage, 3 a source failed, 5 a missing piece, 70 a bug.
)";

constexpr std::size_t waiting = 16;                // frames of a source between its decoder and the sampler
constexpr auto turn = std::chrono::milliseconds(20);  // at most between two looks at the sources, where nothing comes
constexpr auto aside = std::chrono::seconds(2);       // for readers to end

volatile std::sig_atomic_t asked = 0;

struct Options {
    std::string bundle;
    std::vector<std::string> sources;
    Patience patience;
    double figures_s = 0;  // 0: they are told at the end
    bool windows = false, live = false, verify = true, help = false;
};

Error usage(const std::string& fault) { return Error(Error::usage, fault, "see hasten-watch --help"); }

Options parsed(int count, char** words) {
    Options made;
    for (int i = 1; i < count; ++i) {
        const std::string word = words[i];
        if (word == "--help" || word == "-h") {
            made.help = true;
        } else if (word == "--windows") {
            made.windows = true;
        } else if (word == "--live") {
            made.live = true;
        } else if (word == "--no-verify") {
            made.verify = false;
        } else if (word == "--figures") {
            if (++i == count || std::sscanf(words[i], "%lf", &made.figures_s) != 1 || !(made.figures_s > 0))
                throw usage("--figures needs a number of seconds above 0");
        } else if (word == "--patience") {
            Patience& p = made.patience;
            if (++i == count || std::sscanf(words[i], "%lf,%lf,%lf,%lf", &p.stall_s, &p.backoff_s, &p.most_backoff_s,
                                            &p.give_up_s) != 4)
                throw usage("--patience needs four numbers of seconds");
        } else if (word.size() > 1 && word[0] == '-') {
            throw usage("there is no option " + word);
        } else if (made.bundle.empty()) {
            made.bundle = word;
        } else {
            made.sources.push_back(word);
        }
    }
    if (!made.help && made.sources.empty()) throw usage("a bundle and a source are needed");
    return made;
}

// No source is at fault where a line is not taken: it ends them all.
struct Untold {
    int code;  // errno
};

void tell(const Json& line) {
    const std::string text = line.dump(-1, ' ', false, Json::error_handler_t::replace);
    if (std::printf("%s\n", text.c_str()) < 0 || std::fflush(stdout)) throw Untold{errno};
}

// All sources of a run.
class Watch {
public:
    Watch(const Options& options, std::shared_ptr<const Bundle::Contents> contents) : figures_s_(options.figures_s) {
        for (const std::string& place : options.sources) sources_.push_back(Source::of(place, options.live));
        for (const Source& source : sources_) {
            streams_.push_back(std::make_unique<Stream>(source, contents, options.windows, tell));
            queues_.push_back(std::make_unique<Waiting>(waiting, source.live, changes_));
        }
        for (std::size_t i = 0; i < sources_.size(); ++i)
            readers_.push_back(std::make_unique<Reader>(sources_[i], *queues_[i], options.patience));
    }
    ~Watch() { close(); }

    // Whether every source came to its end, or was stopped, without a fault.
    bool run() {
        while (!over() && !asked) {
            if (!take()) {
                std::unique_lock<std::mutex> held(changes_.mutex);
                changes_.changed.wait_for(held, turn);
            }
            figures();
        }
        close();
        while (take()) {}
        bool whole = true;
        for (auto& stream : streams_) {
            stream->end({"stopped", false, true, false});
            whole = whole && !stream->over()->failed;
        }
        return whole;
    }

    // Nothing more is read. Whether all readers have ended, two seconds after it was first called at the latest.
    bool close() {
        for (auto& reader : readers_) reader->stop();
        for (auto& queue : queues_) queue->close();
        if (!limit_) limit_ = Clock::now() + aside;
        for (auto& reader : readers_)
            while (!reader->ended()) {
                if (Clock::now() > *limit_) return false;
                std::this_thread::sleep_for(std::chrono::milliseconds(2));
            }
        return true;
    }

private:
    bool over() const {
        for (const auto& stream : streams_)
            if (!stream->over()) return false;
        return true;
    }

    // One item of each source, in turn; whether there was any.
    bool take() {
        bool any = false;
        for (std::size_t i = 0; i < streams_.size(); ++i) {
            std::optional<Item> item;
            {
                std::lock_guard<std::mutex> held(changes_.mutex);
                item = queues_[i]->take();
            }
            if (!item || streams_[i]->over()) continue;
            any = true;
            streams_[i]->push(*item);
            if (streams_[i]->over()) {
                readers_[i]->stop();
                queues_[i]->close();
            }
        }
        return any;
    }

    // Of each source, where it is time for them.
    void figures() {
        const auto now = Clock::now();
        if (figures_s_ <= 0 || std::chrono::duration<double>(now - figured_).count() < figures_s_) return;
        figured_ = now;
        for (auto& stream : streams_) stream->figures();
    }

    double figures_s_;
    Clock::time_point figured_ = Clock::now();
    std::optional<Clock::time_point> limit_;  // for readers to end
    Changes changes_;
    std::vector<Source> sources_;
    std::vector<std::unique_ptr<Stream>> streams_;
    std::vector<std::unique_ptr<Waiting>> queues_;
    std::vector<std::unique_ptr<Reader>> readers_;
};

int refuse(const Error& fault) {
    std::fprintf(stderr, "hasten-watch: %s\n", fault.what());
    return fault.kind();
}

// The exit code of what is done, or of what it throws, which is said.
int coded(const std::function<int()>& work) {
    try {
        return work();
    } catch (const Error& fault) {
        return refuse(fault);
    } catch (const Untold& fault) {
        return refuse(Error(Error::input, std::string("the lines cannot be written (") + std::strerror(fault.code) + ")",
                            "make room for them, or see to who reads them"));
    } catch (const std::exception& fault) {
        return refuse(Error(Error::bug, std::string("a bug: ") + fault.what(), "please report it"));
    }
}

int watched(const Options& options) {
    const Bundle bundle = Bundle::load(options.bundle, options.verify);
    Watch watch(options, bundle.contents());
    const int code = coded([&] { return watch.run() ? 0 : 3; });
    if (!watch.close()) std::_Exit(code);  // a reader waits for what nothing interrupts; all there is has been told
    return code;
}

}  // namespace

int main(int count, char** words) {
    return coded([&] {
        const Options options = parsed(count, words);
        if (options.help) {
            std::fputs(help, stdout);
            return 0;
        }
        for (int number : {SIGTERM, SIGINT}) std::signal(number, [](int) { asked = 1; });
        set_up_libav();
        return watched(options);
    });
}
