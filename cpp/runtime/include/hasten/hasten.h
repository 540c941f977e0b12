// libhasten: runs a bundle. The bundle is the only configuration: what it says is done, or refused with one sentence.
//
//     hasten::Runner runner(hasten::Bundle::load("fashion.bundle"));
//     hasten::Answer answer = runner.run(hasten::Frame(image));
//
// spec/bundle.md says what a bundle is.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "hasten/image.h"

namespace hasten {

// What went wrong, in one sentence: the fault, and how to mend it. The kind is the exit code of a command line.
class Error : public std::runtime_error {
public:
    enum Kind { unmet = 1, usage = 2, input = 3, missing = 5, bug = 70 };
    Error(Kind kind, const std::string& fault, const std::string& mend = "");
    Kind kind() const { return kind_; }
    const std::string& fault() const { return fault_; }  // without the mending

private:
    Kind kind_;
    std::string fault_;
};

enum class Type : std::uint8_t {
    boolean, float16, float32, float64, int8, int16, int32, int64, uint8, uint16, uint32, uint64
};
const char* name_of(Type type);  // numpy's
std::size_t size_of(Type type);  // bytes of one value

// The lengths of an array's axes; at most 16 of them, so that a shape lives where it is used.
class Shape {
public:
    static constexpr std::size_t max_rank = 16;
    Shape() = default;
    Shape(std::initializer_list<std::size_t> lengths);
    std::size_t rank() const { return rank_; }
    std::size_t operator[](std::size_t axis) const { return lengths_[axis]; }
    std::size_t& operator[](std::size_t axis) { return lengths_[axis]; }
    void push(std::size_t length);  // throws Error where there are 16 axes already
    std::size_t count() const;      // of values
    const std::size_t* begin() const { return lengths_.data(); }
    const std::size_t* end() const { return lengths_.data() + rank_; }
    bool operator==(const Shape& other) const;
    bool operator!=(const Shape& other) const { return !(*this == other); }

private:
    std::array<std::size_t, max_rank> lengths_{};
    std::size_t rank_ = 0;
};

// An array that somebody else owns: values in C order.
struct View {
    Type dtype = Type::float32;
    Shape shape;
    const void* data = nullptr;
};

// An array of its own. `resize` keeps the memory where it is large enough.
class Array {
public:
    Array() = default;
    Array(Type dtype, const Shape& shape) { resize(dtype, shape); }
    Array(const Array& other) { assign(other.view()); }
    Array& operator=(const Array& other);
    Array(Array&& other) noexcept { swap(other); }
    Array& operator=(Array&& other) noexcept;
    void resize(Type dtype, const Shape& shape);  // the values are then whatever was there
    void reshape(const Shape& shape) { shape_ = shape; }  // of as many values
    void assign(const View& values);
    void swap(Array& other) noexcept;

    Type dtype() const { return dtype_; }
    const Shape& shape() const { return shape_; }
    std::size_t bytes() const { return bytes_; }
    void* data() { return memory_.get(); }
    const void* data() const { return memory_.get(); }
    template <class T> const T* as() const { return static_cast<const T*>(data()); }
    View view() const { return {dtype_, shape_, data()}; }

private:
    struct Release {
        void operator()(void* memory) const;
    };
    Type dtype_ = Type::float32;
    Shape shape_;
    std::size_t bytes_ = 0, capacity_ = 0;
    std::unique_ptr<void, Release> memory_;  // at a multiple of 64
};

// A named input or output of a network. A free axis has a name; the same name is the same length wherever it stands.
struct Axis {
    std::size_t length = 0;  // 0: free
    std::string name;        // of a free axis
};
struct Tensor {
    std::string name;
    Type dtype = Type::float32;
    std::vector<Axis> shape;
};
struct Signature {
    std::vector<Tensor> inputs, outputs;
};

// The raw inputs of one call. It points at memory of the caller, which `run` and `submit` have read when they return.
// An input that is an image takes one image a sample, with a time window as many as it has frames, in order of time; one
// that is an array takes [N, ...].
class Frame {
public:
    struct Raw {
        std::string input;  // empty: the only one
        View array;
        std::vector<Image> images;
    };
    Frame() = default;
    explicit Frame(const Image& image) { add("", image); }
    explicit Frame(const View& array) { add("", array); }
    Frame& add(const std::string& input, const Image& image);  // again for the same input: one sample more
    Frame& add(const std::string& input, const View& array);
    const std::vector<Raw>& raw() const { return raw_; }

private:
    std::vector<Raw> raw_;
};

// What the network says. Reuse one object, and its memory is reused.
struct Answer {
    std::vector<Array> outputs;  // in the order of the signature
    std::size_t samples = 0;
    // What the pipeline decides: nothing, the best classes of each row of scores, the boxes of each sample that stay
    // (both best first), or the classes of each row at which an event is at hand. Row r of sample s is `best` from
    // ends[k - 1] (or 0) to ends[k] with k = s * rows + r. `axes`: those between batch and classes, whose product is
    // `rows`; a sample of boxes is one row.
    enum class Kind { tensor, classes, boxes, events };
    Kind kind = Kind::tensor;
    std::vector<int> best;
    std::vector<int> labels;  // of boxes: the class of each of `best`
    std::vector<std::size_t> ends;
    std::size_t rows = 0;
    Shape axes;
    double prepare_ms = 0, infer_ms = 0, answer_ms = 0;  // where the time went

