// hasten-load BUNDLE: the bundle under the load of MLPerf's LoadGen, for networks of less than a millisecond.
// What one run is asked for comes from src/hasten/measure/_load_settings.py, as a file.
#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <fstream>
#include <iterator>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "hasten/hasten.h"
#include "json.h"
#include "loaded.h"
#include "loadgen.h"
#include "query_sample.h"
#include "query_sample_library.h"
#include "system_under_test.h"
#include "test_settings.h"
#include "version.h"

namespace {

using namespace hasten;
using Sizes = std::vector<std::size_t>;

constexpr const char* help = R"(usage: hasten-load BUNDLE --samples FOLDER --probe SECONDS
       hasten-load BUNDLE --samples FOLDER --settings FILE --out FOLDER

The samples are prepared: 0.npy, 1.npy ... [N, ...] in the order of the network's inputs. --probe prints how long single
calls take, and the samples a second in larger ones that answer the same. --settings runs one LoadGen test, whose logs
go to --out. `hasten measure BUNDLE --scenario S --cpp` calls both. Measured with LoadGen, not an MLPerf result.
Exit codes: 0 done, 2 usage, 3 bad input, 5 a missing piece, 70 a bug.
)";

struct Options {
    std::string bundle, samples, settings, out;
    double probe_s = 0;
    bool help = false;
};

Error usage(const std::string& fault) { return Error(Error::usage, fault, "see hasten-load --help"); }

Options parsed(int count, char** words) {
    Options made;
    std::string probe;
    for (int i = 1; i < count; ++i) {
        std::string word = words[i];
        std::string* to = word == "--samples" ? &made.samples : word == "--settings" ? &made.settings
                        : word == "--out" ? &made.out : word == "--probe" ? &probe : nullptr;
        if (word == "--help" || word == "-h") {
            made.help = true;
        } else if (to) {
            if (++i == count) throw usage(word + " needs a value");
            *to = words[i];
        } else if ((word.size() > 1 && word[0] == '-') || !made.bundle.empty()) {
            throw usage("there is no option " + word);
        } else {
            made.bundle = word;
        }
    }
    if (made.help) return made;
    if (made.bundle.empty() || made.samples.empty()) throw usage("a bundle and --samples are needed");
    if (probe.empty() == made.settings.empty()) throw usage("either --probe or --settings is needed");
    if (made.settings.empty() != made.out.empty()) throw usage("--settings and --out go together");
    if (!probe.empty() && !((made.probe_s = std::strtod(probe.c_str(), nullptr)) > 0))
        throw usage("--probe needs seconds");
    return made;
}

int refuse(const Error& fault) {
    std::string line = fault.what();
    std::replace(line.begin(), line.end(), '\n', ' ');
    std::fprintf(stderr, "hasten-load: %s\n", line.c_str());
    return fault.kind();
}

// LoadGen has no way to stop a test because of a fault in a callback: the process ends instead.
template <class Work> void guarded(Work work) {
    try {
        work();
    } catch (const Error& fault) {
        std::_Exit(refuse(fault));
    } catch (const std::exception& fault) {
        std::_Exit(refuse(Error(Error::bug, std::string("a bug: ") + fault.what(), "please report it")));
    }
}

// Answers on LoadGen's thread; in the Server scenario, whose queries must not wait for each other, on one of its own.
class UnderTest final : public mlperf::SystemUnderTest {
public:
    UnderTest(Loaded& loaded, Sizes sizes, bool own_thread) : loaded_(loaded), sizes_(std::move(sizes)) {
        if (own_thread) thread_ = std::thread([this] { guarded([this] { serve(); }); });
    }
    ~UnderTest() override {
        {
            std::lock_guard<std::mutex> held(mutex_);
            stop_ = true;
        }
        arrived_.notify_all();
        if (thread_.joinable()) thread_.join();
    }

    const std::string& Name() override { return name_; }
    void FlushQueries() override {}
    void IssueQuery(const std::vector<mlperf::QuerySample>& samples) override {
        if (!thread_.joinable()) return guarded([&] { answer(samples); });
        {
            std::lock_guard<std::mutex> held(mutex_);
            waiting_.insert(waiting_.end(), samples.begin(), samples.end());
        }
        arrived_.notify_one();
    }

private:
    // In calls of the sizes that there are, the largest first.
    void answer(const std::vector<mlperf::QuerySample>& samples) {
        std::size_t from = 0;
        for (std::size_t size : sizes_)
            for (; samples.size() - from >= size; from += size) {
                which_.clear();
                for (std::size_t n = 0; n < size; ++n) which_.push_back(samples[from + n].index);
                const auto& rows = loaded_.answer(which_.data(), size);
                responses_.clear();
                for (std::size_t n = 0; n < size; ++n)
                    responses_.emplace_back(samples[from + n].id,
                                            reinterpret_cast<std::uintptr_t>(rows.data() + n * loaded_.row()),
                                            loaded_.row());
                mlperf::QuerySamplesComplete(responses_.data(), responses_.size());
            }
    }

    void serve() {
        std::vector<mlperf::QuerySample> taken;
        for (;;) {
            {
                std::unique_lock<std::mutex> held(mutex_);
                arrived_.wait(held, [this] { return stop_ || !waiting_.empty(); });
                if (waiting_.empty()) return;
                auto end = waiting_.begin() + static_cast<std::ptrdiff_t>(std::min(waiting_.size(), sizes_.front()));
                taken.assign(waiting_.begin(), end);
                waiting_.erase(waiting_.begin(), end);
            }
            answer(taken);
        }
    }

