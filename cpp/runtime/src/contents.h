// What a bundle holds when it has been read, and the requests that a runner keeps.
#pragma once
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine.h"
#include "folder.h"
#include "golden.h"
#include "hasten/hasten.h"
#include "pipeline.h"
#include "signature.h"
#include "stage.h"

namespace hasten {

struct Bundle::Contents {
    Folder folder;
    Signature signature;
    Stages stages;
    Pipeline pipeline;
    Golden golden;

    explicit Contents(Folder place) : folder(std::move(place)) {}
    const std::vector<std::unique_ptr<Model>>& models() const;  // compiled at the first call; throws Error

private:
    mutable std::mutex compiling_;
    mutable std::vector<std::unique_ptr<Model>> models_;
};

// As Bundle::load, with other engines than this build's.
Bundle load(const std::string& folder, bool verify, const Engines& engines);

// One call at a time: raw inputs to an answer, with memory of its own.
class Calls {
public:
    explicit Calls(std::shared_ptr<const Bundle::Contents> contents);
    void prepare(const Frame& frame);  // throws Error
    void infer();
    void answer(Answer& to);
    std::size_t inputs() const { return preparations_.size(); }
    Array& input(std::size_t i) { return flow_.tensor(i); }  // prepared

private:
    const Frame::Raw& raw(const Frame& frame, std::size_t i) const;

    std::shared_ptr<const Bundle::Contents> contents_;
    Flow flow_;
    std::vector<std::unique_ptr<Preparation>> preparations_;  // by input; none where it is an array
    std::vector<Tensor> wanted_;  // outputs of any number of samples
    Axes axes_;
    Decision decision_;
};

}  // namespace hasten