    std::vector<int> classes(std::size_t sample = 0, std::size_t row = 0) const;
    std::string decision(std::size_t sample = 0) const;  // as JSON, as the golden cases write it
};

// A bundle that has been read and checked: digests, seal, schema, engines. Copies share it. Thread-safe.
class Bundle {
public:
    // Throws Error: `input` for one that is damaged or newer, `missing` for what this build cannot honour, `unmet`
    // where a golden case gives another answer here. `verify` false puts the golden cases off until `verify()`.
    static Bundle load(const std::string& folder, bool verify = true);
    void verify() const;

    const std::string& folder() const;
    const Signature& signature() const;  // of the prepared inputs, and the outputs
    const std::vector<std::string>& labels() const;
    std::size_t cases() const;  // golden ones
    // The raw input of a golden case by name of the input: real samples, for a benchmark. Throws Error.
    std::vector<std::pair<std::string, Array>> raw(std::size_t golden_case) const;
    // Points at arrays as they are stored: [N, ...], or for images [N, height, width, channels]. Throws Error.
    Frame frame(const std::vector<std::pair<std::string, Array>>& raw) const;

    struct Contents;
    explicit Bundle(std::shared_ptr<const Contents> contents) : contents_(std::move(contents)) {}
    const std::shared_ptr<const Contents>& contents() const { return contents_; }

private:
    std::shared_ptr<const Contents> contents_;
};

// Runs a bundle, from as many threads as like. Each request has memory and a thread of its own from the beginning;
// once it has seen the largest batch, the runner itself allocates nothing for a frame.
class Runner {
    struct State;

public:
    explicit Runner(const Bundle& bundle, std::size_t requests = 1);
    ~Runner();
    Runner(const Runner&) = delete;
    Runner& operator=(const Runner&) = delete;

    // On this thread; waits while all requests are taken. Throws Error.
    void run(const Frame& frame, Answer& answer);
    Answer run(const Frame& frame);

    // The answer to come. `get` waits for it, once, and throws what `run` would; a ticket that is dropped waits too.
    // The runner has to outlive its tickets.
    class Ticket {
    public:
        Ticket(Ticket&& other) noexcept;
        Ticket& operator=(Ticket&&) = delete;
        ~Ticket();
        void get(Answer& answer);
        Answer get();

    private:
        friend class Runner;
        Ticket(State* state, std::size_t slot) : state_(state), slot_(slot) {}
        State* state_;
        std::size_t slot_;
    };
    // Prepares on this thread, and infers on the request's own: the next frame is prepared meanwhile. Waits while all
    // requests are taken, so hold fewer tickets than there are requests. Throws Error.
    Ticket submit(const Frame& frame);

    // Prepared tensors alone, in the order of the signature. Throws Error.
    std::vector<Array> prepare(const Frame& frame);

private:
    std::unique_ptr<State> state_;
};

}  // namespace hasten
