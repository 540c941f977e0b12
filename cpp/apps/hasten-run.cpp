// hasten-run BUNDLE INPUT...: answers as JSON lines. It has no configuration of its own: the bundle says it all.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <deque>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "contents.h"
#include "hasten/hasten.h"
#include "image_file.h"
#include "json.h"
#include "npy.h"

namespace {

using namespace hasten;
using Clock = std::chrono::steady_clock;
using Raw = std::vector<std::pair<std::string, Array>>;  // by name of the input

constexpr const char* help = R"(usage: hasten-run BUNDLE INPUT...               one JSON line a sample
       hasten-run BUNDLE --verify               replay the golden cases
       hasten-run BUNDLE --bench [SECONDS]      time it on the golden samples (2 s), one JSON line; half of the time
                                                one call after the other, then two at once
       hasten-run BUNDLE --load                 read and check it, and replay nothing
       hasten-run BUNDLE INPUT --prepared FOLDER  write the prepared tensors as 0.npy, 1.npy ..., and infer nothing
       hasten-run BUNDLE INPUT --outputs FOLDER   write the outputs as 0.npy, 1.npy ... beside answering

INPUT is a file of samples [N, ...]: .npy, or raw values in C order where the shape is fixed but for N; or one image, JPEG
or PNG. Where the network has several inputs, it is NAME=FILE,NAME=FILE. --no-verify: start without replaying the golden
cases.
Exit codes: 0 done, 1 another answer than was measured, 2 usage, 3 bad input, 5 a missing piece, 70 a bug.
)";

struct Options {
    std::string bundle, prepared, outputs;
    std::vector<std::string> inputs;
    bool verify_only = false, load_only = false, verify = true, help = false;
    std::optional<double> bench_s;
};

Error usage(const std::string& fault) { return Error(Error::usage, fault, "see hasten-run --help"); }

bool is_number(const char* text) {
    char* end = nullptr;
    double value = std::strtod(text, &end);
    return end != text && !*end && value > 0 && value < 1e6;
}

Options parsed(int count, char** words) {
    Options made;
    for (int i = 1; i < count; ++i) {
        std::string word = words[i];
        if (word == "--help" || word == "-h") {
            made.help = true;
        } else if (word == "--verify") {
            made.verify_only = true;
        } else if (word == "--no-verify") {
            made.verify = false;
        } else if (word == "--load") {
            made.load_only = true, made.verify = false;
        } else if (word == "--bench") {
            made.bench_s = i + 1 < count && is_number(words[i + 1]) ? std::strtod(words[++i], nullptr) : 2.0;
        } else if (word == "--prepared" || word == "--outputs") {
            if (++i == count) throw usage(word + " needs a place to write to");
            (word == "--prepared" ? made.prepared : made.outputs) = words[i];
        } else if (word.size() > 1 && word[0] == '-') {
            throw usage("there is no option " + word);
        } else {
            (made.bundle.empty() ? made.bundle : made.inputs.emplace_back()) = word;
        }
    }
    if (made.help) return made;
    if (made.bundle.empty()) throw usage("no bundle is given");
    int alone = made.verify_only + made.load_only + made.bench_s.has_value();
    if (alone > 1) throw usage("--verify, --load and --bench are different things: run it once for each");
    if (made.inputs.empty() && !alone) throw usage("no input is given");
    if (!made.inputs.empty() && alone)
        throw usage("--verify, --load and --bench take no INPUT: the bundle has samples");
    if (!(made.prepared + made.outputs).empty() && made.inputs.size() != 1)
        throw usage("--prepared and --outputs take one INPUT");
    return made;
}

