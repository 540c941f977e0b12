// ONNX Runtime on the CPU, with the settings of the Python engine. Built where -DORT_ROOT says it lies.
#include <onnxruntime_cxx_api.h>

#include <cstring>

#include "../engine.h"

namespace hasten {
namespace {

std::string reason(const char* said) {
    std::string text = said;
    while (!text.empty() && text.back() == '\n') text.pop_back();
    std::size_t line = text.rfind('\n');
    return cut(line == std::string::npos ? text : text.substr(line + 1), 300);
}

constexpr ONNXTensorElementDataType types[] = {
    ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL,   ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
    ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8,    ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16,
    ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,  ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,   ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,
    ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32,  ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64};

Type type_of(ONNXTensorElementDataType type) {
    for (std::size_t i = 0; i < std::size(types); ++i)
        if (types[i] == type) return static_cast<Type>(i);
    throw Error(Error::bug, "the engine answered outside the signature: with values that numpy has no type for");
}

Ort::Env& environment() {
    static Ort::Env only(ORT_LOGGING_LEVEL_ERROR, "hasten");
    return only;
}

class Call final : public Request {
public:
    Call(Ort::Session& session, const Signature& signature) : session_(session) {
        for (const Tensor& t : signature.inputs) inputs_.push_back(t.name);
        for (const Tensor& t : signature.outputs) outputs_.push_back(t.name);
        for (const std::string& name : inputs_) input_names_.push_back(name.c_str());
        for (const std::string& name : outputs_) output_names_.push_back(name.c_str());
    }

    void run(const std::vector<const Array*>& inputs, std::vector<Array>& outputs) override {
        try {
            given_.clear();
            for (const Array* array : inputs) given_.push_back(shared(*array));
            auto answer = session_.Run(Ort::RunOptions{nullptr}, input_names_.data(), given_.data(), given_.size(),
                                       output_names_.data(), output_names_.size());
            for (std::size_t i = 0; i < outputs.size(); ++i) take(answer.at(i), outputs[i]);
        } catch (const Ort::Exception& fault) {
            throw Error(Error::input, "the engine fails on this feed: " + reason(fault.what()),
                        "see that the model takes such values");
        }
    }

private:
    Ort::Value shared(const Array& array) {
        std::vector<std::int64_t> shape(array.shape().begin(), array.shape().end());
        return Ort::Value::CreateTensor(memory_, const_cast<void*>(array.data()), array.bytes(), shape.data(),
                                        shape.size(), types[static_cast<std::size_t>(array.dtype())]);
    }

    static void take(const Ort::Value& value, Array& output) {
        auto about = value.GetTensorTypeAndShapeInfo();
        Shape shape;
        for (std::int64_t length : about.GetShape()) shape.push(static_cast<std::size_t>(length));
        output.resize(type_of(about.GetElementType()), shape);
        if (output.bytes()) std::memcpy(output.data(), value.GetTensorRawData(), output.bytes());
    }

    Ort::Session& session_;
    Ort::MemoryInfo memory_ = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    std::vector<std::string> inputs_, outputs_;
    std::vector<const char*> input_names_, output_names_;
    std::vector<Ort::Value> given_;
};

class Network final : public Model {
public:
    explicit Network(const Job& job) : signature_(job.signature) {
        try {
            Ort::SessionOptions options;
            options.SetIntraOpNumThreads(job.threads);
            options.SetInterOpNumThreads(1);
            options.SetExecutionMode(ORT_SEQUENTIAL);
            options.SetGraphOptimizationLevel(ORT_ENABLE_ALL);
            options.SetLogSeverityLevel(ORT_LOGGING_LEVEL_ERROR);
            if (job.settings.value("turns", false)) options.AddConfigEntry("session.force_spinning_stop", "1");
            session_ = Ort::Session(environment(), job.file.c_str(), options);
        } catch (const Ort::Exception& fault) {
            throw Error(Error::input, "onnxruntime refuses the model: " + reason(fault.what()), "try another engine");
        }
    }

    std::unique_ptr<Request> request() override { return std::make_unique<Call>(session_, signature_); }

private:
    Signature signature_;
    Ort::Session session_{nullptr};
};

}  // namespace

Engine onnxruntime() {
    return {"onnxruntime", {{Setting::integer, "threads", {}}, {Setting::boolean, "turns", {}}}, "", [](const Job& job) {
                return std::make_unique<Network>(job);
            }};
}

}  // namespace hasten
