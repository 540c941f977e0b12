// From the network's outputs to an answer: scores, classes, boxes. spec/answers.md
#pragma once
#include <cstddef>
#include <limits>
#include <vector>

namespace hasten {

enum class Activation { none, softmax, sigmoid };

// Activated scores of rows [count, classes], computed in double. `scores` may not overlap `rows`.
void activate(const double* rows, std::size_t count, std::size_t classes, Activation kind, double* scores);

// The best `top_k` classes of one row whose score reaches `threshold`: best first, the lower index first among equals.
// The order is that of the raw values, the threshold is held against the activated ones. Appends to `best`.
struct TopK {
    std::size_t top_k = 1;
    double threshold = -std::numeric_limits<double>::infinity();
    Activation activation = Activation::none;
};
void top_k(const double* row, std::size_t classes, const TopK& how, std::vector<int>& best);

// A box in the network's own coordinates.
struct Detection {
    double left, top, right, bottom, score;
    int label;
};

// Greedy non-maximum suppression within each label: best score first, the lower index first among equals; a box whose
// intersection over union with a kept one is above `iou` is dropped, a score below `threshold` before that.
// Returns indices into `boxes`, best first.
std::vector<int> suppress(const std::vector<Detection>& boxes, double iou, double threshold);

// The same into `kept`, whose memory is used again: once it has room for `count` indices, nothing is allocated.
void suppress(const Detection* boxes, std::size_t count, double iou, double threshold, std::vector<int>& kept);

}  // namespace hasten
