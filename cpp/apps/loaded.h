// A bundle under load: prepared samples in, the answer out, one call at a time.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "contents.h"
#include "hasten/hasten.h"
#include "json.h"

namespace hasten {

class Loaded {
public:
    // The samples are 0.npy, 1.npy ... [N, ...] in `folder`, in the order of the inputs. Throws Error.
    Loaded(const Bundle& bundle, const std::string& folder);

    std::size_t count() const { return samples_[0].shape()[0]; }

    // The answers to these samples in one call, `row()` bytes of outputs each: valid until the next call.
    const std::vector<std::uint8_t>& answer(const std::size_t* which, std::size_t count);
    std::size_t row() const { return row_; }

    void warm(const std::vector<std::size_t>& sizes, double seconds);  // calls of each, so long in all

    // The time of single calls, for `seconds`; and samples a second in larger ones that answer to the byte as those.
    Json probe(double seconds);

private:
    double rate(std::size_t size, double seconds, std::vector<double>* times = nullptr);
    bool same(std::size_t size);

    Calls calls_;
    std::vector<Array> samples_;
    Answer answer_;
    std::vector<std::uint8_t> rows_;
    std::size_t row_ = 0;
};

}  // namespace hasten
