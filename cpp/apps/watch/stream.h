// One source: what comes of its frames, as lines of JSON. spec/stream.md
#pragma once
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "json.h"
#include "reader.h"

namespace hasten {

class Stream {
public:
    using Tell = std::function<void(const Json&)>;
    Stream(const Source& source, std::shared_ptr<const Bundle::Contents> contents, bool windows, Tell tell);
    void push(const Item& item);  // a fault of what is decoded or computed ends this stream alone
    void figures();               // so far
    void end(const State& state);
    const std::optional<State>& over() const { return over_; }

private:
    void begin();
    void frame(const Decoded& decoded);
    void settle(const Sample& sample, const Decoded& chosen, const Decoded& now);
    void score(const ScoredWindow& scored, Clock::time_point arrived);
    void flush();
    void gap(Json to);
    void close();
    void event(std::size_t label, const std::optional<Event>& event);
    void begun(std::size_t label, const ScoredWindow& scored, Clock::time_point arrived);
    Json named(std::size_t label, Json fields) const;
    Json summary() const;
    void state(const State& state);
    void tell(const char* kind, Json fields);

    const Source& source_;
    std::shared_ptr<const Bundle::Contents> contents_;
    Watching watching_;
    bool windows_;
    Tell tell_;
    std::optional<State> over_;

    LiveCounts counts_;
    std::int64_t frames_ = 0, untrusted_ = 0, unsampled_ = 0, dropped_ = 0, events_ = 0, connections_ = 0, number_ = 0;
    double stream_s_ = 0;
    Clock::time_point began_ = Clock::now();
    std::deque<double> latencies_ms_;

    std::optional<Sampler> sampler_;  // of this connection, as what follows
    std::unique_ptr<Live> live_;
    std::vector<Hysteresis> watches_;
    std::vector<double> lowest_;  // coverage of the windows of the event that is open
    std::optional<std::int64_t> segment_;
    std::optional<Decoded> last_;  // the frame taken last
    std::int64_t untrusted_here_ = 0;  // since then
    std::vector<Sample> samples_;
};

}  // namespace hasten
