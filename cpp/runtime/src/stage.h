// A stage of a bundle: a network, its engine, and when it runs. A flow: tensors through all stages.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine.h"
#include "hasten/answers.h"
#include "json.h"
#include "signature.h"

namespace hasten {

// What makes a stage superfluous for a sample: an earlier output that is already sure.
struct Unless {
    std::size_t tensor;
    Activation activation;
    double threshold;
};

// Tensors have numbers: the bundle's inputs in order, then each new output.
struct Stage {
    std::string name, file;  // the path inside the bundle
    const Engine* engine;
    Json settings;
    Signature signature;
    std::vector<std::size_t> inputs, outputs;  // numbers
    bool by_frame = false;                     // else on all of a sample at once
    std::optional<Unless> unless;
    std::size_t batch = 0;  // where it is fixed
};

struct Stages {
    std::vector<Stage> all;
    std::vector<std::size_t> outputs;  // numbers of the bundle's
    std::size_t tensors = 0;           // how many numbers there are

    // Of a bundle that has passed the schema. Throws Error: an engine, a setting, a tensor that nothing gives.
    static Stages of(const Json& data, const Signature& whole, const Engines& engines);
    void require() const;  // throws Error (missing) for what this build cannot run
};

// One call at a time through all stages, with memory of its own.
class Flow {
public:
    Flow(const Stages& stages, const std::vector<std::unique_ptr<Model>>& models);
    Array& tensor(std::size_t number) { return tensors_[number]; }
    enum class Part { all, frames, windows };  // every stage; those that run by frame; the others
    void run(Part part = Part::all);           // from tensors that have been put in place; throws Error

private:
    struct Call {
        std::unique_ptr<Request> request;
        std::vector<Array> given, part, whole;  // inputs of some samples; outputs of a call, and of all calls
        std::vector<const Array*> inputs;
    };
    void always(const Stage& stage, Call& call, const std::vector<const Array*>& inputs);
    void by_frame(const Stage& stage, Call& call);
    void unless(const Stage& stage, Call& call);
    void ask(const Stage& stage, Call& call, const std::vector<const Array*>& inputs, std::vector<Array>& outputs);
    bool is_sure(const Unless& unless, std::size_t sample);

    const Stages& stages_;
    std::vector<Array> tensors_;
    std::vector<Call> calls_;
    std::vector<const Array*> inputs_;
    std::vector<std::size_t> unsure_;
    std::vector<double> row_, scores_;
    Axes axes_;
};

}  // namespace hasten
