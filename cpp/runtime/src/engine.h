// An engine: compiles a network once and runs it many times. A file of engines/ each.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "hasten/hasten.h"
#include "json.h"

namespace hasten {

// One call at a time. Inputs and outputs are in the order of the signature; `outputs` are resized as it takes, and hold
// memory of their own.
class Request {
public:
    virtual ~Request() = default;
    virtual void run(const std::vector<const Array*>& inputs, std::vector<Array>& outputs) = 0;
};

// A compiled network; its requests run beside each other.
class Model {
public:
    virtual ~Model() = default;
    virtual std::unique_ptr<Request> request() = 0;
};

// What is to be compiled. `settings` are those of the bundle, already checked; `threads` is settled for this machine.
struct Job {
    std::string file;
    const Signature& signature;
    const Json& settings;
    int threads;
};

struct Setting {
    enum Kind { integer, boolean, choice } kind;
    std::string name;
    std::vector<std::string> choices;  // of a choice; the first is the default
};

struct Engine {
    std::string name;
    std::vector<Setting> settings;
    std::string missing;  // why this build cannot run it, and what to do; empty where it can
    std::function<std::unique_ptr<Model>(const Job&)> compile;
};
using Engines = std::vector<Engine>;

Engine openvino();     // engines/openvino.cpp, or absent.cpp
Engine onnxruntime();  // engines/onnxruntime.cpp, or absent.cpp
Engine tensorrt();     // engines/tensorrt.cpp, or absent.cpp
std::vector<Setting> tensorrt_settings();
const Engines& engines();

// The one that a stage names, which has its settings, and runs here or says why not. Throws Error.
const Engine& find(const Engines& known, const std::string& name, const Json& settings);

}  // namespace hasten
