// Frames that wait for their turn: so many at most. A file waits for room; a live source drops the oldest.
#pragma once
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <variant>

#include "decoder.h"

namespace hasten {

// What becomes of a source. `over`: nothing comes after it; `failed`: and that is not as it should be.
struct State {
    std::string said;
    bool opened = false, over = false, failed = false;
};

// Frames, one after the other, for which there was no room.
struct Dropped {
    std::int64_t frames;
    Nanoseconds first, last;
};

using Item = std::variant<Decoded, State, Dropped>;

// What all sources share: one who takes waits on it, and those who have no room.
struct Changes {
    std::mutex mutex;
    std::condition_variable changed;
};

class Waiting {
public:
    Waiting(std::size_t most, bool live, Changes& changes) : most_(most), live_(live), changes_(changes) {}

    // False where nobody takes any more.
    bool put(Item item) {
        std::unique_lock<std::mutex> held(changes_.mutex);
        if (std::holds_alternative<Decoded>(item)) {
            while (frames_ >= most_ && !closed_) {
                if (live_)
                    drop();
                else
                    changes_.changed.wait(held);
            }
            ++frames_;
        }
        if (closed_) return false;
        items_.push_back(std::move(item));
        changes_.changed.notify_all();
        return true;
    }

    // The next one, what was dropped before it first. The caller holds the mutex.
    std::optional<Item> take() {
        if (dropped_) {
            Item item = *dropped_;
            dropped_.reset();
            return item;
        }
        if (items_.empty()) return std::nullopt;
        Item item = std::move(items_.front());
        items_.pop_front();
        if (std::holds_alternative<Decoded>(item)) {
            --frames_;
            changes_.changed.notify_all();
        }
        return item;
    }

    void close() {
        std::lock_guard<std::mutex> held(changes_.mutex);
        closed_ = true;
        changes_.changed.notify_all();
    }

private:
    void drop() {
        for (auto item = items_.begin(); item != items_.end(); ++item) {
            auto* frame = std::get_if<Decoded>(&*item);
            if (!frame) continue;
            const Nanoseconds time = frame->frame.time;
            dropped_ = Dropped{dropped_ ? dropped_->frames + 1 : 1, dropped_ ? dropped_->first : time, time};
            items_.erase(item);
            --frames_;
            return;
        }
    }

    std::size_t most_;
    bool live_;
    Changes& changes_;
    std::deque<Item> items_;
    std::size_t frames_ = 0;
    bool closed_ = false;
    std::optional<Dropped> dropped_;
};

}  // namespace hasten
