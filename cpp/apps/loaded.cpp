#include "loaded.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "npy.h"

namespace hasten {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double size_s = 0.3;
constexpr std::size_t sizes_tried[] = {2, 4, 8, 16, 32}, same_groups = 4, worse_sizes = 2, fewest = 3;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

double quantile(std::vector<double> values, double share) {
    auto at = values.begin() + static_cast<std::ptrdiff_t>(share * static_cast<double>(values.size() - 1) + 0.5);
    std::nth_element(values.begin(), at, values.end());
    return *at;
}

// Row n of `to`, `width` bytes apart, gets row m of `from`.
void copy_row(void* to, std::size_t n, std::size_t width, const void* from, std::size_t m, std::size_t bytes) {
    std::memcpy(static_cast<char*>(to) + n * width, static_cast<const char*>(from) + m * bytes, bytes);
}

}  // namespace

Loaded::Loaded(const Bundle& bundle, const std::string& folder) : calls_(bundle.contents()) {
    const auto& inputs = bundle.signature().inputs;
    if (inputs.empty()) throw Error(Error::input, bundle.folder() + " has no inputs", "give another bundle");
    for (std::size_t i = 0; i < inputs.size(); ++i) {
        samples_.push_back(read_npy(folder + "/" + std::to_string(i) + ".npy"));
        const Array& array = samples_.back();
        bool fits = array.dtype() == inputs[i].dtype && array.shape().rank() == inputs[i].shape.size() &&
                    array.shape().rank() && array.shape()[0] && array.shape()[0] == count();
        if (!fits) throw Error(Error::input, folder + " does not hold samples of " + repr(inputs[i].name));
    }
}

const std::vector<std::uint8_t>& Loaded::answer(const std::size_t* which, std::size_t count) {
    for (std::size_t i = 0; i < samples_.size(); ++i) {
        Shape shape = samples_[i].shape();
        std::size_t bytes = samples_[i].bytes() / shape[0];
        shape[0] = count;
        Array& input = calls_.input(i);
        input.resize(samples_[i].dtype(), shape);
        for (std::size_t n = 0; n < count; ++n) copy_row(input.data(), n, bytes, samples_[i].data(), which[n], bytes);
    }
    calls_.infer();
    calls_.answer(answer_);
    row_ = 0;
    for (const Array& output : answer_.outputs) {
        if (!output.shape().rank() || output.shape()[0] != count)
            throw Error(Error::input, "an output has no axis for the samples", "give a bundle whose outputs do");
        row_ += output.bytes() / count;
    }
    rows_.resize(row_ * count);
    std::size_t from = 0;
    for (const Array& output : answer_.outputs) {
        std::size_t bytes = output.bytes() / count;
        for (std::size_t n = 0; n < count; ++n) copy_row(rows_.data() + from, n, row_, output.data(), n, bytes);
        from += bytes;
    }
    return rows_;
}

void Loaded::warm(const std::vector<std::size_t>& sizes, double seconds) {
    for (std::size_t size : sizes) rate(size, seconds / static_cast<double>(sizes.size()));
}

// From the median call; `times` gets them all, in ms.
double Loaded::rate(std::size_t size, double seconds, std::vector<double>* times) {
    std::vector<double> own;
    std::vector<std::size_t> which(size);
    auto start = Clock::now();
    for (std::size_t k = 0; own.size() < fewest || seconds_since(start) < seconds; ++k) {
        for (std::size_t n = 0; n < size; ++n) which[n] = (k * size + n) % count();
        auto before = Clock::now();
        answer(which.data(), size);
        own.push_back(1e3 * seconds_since(before));
    }
    if (times) *times = own;
    return 1e3 * static_cast<double>(size) / quantile(own, 0.5);
}

// Whether calls of so many samples are taken, and answered to the byte as single calls.
bool Loaded::same(std::size_t size) {
    std::vector<std::size_t> which(size);
    for (std::size_t from = 0; from + size <= std::min(count(), same_groups * size); from += size) {
        for (std::size_t n = 0; n < size; ++n) which[n] = from + n;
        std::vector<std::uint8_t> together, single;
        try {
            together = answer(which.data(), size);
        } catch (const Error&) {
            return false;  // an axis that is called free, and is not
        }
        for (std::size_t n : which) {
            const auto& one = answer(&n, 1);
            single.insert(single.end(), one.begin(), one.end());
        }
        if (together != single) return false;
    }
    return true;
}

Json Loaded::probe(double seconds) {
    warm({1}, seconds);
    std::vector<double> times;
    double best = rate(1, seconds, &times), p50_ms = quantile(times, 0.5);
    Json per_s{{"1", best}};
    std::size_t worse = 0;
    for (std::size_t size : sizes_tried) {
        bool slow = static_cast<double>(size) * p50_ms > 1e3 * seconds;
        if (size > count() || worse == worse_sizes || slow || !same(size)) break;
        double found = rate(size, size_s);
        per_s[std::to_string(size)] = found;
        worse = found > best ? 0 : worse + 1;
        best = std::max(best, found);
    }
    return {{"latency_p50_ms", p50_ms}, {"latency_p90_ms", quantile(times, 0.9)}, {"per_s", per_s}};
}

}  // namespace hasten
