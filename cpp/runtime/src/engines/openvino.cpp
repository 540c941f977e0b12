// OpenVINO on the CPU, with the settings of the Python engine: outputs are equal to the bit.
#include <openvino/openvino.hpp>

#include <cstring>
#include <sstream>

#include "../engine.h"

namespace hasten {
namespace {

constexpr const char* another = "try another engine";

// The last line of several that is about the model; where it was thrown and where to read on are left out.
std::string reason(const std::string& said) {
    std::istringstream lines(said);
    std::string last, line;
    while (std::getline(lines, line)) {
        std::size_t from = line.find_first_not_of(" -"), to = line.find_last_not_of(" -\r");
        if (from != std::string::npos && line.find("documentation:") == std::string::npos)
            last = line.substr(from, to - from + 1);
    }
    return last.empty() ? "no reason given" : cut(last, 300);
}

ov::element::Type type_of(Type type) {
    switch (type) {
        case Type::boolean: return ov::element::boolean;
        case Type::float16: return ov::element::f16;
        case Type::float32: return ov::element::f32;
        case Type::float64: return ov::element::f64;
        case Type::int8: return ov::element::i8;
        case Type::int16: return ov::element::i16;
        case Type::int32: return ov::element::i32;
        case Type::int64: return ov::element::i64;
        case Type::uint8: return ov::element::u8;
        case Type::uint16: return ov::element::u16;
        case Type::uint32: return ov::element::u32;
        default: return ov::element::u64;
    }
}

Type type_of(const ov::element::Type& type) {
    for (int i = 0; i <= static_cast<int>(Type::uint64); ++i)
        if (type_of(static_cast<Type>(i)) == type) return static_cast<Type>(i);
    throw Error(Error::bug, "the engine answered outside the signature: with the type " + type.get_type_name());
}

// The index of the port that carries an ONNX value; a port can have several names.
std::size_t place(const std::vector<ov::Output<const ov::Node>>& ports, const std::string& name) {
    for (std::size_t i = 0; i < ports.size(); ++i)
        if (ports[i].get_names().count(name)) return i;
    throw Error(Error::input, "openvino has lost " + repr(name) + " while reading the model", another);
}

class Infer final : public Request {
public:
    Infer(ov::InferRequest request, std::vector<std::size_t> inputs, std::vector<std::size_t> outputs)
        : request_(std::move(request)),
          inputs_(std::move(inputs)),
          outputs_(std::move(outputs)),
          bound_(inputs_.size()) {}

    void run(const std::vector<const Array*>& inputs, std::vector<Array>& outputs) override {
        try {
            for (std::size_t i = 0; i < inputs.size(); ++i) bind(i, *inputs[i]);
            request_.infer();
            for (std::size_t i = 0; i < outputs.size(); ++i) take(i, outputs[i]);
        } catch (const Error&) {
            throw;
        } catch (const std::exception& fault) {
            throw Error(Error::input, "the engine fails on this feed: " + reason(fault.what()),
                        "see that the model takes such values");
        }
    }

private:
    // The engine reads the array where it lies; it is told again only when that is elsewhere.
    void bind(std::size_t i, const Array& array) {
        if (bound_[i].first == array.data() && bound_[i].second == array.shape()) return;
        ov::Shape shape(array.shape().begin(), array.shape().end());
        ov::Tensor tensor(type_of(array.dtype()), shape, const_cast<void*>(array.data()));
        request_.set_input_tensor(inputs_[i], tensor);
        bound_[i] = {array.data(), array.shape()};
    }

    void take(std::size_t i, Array& output) {
        ov::Tensor tensor = request_.get_output_tensor(outputs_[i]);
        Shape shape;
        for (std::size_t length : tensor.get_shape()) shape.push(length);
        output.resize(type_of(tensor.get_element_type()), shape);
        if (output.bytes()) std::memcpy(output.data(), tensor.data(), output.bytes());
    }

    ov::InferRequest request_;
    std::vector<std::size_t> inputs_, outputs_;
    std::vector<std::pair<const void*, Shape>> bound_;
};

class Network final : public Model {
public:
    explicit Network(const Job& job) {
        try {
            ov::Core core;
            compiled_ = core.compile_model(core.read_model(job.file), "CPU", settings(job));
        } catch (const std::exception& fault) {
            throw Error(Error::input, "openvino refuses the model: " + reason(fault.what()), another);
        }
        for (const Tensor& t : job.signature.inputs) inputs_.push_back(place(compiled_.inputs(), t.name));
        for (const Tensor& t : job.signature.outputs) outputs_.push_back(place(compiled_.outputs(), t.name));
    }

    std::unique_ptr<Request> request() override {
        return std::make_unique<Infer>(compiled_.create_infer_request(), inputs_, outputs_);
    }

private:
    static ov::AnyMap settings(const Job& job) {
        ov::AnyMap said{{"INFERENCE_PRECISION_HINT", job.settings.value("hint", "f32")},
                        {"EXECUTION_MODE_HINT", "PERFORMANCE"},
                        {"PERFORMANCE_HINT", "LATENCY"},
                        {"INFERENCE_NUM_THREADS", job.threads},
                        {"NUM_STREAMS", job.settings.value("streams", 1)}};
        if (!job.settings.value("transforms", true)) said["LP_TRANSFORMS_MODE"] = "NO";
        return said;
    }

    ov::CompiledModel compiled_;
    std::vector<std::size_t> inputs_, outputs_;
};

}  // namespace

Engine openvino() {
    return {"openvino",
            {{Setting::integer, "threads", {}},
             {Setting::choice, "hint", {"f32", "bf16"}},
             {Setting::integer, "streams", {}},
             {Setting::boolean, "transforms", {}}},
            "",
            [](const Job& job) { return std::make_unique<Network>(job); }};
}

}  // namespace hasten
