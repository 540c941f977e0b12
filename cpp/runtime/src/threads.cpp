#include "threads.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>

namespace hasten {
namespace {

// Processors' worth of time that one control group allows: version 2's file, or version 1's two.
std::optional<double> limit(const std::string& folder) {
    std::string allowed;
    double period = 0;
    if (std::ifstream both(folder + "/cpu.max"); both >> allowed >> period) {
    } else {
        std::ifstream quota(folder + "/cpu.cfs_quota_us"), each(folder + "/cpu.cfs_period_us");
        if (!(quota >> allowed) || !(each >> period)) return std::nullopt;
    }
    if (allowed == "max" || allowed == "-1" || !(period > 0)) return std::nullopt;
    return std::strtod(allowed.c_str(), nullptr) / period;
}

bool counts_processors(const std::string& controllers) {
    std::istringstream all(controllers);
    for (std::string one; std::getline(all, one, ',');)
        if (one == "cpu") return true;
    return controllers.empty();
}

// The tightest limit of the control groups of this process and of those above them.
std::optional<double> quota() {
    std::optional<double> least;
    std::ifstream groups("/proc/self/cgroup");
    for (std::string line; std::getline(groups, line);) {
        std::size_t first = line.find(':'), second = line.find(':', first + 1);
        if (second == std::string::npos) continue;
        std::string controllers = line.substr(first + 1, second - first - 1), path = line.substr(second + 1);
        if (!counts_processors(controllers)) continue;
        std::string top = controllers.empty() ? "/sys/fs/cgroup" : "/sys/fs/cgroup/cpu";
        for (;; path.resize(path.rfind('/'))) {
            while (!path.empty() && path.back() == '/') path.pop_back();
            if (auto found = limit(top + path)) least = least ? std::min(*least, *found) : *found;
            if (path.rfind('/') == std::string::npos) break;
        }
    }
    return least;
}

}  // namespace

int threads() {
    cpu_set_t set;
    CPU_ZERO(&set);
    int mine = sched_getaffinity(0, sizeof set, &set) == 0 ? std::max(1, CPU_COUNT(&set)) : 1;
    auto allowed = quota();
    return allowed && *allowed > 0 ? std::min(mine, std::max(1, static_cast<int>(std::floor(*allowed)))) : mine;
}

}  // namespace hasten
