#include "stream.h"

#include <algorithm>

namespace hasten {
namespace {

constexpr std::size_t most_latencies = 4096;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

Json moment(Nanoseconds time) { return time == kNoTimestamp ? Json(nullptr) : Json(time); }

Json percentile(std::deque<double> values, double share) {
    if (values.empty()) return nullptr;
    std::sort(values.begin(), values.end());
    return values[static_cast<std::size_t>(share * static_cast<double>(values.size() - 1) + 0.5)];
}

}  // namespace

Stream::Stream(const Source& source, std::shared_ptr<const Bundle::Contents> contents, bool windows, Tell tell)
    : source_(source), contents_(std::move(contents)), watching_(Watching::of(*contents_)), windows_(windows),
      tell_(std::move(tell)) {
    begin();
}

void Stream::push(const Item& item) {
    try {
        if (auto* decoded = std::get_if<Decoded>(&item)) {
            frame(*decoded);
        } else if (auto* dropped = std::get_if<Dropped>(&item)) {
            dropped_ += dropped->frames;
            tell("drop", {{"frames", dropped->frames}, {"from", moment(dropped->first)}, {"to", moment(dropped->last)}});
        } else {
            state(std::get<State>(item));
        }
    } catch (const Error& fault) {
        end({fault.what(), false, true, true});
    }
}

// A connection: a clock, a grid and a ring of its own.
void Stream::begin() {
    Sampler::Settings settings;
    settings.fps = watching_.window.fps, settings.max_gap = watching_.max_gap;
    sampler_.emplace(settings);
    live_ = std::make_unique<Live>(contents_, watching_, counts_);
    watches_.clear();
    lowest_.clear();
    segment_.reset();
    last_.reset();
    untrusted_here_ = number_ = 0;
}

void Stream::frame(const Decoded& decoded) {
    ++frames_;
    if (!decoded.trusted) {
        ++untrusted_, ++untrusted_here_;
        return;
    }
    const std::int64_t number = number_++;
    samples_.clear();
    const bool taken = sampler_->push(decoded.frame.time, samples_);
    for (const Sample& sample : samples_) settle(sample, sample.frame == number ? decoded : *last_, decoded);
    if (!taken) {
        ++unsampled_;
        return;
    }
    if (last_ && decoded.frame.time > last_->frame.time)
        stream_s_ += static_cast<double>(decoded.frame.time - last_->frame.time) / 1e9;
    last_ = decoded;
    untrusted_here_ = 0;
}

void Stream::settle(const Sample& sample, const Decoded& chosen, const Decoded& now) {
    if (segment_ != sample.segment && (segment_ || untrusted_here_)) {
        flush();
        gap(moment(now.frame.time));
    }
    segment_ = sample.segment;
    if (auto scored = live_->push(sample, chosen.frame)) score(*scored, chosen.arrived);
}

void Stream::score(const ScoredWindow& scored, Clock::time_point arrived) {
    while (watches_.size() < scored.scores.size()) watches_.emplace_back(watching_.event);
    lowest_.resize(watches_.size());
    std::vector<std::optional<Event>> ended;
    for (std::size_t c = 0; c < watches_.size(); ++c) ended.push_back(watches_[c].push(scored.end, scored.scores[c]));
    latencies_ms_.push_back(1e3 * seconds_since(arrived));
    if (latencies_ms_.size() > most_latencies) latencies_ms_.pop_front();
    if (windows_)
        tell("window", {{"end", scored.end}, {"coverage", scored.coverage}, {"scores", scored.scores}});
    for (std::size_t c = 0; c < ended.size(); ++c) {
        event(c, ended[c]);
        begun(c, scored, arrived);
        lowest_[c] = std::min(lowest_[c], scored.coverage);
    }
}

void Stream::gap(Json to) {
    tell("gap", {{"from", last_ ? moment(last_->frame.time) : Json(nullptr)}, {"to", std::move(to)},
                 {"untrusted", untrusted_here_}});
}

// The end of a connection.
void Stream::close() {
    flush();
    if (untrusted_here_) gap(nullptr);
    untrusted_here_ = 0;
}

void Stream::flush() {
    for (std::size_t c = 0; c < watches_.size(); ++c) event(c, watches_[c].flush());
}

void Stream::event(std::size_t label, const std::optional<Event>& event) {
    if (!event) return;
    ++events_;
    tell("event", named(label, {{"begin", event->begin}, {"end", event->end}, {"peak", event->peak},
                                {"peak_time", event->peak_time}, {"coverage", lowest_[label]}}));
}

// The event that this window has begun, if it has.
void Stream::begun(std::size_t label, const ScoredWindow& scored, Clock::time_point arrived) {
    const std::optional<Event>& open = watches_[label].open();
    if (!open || open->begin != scored.end) return;
    lowest_[label] = scored.coverage;
    tell("begin", named(label, {{"begin", open->begin}, {"score", open->peak}, {"coverage", scored.coverage},
                                {"latency_ms", 1e3 * seconds_since(arrived)}}));
}

Json Stream::named(std::size_t label, Json fields) const {
    const auto& labels = contents_->pipeline.labels;
    fields["name"] = labels.empty() ? std::to_string(label) : labels[label], fields["label"] = label;
    return fields;
}

void Stream::state(const State& state) {
    if (state.opened) {
        if (connections_++) {
            close();
            begin();
        }
    }
    if (state.over)
        end(state);
    else
        tell("source", {{"said", state.said}});
}

void Stream::end(const State& state) {
    if (over_) return;
    close();
    over_ = state;
    Json told = summary();
    told["said"] = state.said, told["failed"] = state.failed;
    tell("end", told);
}

void Stream::figures() {
    if (!over_) tell("figures", summary());
}

Json Stream::summary() const {
    return {{"frames", frames_}, {"untrusted", untrusted_}, {"unsampled", unsampled_}, {"dropped", dropped_},
            {"samples", counts_.samples}, {"encoded", counts_.encoded}, {"same_bytes", counts_.same_bytes},
            {"windows", counts_.windows}, {"events", events_}, {"connections", connections_}, {"stream_s", stream_s_},
            {"seconds", seconds_since(began_)}, {"latency_p50_ms", percentile(latencies_ms_, 0.5)},
            {"latency_p99_ms", percentile(latencies_ms_, 0.99)}};
}

void Stream::tell(const char* kind, Json fields) {
    fields["kind"] = kind, fields["source"] = source_.place;
    tell_(fields);
}

}  // namespace hasten
