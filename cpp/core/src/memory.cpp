#include "hasten/memory.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

// A clone for each width needs ifunc, which is glibc's.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__GLIBC__)
#define HASTEN_WIDEST __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define HASTEN_WIDEST
#endif

namespace hasten {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kLanes = 64, kBetween = 1 << 24;  // words added side by side; bytes between two looks at the clock
constexpr int kRounds = 5;

// Independent sums, so that loads and not additions are what takes time.
HASTEN_WIDEST std::uint64_t sum(const std::uint64_t* words, std::size_t count) {
    std::uint64_t lanes[kLanes] = {};
    for (std::size_t i = 0; i + kLanes <= count; i += kLanes)
        for (std::size_t lane = 0; lane < kLanes; ++lane) lanes[lane] += words[i + lane];
    std::uint64_t all = 0;
    for (std::uint64_t lane : lanes) all += lane;
    return all;
}

// Threads that wait for each other without going to sleep, so that they start together.
class Barrier {
public:
    explicit Barrier(std::size_t count) : count_(count) {}
    void wait() {
        const std::size_t turn = arrived_.fetch_add(1) / count_;
        while (arrived_.load() < (turn + 1) * count_) std::this_thread::yield();
    }

private:
    const std::size_t count_;
    std::atomic<std::size_t> arrived_{0};
};

// The buffers of one thread, touched first by that thread, so that they lie in memory near to it.
class Walker {
public:
    Walker(Traffic traffic, std::size_t words) : from_(words, 1), to_(traffic == Traffic::kCopy ? words : 0) {}

    // Bytes moved by one walk over the buffers.
    std::size_t walk() {
        const std::size_t bytes = from_.size() * sizeof(std::uint64_t);
        if (to_.empty()) {
            sink_ = sink_ + sum(from_.data(), from_.size());
            return bytes;
        }
        std::memcpy(to_.data(), from_.data(), bytes);
        sink_ = sink_ + to_[sink_ % to_.size()];
        return 2 * bytes;
    }

    // Bytes a second of `seconds`.
    double run(double seconds) {
        std::size_t moved = 0;
        double passed = 0;
        const auto began = Clock::now();
        while (passed < seconds || moved == 0) {
            const std::size_t look = moved + kBetween;
            while (moved < look) moved += walk();
            passed = std::chrono::duration<double>(Clock::now() - began).count();
        }
        return static_cast<double>(moved) / passed;
    }

private:
    std::vector<std::uint64_t> from_, to_;
    volatile std::uint64_t sink_ = 0;
};

}  // namespace

double bandwidth(Traffic traffic, std::size_t bytes, int threads, double seconds) {
    const std::size_t parts = traffic == Traffic::kCopy ? 2 : 1;
    const std::size_t words = std::max<std::size_t>(kLanes, bytes / parts / sizeof(std::uint64_t) / kLanes * kLanes);
    const std::size_t count = static_cast<std::size_t>(std::max(1, threads));
    std::vector<std::vector<double>> rates(count);
    Barrier barrier(count);
    const auto work = [&](std::size_t i) {
        Walker walker(traffic, words);
        std::vector<double> mine;
        for (int round = 0; round < kRounds; ++round) {
            walker.walk();
            barrier.wait();
            mine.push_back(walker.run(seconds / kRounds));
            barrier.wait();
        }
        rates[i] = std::move(mine);
    };
    std::vector<std::thread> others;
    for (std::size_t i = 1; i < count; ++i) others.emplace_back(work, i);
    work(0);
    for (std::thread& other : others) other.join();
    double best = 0;
    for (std::size_t round = 0; round < kRounds; ++round) {
        double all = 0;
        for (const std::vector<double>& thread : rates) all += thread[round];
        best = std::max(best, all);
    }
    return best;
}

}  // namespace hasten