// Raw values of the tensor's type, as many samples as the file holds.
Array read_raw(const std::string& path, const Tensor& tensor) {
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    if (!file) throw Error(Error::input, path + " cannot be read", "give a file");
    Shape shape;
    for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
        if (i && !tensor.shape[i].length)
            throw Error(Error::input, path + " has no shape of its own, and the network's is free",
                        "give an .npy file");
        shape.push(i ? tensor.shape[i].length : 1);
    }
    auto bytes = static_cast<std::size_t>(file.tellg()), each = shape.count() * size_of(tensor.dtype);
    if (!bytes || bytes % each || !shape.rank())
        throw Error(Error::input, path + " holds " + std::to_string(bytes) + " bytes, and a sample has " +
                                      std::to_string(each), "give whole samples");
    shape[0] = bytes / each;
    Array array(tensor.dtype, shape);
    file.seekg(0);
    if (!file.read(static_cast<char*>(array.data()), static_cast<std::streamsize>(bytes)))
        throw Error(Error::input, path + " cannot be read", "give a file");
    return array;
}

Array read_input(const std::string& path, const Tensor& tensor, const Pipeline& pipeline) {
    auto how = pipeline.images.find(tensor.name);
    if (how != pipeline.images.end() && is_image_file(path)) {
        if (pipeline.frames)
            throw Error(Error::input, path + " is one image, and a window has " + std::to_string(pipeline.frames),
                        "give an array [N, frames, ...]");
        return read_image(path, how->second.source);
    }
    bool npy = path.size() > 4 && path.compare(path.size() - 4, 4, ".npy") == 0;
    return npy ? read_npy(path) : read_raw(path, tensor);
}

// FILE, or NAME=FILE,NAME=FILE.
Raw read_inputs(const std::string& word, const Bundle& bundle) {
    const Signature& signature = bundle.signature();
    const Pipeline& pipeline = bundle.contents()->pipeline;
    Raw raw;
    if (signature.inputs.size() == 1 && word.rfind(signature.inputs[0].name + "=", 0) != 0) {
        raw.emplace_back(signature.inputs[0].name, read_input(word, signature.inputs[0], pipeline));
        return raw;
    }
    for (std::size_t from = 0; from <= word.size();) {
        std::size_t to = std::min(word.find(',', from), word.size());
        std::string part = word.substr(from, to - from);
        auto named = [&](const Tensor& t) { return part.rfind(t.name + "=", 0) == 0; };
        auto tensor = std::find_if(signature.inputs.begin(), signature.inputs.end(), named);
        if (tensor == signature.inputs.end())
            throw usage(part + " names none of the network's inputs: write NAME=FILE,NAME=FILE");
        raw.emplace_back(tensor->name, read_input(part.substr(tensor->name.size() + 1), *tensor, pipeline));
        from = to + 1;
    }
    return raw;
}

// Indices as names, nested as they are. Of boxes: each of [box, class] by its class.
Json named(const Json& decision, const std::vector<std::string>& labels, bool boxes) {
    if (decision.is_number()) return labels.at(decision.get<std::size_t>());
    Json made = decision;
    for (Json& item : made) item = named(boxes ? item[1] : item, labels, false);
    return made;
}

void tell(const std::string& input, const Answer& answer, const std::vector<std::string>& labels) {
    for (std::size_t n = 0; n < answer.samples; ++n) {
        Json decision = Json::parse(answer.decision(n));
        Json line{{"input", input}, {"sample", n}, {"decision", decision}};
        if (!labels.empty() && !decision.is_null()) line["labels"] = named(decision, labels, answer.kind == Answer::Kind::boxes);
        std::printf("%s\n", line.dump(-1, ' ', false, Json::error_handler_t::replace).c_str());
    }
}

double percentile(std::vector<double>& values, double share) {
    auto at = values.begin() + static_cast<std::ptrdiff_t>(share * static_cast<double>(values.size() - 1) + 0.5);
    std::nth_element(values.begin(), at, values.end());
    return *at;
}

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

double sum(const std::vector<double>& values) {
    double total = 0;
    for (double value : values) total += value;
    return total;
}

// Samples a second with `requests` calls in flight.
double pipelined(Runner& runner, const std::vector<Frame>& frames, double seconds, std::size_t requests) {
    Answer answer;
    std::size_t sent = 0, done = 0;
    std::deque<Runner::Ticket> flying;
    auto start = Clock::now();
    while (seconds_since(start) < seconds) {
        if (flying.size() == requests) {
            flying.front().get(answer);
            flying.pop_front();
            done += answer.samples;
        }
        flying.push_back(runner.submit(frames[sent++ % frames.size()]));
    }
    return static_cast<double>(done) / seconds_since(start);
}

