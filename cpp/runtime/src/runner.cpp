// Runner: requests with memory and a thread each. A call takes one, and gives it back when its answer has been fetched.
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>

#include "contents.h"

namespace hasten {
namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point& start) {
    auto now = Clock::now();
    double passed = std::chrono::duration<double, std::milli>(now - start).count();
    start = now;
    return passed;
}

enum class Phase { idle, prepared, done };

struct Slot {
    explicit Slot(std::shared_ptr<const Bundle::Contents> contents) : calls(std::move(contents)) {}
    Calls calls;
    Answer answer;
    double prepare_ms = 0;
    std::exception_ptr fault;
    std::mutex mutex;  // of what follows, and of `answer` and `fault`
    std::condition_variable changed;
    Phase phase = Phase::idle;
    bool stop = false;
    std::thread thread;

    void prepare(const Frame& frame) {
        auto start = Clock::now();
        calls.prepare(frame);
        prepare_ms = ms_since(start);
    }

    void finish(Answer& to) {
        auto start = Clock::now();
        calls.infer();
        double infer_ms = ms_since(start);
        calls.answer(to);
        to.prepare_ms = prepare_ms, to.infer_ms = infer_ms, to.answer_ms = ms_since(start);
    }
};

}  // namespace

struct Runner::State {
    std::vector<std::unique_ptr<Slot>> slots;
    std::vector<std::size_t> free;
    std::mutex mutex;  // of `free`
    std::condition_variable freed;

    std::size_t take() {
        std::unique_lock<std::mutex> held(mutex);
        freed.wait(held, [&] { return !free.empty(); });
        std::size_t slot = free.back();
        free.pop_back();
        return slot;
    }

    void give(std::size_t slot) {
        {
            std::lock_guard<std::mutex> held(mutex);
            free.push_back(slot);
        }
        freed.notify_one();
    }

    // A request's own thread: infers what has been prepared.
    void serve(Slot& slot) {
        std::unique_lock<std::mutex> held(slot.mutex);
        for (;;) {
            slot.changed.wait(held, [&] { return slot.stop || slot.phase == Phase::prepared; });
            if (slot.phase != Phase::prepared) return;
            held.unlock();
            try {
                slot.finish(slot.answer);
            } catch (...) {
                slot.fault = std::current_exception();
            }
            held.lock();
            slot.phase = Phase::done;
            slot.changed.notify_all();
        }
    }

    // The slot's answer or fault, when it is there.
    std::exception_ptr wait(Slot& slot) {
        std::unique_lock<std::mutex> held(slot.mutex);
        slot.changed.wait(held, [&] { return slot.phase == Phase::done; });
        slot.phase = Phase::idle;
        return std::exchange(slot.fault, nullptr);
    }

    ~State() {
        for (auto& slot : slots) {
            {
                std::lock_guard<std::mutex> held(slot->mutex);
                slot->stop = true;
            }
            slot->changed.notify_all();
            if (slot->thread.joinable()) slot->thread.join();
        }
    }
};

namespace {

// A request for as long as a call on the caller's own thread takes.
template <class State> struct Taken {
    explicit Taken(State& from) : state(from), slot(from.take()) {}
    ~Taken() {
        if (!kept) state.give(slot);
    }
    State& state;
    std::size_t slot;
    bool kept = false;
};

}  // namespace

Runner::Runner(const Bundle& bundle, std::size_t requests) : state_(std::make_unique<State>()) {
    if (!requests || requests > 1024) throw Error(Error::usage, "a runner has from 1 to 1024 requests");
    state_->free.reserve(requests);
    for (std::size_t i = 0; i < requests; ++i) state_->slots.push_back(std::make_unique<Slot>(bundle.contents()));
    for (std::size_t i = 0; i < requests; ++i) {
        Slot& slot = *state_->slots[i];
        slot.thread = std::thread([state = state_.get(), &slot] { state->serve(slot); });
        state_->free.push_back(i);
    }
}

Runner::~Runner() = default;

void Runner::run(const Frame& frame, Answer& answer) {
    Taken<State> taken(*state_);
    Slot& slot = *state_->slots[taken.slot];
    slot.prepare(frame);
    slot.finish(answer);
}

Answer Runner::run(const Frame& frame) {
    Answer answer;
    run(frame, answer);
    return answer;
}

Runner::Ticket Runner::submit(const Frame& frame) {
    Taken<State> taken(*state_);
    Slot& slot = *state_->slots[taken.slot];
    slot.prepare(frame);
    {
        std::lock_guard<std::mutex> held(slot.mutex);
        slot.phase = Phase::prepared;
    }
    slot.changed.notify_all();
    taken.kept = true;
    return Ticket(state_.get(), taken.slot);
}

std::vector<Array> Runner::prepare(const Frame& frame) {
    Taken<State> taken(*state_);
    Slot& slot = *state_->slots[taken.slot];
    slot.prepare(frame);
    std::vector<Array> prepared;
    for (std::size_t i = 0; i < slot.calls.inputs(); ++i) prepared.push_back(slot.calls.input(i));
    return prepared;
}

Runner::Ticket::Ticket(Ticket&& other) noexcept : state_(std::exchange(other.state_, nullptr)), slot_(other.slot_) {}

Runner::Ticket::~Ticket() {
    if (!state_) return;
    state_->wait(*state_->slots[slot_]);
    state_->give(slot_);
}

void Runner::Ticket::get(Answer& answer) {
    if (!state_) throw Error(Error::usage, "the answer of this ticket has been fetched already");
    State* state = std::exchange(state_, nullptr);
    Slot& slot = *state->slots[slot_];
    std::exception_ptr fault = state->wait(slot);
    if (!fault) std::swap(answer, slot.answer);
    state->give(slot_);
    if (fault) std::rethrow_exception(fault);
}

Answer Runner::Ticket::get() {
    Answer answer;
    get(answer);
    return answer;
}

}  // namespace hasten