    Loaded& loaded_;
    Sizes sizes_;
    std::string name_ = "hasten-load";
    std::vector<std::size_t> which_;
    std::vector<mlperf::QuerySampleResponse> responses_;
    std::mutex mutex_;  // of what follows
    std::condition_variable arrived_;
    std::deque<mlperf::QuerySample> waiting_;
    bool stop_ = false;
    std::thread thread_;
};

// Samples are in memory from the beginning.
class Library final : public mlperf::QuerySampleLibrary {
public:
    Library(std::size_t total, std::size_t loaded) : total_(total), loaded_(loaded) {}
    const std::string& Name() override { return name_; }
    std::size_t TotalSampleCount() override { return total_; }
    std::size_t PerformanceSampleCount() override { return loaded_; }
    void LoadSamplesToRam(const std::vector<mlperf::QuerySampleIndex>&) override {}
    void UnloadSamplesFromRam(const std::vector<mlperf::QuerySampleIndex>&) override {}

private:
    std::string name_ = "prepared samples";
    std::size_t total_, loaded_;
};

mlperf::TestSettings settings_of(const Json& file) {
    mlperf::TestSettings made;
    std::string scenario = file.at("scenario");
    made.mode = file.at("mode") == "accuracy" ? mlperf::TestMode::AccuracyOnly : mlperf::TestMode::PerformanceOnly;
    made.min_duration_ms = static_cast<std::uint64_t>(1e3 * file.at("min_duration_s").get<double>() + 0.5);
    made.min_query_count = file.at("min_query_count");
    made.performance_issue_same = file.at("same_sample");
    made.accuracy_log_sampling_target = file.at("logged_answers");
    made.qsl_rng_seed = std::stoull(file.at("seeds").at("qsl").get<std::string>());
    made.sample_index_rng_seed = std::stoull(file.at("seeds").at("sample_index").get<std::string>());
    made.schedule_rng_seed = std::stoull(file.at("seeds").at("schedule").get<std::string>());
    double percentile = file.at("percentile");
    if (scenario == "SingleStream") {
        made.scenario = mlperf::TestScenario::SingleStream;
        made.single_stream_expected_latency_ns = 1e6 * file.at("expected_latency_ms").get<double>();
        made.single_stream_target_latency_percentile = percentile;
    } else if (scenario == "MultiStream") {
        made.scenario = mlperf::TestScenario::MultiStream;
        made.multi_stream_expected_latency_ns = 1e6 * file.at("expected_latency_ms").get<double>();
        made.multi_stream_target_latency_percentile = percentile;
        made.multi_stream_samples_per_query = file.at("samples_per_query");
    } else if (scenario == "Server") {
        made.scenario = mlperf::TestScenario::Server;
        made.server_target_qps = file.at("expected_qps");
        double bound_ns = 1e6 * file.at("latency_bound_ms").get<double>();
        made.server_target_latency_ns = static_cast<std::uint64_t>(bound_ns + 0.5);
        made.server_target_latency_percentile = percentile;
    } else if (scenario == "Offline") {
        made.scenario = mlperf::TestScenario::Offline;
        made.offline_expected_qps = file.at("expected_qps");
    } else {
        throw Error(Error::usage, "there is no scenario " + repr(scenario));
    }
    return made;
}

void test(Loaded& loaded, const Options& options) {
    std::ifstream stream(options.settings);
    if (!stream) throw Error(Error::input, options.settings + " cannot be read", "give a file of settings");
    Json file = parse(std::string(std::istreambuf_iterator<char>(stream), {}), options.settings);
    Sizes sizes = file.at("sizes").get<Sizes>();
    std::size_t total = file.at("samples");
    if (sizes.empty() || sizes.back() != 1 || total > loaded.count())
        throw Error(Error::input, options.settings + " does not fit the samples");
    loaded.warm(sizes, file.at("warm_s"));
    mlperf::TestSettings settings = settings_of(file);
    mlperf::LogSettings logs;
    logs.log_output.outdir = options.out;
    logs.enable_trace = false;
    {
        UnderTest under_test(loaded, sizes, settings.scenario == mlperf::TestScenario::Server);
        Library library(total, file.at("loaded_samples"));
        // no audit file: one that lies in the working folder would change the test
        mlperf::StartTest(&under_test, &library, settings, logs, options.out + "/no.audit");
    }
    std::printf("%s\n", Json{{"loadgen", mlperf::LoadgenVersion()}}.dump().c_str());
}

}  // namespace

int main(int count, char** words) {
    try {
        Options options = parsed(count, words);
        if (options.help) {
            std::fputs(help, stdout);
            return 0;
        }
        Bundle bundle = Bundle::load(options.bundle, false);
        Loaded loaded(bundle, options.samples);
        if (options.settings.empty())
            std::printf("%s\n", loaded.probe(options.probe_s).dump().c_str());
        else
            test(loaded, options);
        return std::fflush(stdout) == 0 ? 0 : 3;
    } catch (const Error& fault) {
        return refuse(fault);
    } catch (const Json::exception& fault) {
        return refuse(Error(Error::input, std::string("the settings are not whole: ") + fault.what()));
    } catch (const std::exception& fault) {
        return refuse(Error(Error::bug, std::string("a bug: ") + fault.what(), "please report it"));
    }
}