// One call after the other for half of the time; then two at once, the next prepared while one is inferred.
Json bench(const Bundle& bundle, double seconds) {
    constexpr std::size_t warm = 5, requests = 2;
    std::vector<Raw> raw;
    for (std::size_t i = 0; i < std::min<std::size_t>(bundle.cases(), 16); ++i) raw.push_back(bundle.raw(i));
    std::vector<Frame> frames;
    for (const Raw& one : raw) frames.push_back(bundle.frame(one));
    Runner runner(bundle, requests);
    Answer answer;
    std::vector<double> whole, model, prepare, decide;
    std::vector<std::vector<double>> cases(frames.size());
    auto start = Clock::now();
    for (std::size_t i = 0; i < warm + std::max<std::size_t>(10, frames.size()) || seconds_since(start) < seconds / 2; ++i) {
        auto before = Clock::now();
        runner.run(frames[i % frames.size()], answer);
        double ms = 1e3 * seconds_since(before);
        if (i < warm) continue;
        cases[i % frames.size()].push_back(ms);
        whole.push_back(ms), model.push_back(answer.infer_ms), prepare.push_back(answer.prepare_ms);
        decide.push_back(answer.answer_ms);
    }
    Json by_case = Json::array();
    for (std::vector<double>& times : cases) by_case.push_back(percentile(times, 0.5));
    double one = static_cast<double>(answer.samples * whole.size()) / (sum(whole) / 1e3);
    double two = pipelined(runner, frames, seconds / 2, requests);
    return {{"samples_a_call", answer.samples},
            {"calls", whole.size()},
            {"latency_p50_ms", percentile(whole, 0.5)},
            {"latency_p90_ms", percentile(whole, 0.9)},
            {"model_p50_ms", percentile(model, 0.5)},
            {"model_p90_ms", percentile(model, 0.9)},
            {"prepare_p50_ms", percentile(prepare, 0.5)},
            {"answer_p50_ms", percentile(decide, 0.5)},
            {"cases_p50_ms", by_case},
            {"sequential_per_s", one},
            {"pipelined_per_s", two},
            {"throughput_per_s", std::max(one, two)}};
}

void write_all(const std::string& folder, const std::vector<Array>& arrays) {
    for (std::size_t k = 0; k < arrays.size(); ++k)
        write_npy(folder + "/" + std::to_string(k) + ".npy", arrays[k].view());
}

void run(const Options& options) {
    Bundle bundle = Bundle::load(options.bundle, options.verify);
    if (options.load_only) return;
    if (options.verify_only) {
        if (!options.verify) bundle.verify();
        Json line{{"bundle", options.bundle}, {"cases", bundle.cases()}, {"verified", true}};
        std::printf("%s\n", line.dump().c_str());
        return;
    }
    if (options.bench_s) {
        std::printf("%s\n", bench(bundle, *options.bench_s).dump().c_str());
        return;
    }
    Runner runner(bundle);
    Answer answer;
    for (const std::string& input : options.inputs) {
        Raw raw = read_inputs(input, bundle);
        Frame frame = bundle.frame(raw);
        if (!options.prepared.empty()) {
            write_all(options.prepared, runner.prepare(frame));
        } else {
            runner.run(frame, answer);
            if (!options.outputs.empty()) write_all(options.outputs, answer.outputs);
            tell(input, answer, bundle.labels());
        }
    }
}

int refuse(const Error& fault) {
    std::string line = fault.what();
    std::replace(line.begin(), line.end(), '\n', ' ');
    std::fprintf(stderr, "hasten-run: %s\n", line.c_str());
    return fault.kind();
}

}  // namespace

int main(int count, char** words) {
    try {
        Options options = parsed(count, words);
        if (options.help) {
            std::fputs(help, stdout);
            return 0;
        }
        run(options);
        return std::fflush(stdout) == 0 ? 0 : 3;
    } catch (const Error& fault) {
        return refuse(fault);
    } catch (const std::exception& fault) {
        return refuse(Error(Error::bug, std::string("a bug: ") + fault.what(), "please report it"));
    }
}
