// Scores, classes and boxes against values worked out by hand.
#include "hasten/answers.h"

#include <cmath>
#include <cstdio>
#include <limits>
#include <vector>

using namespace hasten;

namespace {

int failures = 0;

void expect(bool good, const char* what) {
    if (!good) std::printf("FAILED: %s\n", what), ++failures;
}

bool near(double a, double b) { return std::abs(a - b) < 1e-15; }

std::vector<int> best(std::vector<double> row, TopK how) {
    std::vector<int> found;
    top_k(row.data(), row.size(), how, found);
    return found;
}

const double nan = std::numeric_limits<double>::quiet_NaN();
const double lowest = -std::numeric_limits<double>::infinity();

void activations() {
    const double rows[] = {0, 0, std::log(2.0), 1000, 1000, lowest};
    double scores[6];
    activate(rows, 2, 3, Activation::softmax, scores);
    expect(near(scores[0], 0.25) && near(scores[1], 0.25) && near(scores[2], 0.5), "softmax");
    expect(near(scores[3], 0.5) && near(scores[5], 0), "softmax of large values does not overflow");
    activate(rows, 1, 6, Activation::sigmoid, scores);
    expect(near(scores[0], 0.5) && near(scores[3], 1) && near(scores[5], 0), "sigmoid");
    activate(rows, 1, 6, Activation::none, scores);
    expect(scores[3] == 1000, "no activation");
}

void classes() {
    expect(best({1, 5, 3}, {1, lowest, Activation::none}) == std::vector<int>{1}, "the best");
    expect(best({2, 3, 2, 3}, {3, lowest, Activation::none}) == std::vector<int>{1, 3, 0}, "the lower index first");
    expect(best({1, 2}, {9, lowest, Activation::none}) == std::vector<int>{1, 0}, "more than there are");
    expect(best({0, 0, std::log(2.0)}, {3, 0.3, Activation::softmax}) == std::vector<int>{2}, "the threshold");
    expect(best({nan, 1, nan}, {3, lowest, Activation::none}) == std::vector<int>{1}, "no number is never reported");
    std::vector<int> kept{7};
    const double row[] = {1, 2};
    top_k(row, 2, {1, lowest, Activation::none}, kept);
    expect(kept == std::vector<int>{7, 1}, "found classes are appended");
}

void boxes() {
    const Detection a{0, 0, 10, 10, 0.9, 0}, half{0, 0, 10, 5, 0.8, 0}, other{0, 0, 10, 10, 0.7, 1}, far{20, 20, 30, 30, 0.6, 0};
    const std::vector<Detection> all{far, half, a, other};
    expect(suppress(all, 0.4, 0) == std::vector<int>{2, 3, 0}, "an overlap of one half goes; another label stays");
    expect(suppress(all, 0.5, 0) == std::vector<int>{2, 1, 3, 0}, "an overlap of exactly the bound stays");
    expect(suppress(all, 0.4, 0.65) == std::vector<int>{2, 3}, "a low score goes first");
    expect(suppress({a, a}, 0.5, 0) == std::vector<int>{0}, "of equals the first");
    expect(suppress({}, 0.5, 0).empty(), "none");
    std::vector<int> kept(4);
    const int* memory = kept.data();
    suppress(all.data(), all.size(), 0.4, 0, kept);
    expect(kept == std::vector<int>{2, 3, 0} && kept.data() == memory, "into the same memory");
}

}  // namespace

int main() {
    activations();
    classes();
    boxes();
    return failures ? 1 : 0;
}
