// TensorRT 10 or 11 on an NVIDIA GPU, with the settings of the Python engine. Built where -DTENSORRT_ROOT says it lies.
// Not verified on hardware: written from NVIDIA's documentation.
#include <NvInfer.h>
#include <NvOnnxParser.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <mutex>

#include "../engine.h"

namespace hasten {
namespace {

constexpr const char* another = "try another engine";

[[noreturn]] void refuse(const std::string& why) { throw Error(Error::input, "tensorrt refuses the model: " + why, another); }

void check(cudaError_t code) {
    if (code != cudaSuccess)
        throw Error(Error::input, std::string("CUDA says ") + cudaGetErrorName(code),
                    "see that the GPU has memory left, and is well");
}

// Keeps the last error; everything else is chatter.
class Log final : public nvinfer1::ILogger {
public:
    void log(Severity severity, const char* text) noexcept override {
        if (severity > Severity::kERROR) return;
        std::lock_guard<std::mutex> held(lock_);
        last_ = text;
    }
    std::string last() {
        std::lock_guard<std::mutex> held(lock_);
        return last_.empty() ? "no reason given" : cut(last_, 300);
    }

private:
    std::mutex lock_;
    std::string last_;
};

Log& logger() {
    static Log only;
    return only;
}

nvinfer1::Dims dims(const Shape& shape) {
    if (shape.rank() > nvinfer1::Dims::MAX_DIMS) refuse("it has more than " + std::to_string(nvinfer1::Dims::MAX_DIMS) + " axes");
    nvinfer1::Dims made{};
    made.nbDims = static_cast<int>(shape.rank());
    for (std::size_t i = 0; i < shape.rank(); ++i) made.d[i] = static_cast<std::int64_t>(shape[i]);
    return made;
}

// What the free axes may be; the same as in Python.
struct Lengths {
    std::size_t typical, most, longest;
    bool fixed;

    nvinfer1::Dims of(const Tensor& tensor, bool batched, std::size_t samples, std::size_t other) const {
        Shape shape;
        for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
            std::size_t length = tensor.shape[i].length;
            shape.push(length ? length : i == 0 && batched ? samples : other);
        }
        return dims(shape);
    }
};

bool free_axis(const Tensor& tensor) {
    return std::any_of(tensor.shape.begin(), tensor.shape.end(), [](const Axis& axis) { return !axis.length; });
}

// Where it is kept what earlier builds have timed on this kind of GPU, so that the next is faster and gives the same.
std::filesystem::path timing_file() {
    cudaDeviceProp device{};
    check(cudaGetDeviceProperties(&device, 0));
    std::string name = device.name;
    std::replace(name.begin(), name.end(), ' ', '-');
    const char *cache = std::getenv("HASTEN_CACHE"), *home = std::getenv("HOME");
    std::filesystem::path folder = cache && *cache ? std::filesystem::path(cache)
                                                   : std::filesystem::path(home ? home : ".") / ".cache" / "hasten";
    name += "-sm" + std::to_string(device.major) + std::to_string(device.minor) + "-" +
            std::to_string(NV_TENSORRT_MAJOR) + "." + std::to_string(NV_TENSORRT_MINOR) + "." +
            std::to_string(NV_TENSORRT_PATCH) + "." + std::to_string(NV_TENSORRT_BUILD) + ".timing";
    return folder / "tensorrt" / name;
}

std::string contents(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

// Whole or not at all: under a name of its own, then renamed.
void keep(const std::filesystem::path& path, const nvinfer1::IHostMemory& bytes) {
    std::error_code ignored;  // a cache that cannot be kept costs time, and no answer
    std::filesystem::create_directories(path.parent_path(), ignored);
    std::filesystem::path aside = path;
    aside += ".aside";
    {
        std::ofstream file(aside, std::ios::binary);
        file.write(static_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
        if (!file) return;
    }
    std::filesystem::rename(aside, path, ignored);
}

std::unique_ptr<nvinfer1::IHostMemory> built(const Job& job, const Lengths& lengths, int dla) {
    std::unique_ptr<nvinfer1::IBuilder> builder(nvinfer1::createInferBuilder(logger()));
    if (!builder) refuse(logger().last());
    auto strong = 1U << static_cast<std::uint32_t>(nvinfer1::NetworkDefinitionCreationFlag::kSTRONGLY_TYPED);
    std::unique_ptr<nvinfer1::INetworkDefinition> network(builder->createNetworkV2(strong));
    std::unique_ptr<nvonnxparser::IParser> parser(nvonnxparser::createParser(*network, logger()));
    if (!parser->parseFromFile(job.file.c_str(), static_cast<int>(nvinfer1::ILogger::Severity::kERROR)))
        refuse(parser->getNbErrors() ? cut(parser->getError(0)->desc(), 300) : logger().last());
    std::unique_ptr<nvinfer1::IBuilderConfig> config(builder->createBuilderConfig());
    config->clearFlag(nvinfer1::BuilderFlag::kTF32);
    if (dla >= 0) {
        if (dla >= builder->getNbDLACores())
            throw Error(Error::missing, "there are " + std::to_string(builder->getNbDLACores()) + " DLA cores",
                        "dla_core=" + std::to_string(dla) + " is not one");
        config->setDefaultDeviceType(nvinfer1::DeviceType::kDLA);
        config->setDLACore(dla);
        config->setFlag(nvinfer1::BuilderFlag::kGPU_FALLBACK);
    }
    nvinfer1::IOptimizationProfile* profile = nullptr;
    for (const Tensor& tensor : job.signature.inputs) {
        if (!free_axis(tensor)) continue;
        if (!profile) profile = builder->createOptimizationProfile();
        bool batched = !tensor.shape.front().length;
        std::size_t least = lengths.fixed ? lengths.typical : 1, most = lengths.fixed ? lengths.typical : lengths.most;
        std::size_t shortest = lengths.fixed ? lengths.longest : 1;
        using Selector = nvinfer1::OptProfileSelector;
        const char* name = tensor.name.c_str();
        profile->setDimensions(name, Selector::kMIN, lengths.of(tensor, batched, least, shortest));
        profile->setDimensions(name, Selector::kOPT, lengths.of(tensor, batched, lengths.typical, lengths.longest));
        profile->setDimensions(name, Selector::kMAX, lengths.of(tensor, batched, most, lengths.longest));
    }
    if (profile) config->addOptimizationProfile(profile);
    auto path = timing_file();
    std::string before = contents(path);
    std::unique_ptr<nvinfer1::ITimingCache> timed(config->createTimingCache(before.data(), before.size()));
    if (!timed || !config->setTimingCache(*timed, false)) {
        timed.reset(config->createTimingCache(nullptr, 0));
        config->setTimingCache(*timed, false);
    }
    std::unique_ptr<nvinfer1::IHostMemory> plan(builder->buildSerializedNetwork(*network, *config));
    if (!plan) refuse(logger().last());
    std::unique_ptr<nvinfer1::IHostMemory> after(timed->serialize());
    if (after) keep(path, *after);
    return plan;
}

// Memory of the GPU that only grows.
class Buffer {
public:
    Buffer() = default;
    Buffer(Buffer&& other) noexcept : at_(std::exchange(other.at_, nullptr)), size_(std::exchange(other.size_, 0)) {}
    ~Buffer() { cudaFree(at_); }
    void* hold(std::size_t size) {
        if (!at_ || size_ < size) {
            check(cudaFree(std::exchange(at_, nullptr)));
            check(cudaMalloc(&at_, std::max<std::size_t>(size, 1)));
            size_ = size;
        }
        return at_;
    }

private:
    void* at_ = nullptr;
    std::size_t size_ = 0;
};

class Call final : public Request {
public:
    Call(nvinfer1::ICudaEngine& engine, const Signature& signature)
        : signature_(signature),
          context_(engine.createExecutionContext()),
          inputs_(signature.inputs.size()),
          outputs_(signature.outputs.size()) {
        if (!context_) refuse(logger().last());
        check(cudaStreamCreate(&stream_));
    }
    ~Call() override { cudaStreamDestroy(stream_); }

    void run(const std::vector<const Array*>& inputs, std::vector<Array>& outputs) override {
        for (std::size_t i = 0; i < inputs.size(); ++i) {
            const char* name = signature_.inputs[i].name.c_str();
            void* at = inputs_[i].hold(inputs[i]->bytes());
            if (!context_->setInputShape(name, dims(inputs[i]->shape())))
                fails(repr(signature_.inputs[i].name) + " is longer than most= and longest= of the bundle allow");
            check(cudaMemcpyAsync(at, inputs[i]->data(), inputs[i]->bytes(), cudaMemcpyHostToDevice, stream_));
            context_->setTensorAddress(name, at);
        }
        for (std::size_t i = 0; i < outputs.size(); ++i) {
            const Tensor& tensor = signature_.outputs[i];
            nvinfer1::Dims made = context_->getTensorShape(tensor.name.c_str());
            Shape shape;
            for (int k = 0; k < made.nbDims; ++k) {
                if (made.d[k] < 0) fails("the shape of " + repr(tensor.name) + " depends on values");
                shape.push(static_cast<std::size_t>(made.d[k]));
            }
            outputs[i].resize(tensor.dtype, shape);
            context_->setTensorAddress(tensor.name.c_str(), outputs_[i].hold(outputs[i].bytes()));
        }
        if (!context_->enqueueV3(stream_)) fails(logger().last());
        for (std::size_t i = 0; i < outputs.size(); ++i)
            check(cudaMemcpyAsync(outputs[i].data(), outputs_[i].hold(outputs[i].bytes()), outputs[i].bytes(),
                                  cudaMemcpyDeviceToHost, stream_));
        check(cudaStreamSynchronize(stream_));
    }

private:
    [[noreturn]] static void fails(const std::string& why) {
        throw Error(Error::input, "the engine fails on this feed: " + why, "see that the model takes such values");
    }

    Signature signature_;
    std::unique_ptr<nvinfer1::IExecutionContext> context_;
    std::vector<Buffer> inputs_, outputs_;
    cudaStream_t stream_ = nullptr;
};

class Network final : public Model {
public:
    explicit Network(const Job& job) : signature_(job.signature) {
        int dla = job.settings.value("dla_core", -1);
        auto length = [&](const char* name, int otherwise) {
            return static_cast<std::size_t>(std::max(1, job.settings.value(name, otherwise)));
        };
        Lengths lengths{length("typical", 1), length("most", 32), length("longest", 512), dla >= 0};
        auto plan = built(job, lengths, dla);
        runtime_.reset(nvinfer1::createInferRuntime(logger()));
        if (!runtime_) refuse(logger().last());
        if (dla >= 0) runtime_->setDLACore(dla);
        engine_.reset(runtime_->deserializeCudaEngine(plan->data(), plan->size()));
        if (!engine_) refuse(logger().last());
    }

    std::unique_ptr<Request> request() override { return std::make_unique<Call>(*engine_, signature_); }

private:
    Signature signature_;
    std::unique_ptr<nvinfer1::IRuntime> runtime_;
    std::unique_ptr<nvinfer1::ICudaEngine> engine_;
};

}  // namespace

Engine tensorrt() {
    return {"tensorrt", tensorrt_settings(), "", [](const Job& job) { return std::make_unique<Network>(job); }};
}

}  // namespace hasten
