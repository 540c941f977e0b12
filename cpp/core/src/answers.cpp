#include "hasten/answers.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace hasten {
namespace {

// 1 / (1 + exp(-x)) without its overflow; what hasten.Pipeline computes.
double sigmoid(double x) { return 0.5 * (1 + std::tanh(x / 2)); }

// Orders from the best to the worst: higher first, the lower index first among equals, NaN last.
bool better(double a, int i, double b, int j) {
    if (std::isnan(a) || std::isnan(b)) return std::isnan(a) == std::isnan(b) ? i < j : std::isnan(b);
    return a != b ? a > b : i < j;
}

double overlap(const Detection& a, const Detection& b) {
    double width = std::min(a.right, b.right) - std::max(a.left, b.left);
    double height = std::min(a.bottom, b.bottom) - std::max(a.top, b.top);
    if (!(width > 0 && height > 0)) return 0;
    double shared = width * height;
    double both = (a.right - a.left) * (a.bottom - a.top) + (b.right - b.left) * (b.bottom - b.top) - shared;
    return both > 0 ? shared / both : 0;
}

}  // namespace

void activate(const double* rows, std::size_t count, std::size_t classes, Activation kind, double* scores) {
    for (std::size_t row = 0; row < count; ++row, rows += classes, scores += classes) {
        if (kind == Activation::none) {
            std::copy(rows, rows + classes, scores);
        } else if (kind == Activation::sigmoid) {
            std::transform(rows, rows + classes, scores, sigmoid);
        } else if (classes) {
            double most = *std::max_element(rows, rows + classes), sum = 0;
            for (std::size_t i = 0; i < classes; ++i) sum += scores[i] = std::exp(rows[i] - most);
            for (std::size_t i = 0; i < classes; ++i) scores[i] /= sum;
        }
    }
}

void top_k(const double* row, std::size_t classes, const TopK& how, std::vector<int>& best) {
    double most = 0, sum = 1;
    if (how.activation == Activation::softmax && classes) {
        most = *std::max_element(row, row + classes), sum = 0;
        for (std::size_t i = 0; i < classes; ++i) sum += std::exp(row[i] - most);
    }
    auto score = [&](double x) {
        if (how.activation == Activation::softmax) return std::exp(x - most) / sum;
        return how.activation == Activation::sigmoid ? sigmoid(x) : x;
    };
    const std::size_t begin = best.size();
    const auto comes_first = [&](int i, int j) { return better(row[i], i, row[j], j); };
    // The best so far stand behind `begin`, best first; a row is long and `top_k` is short.
    for (std::size_t i = 0; i < classes; ++i) {
        int index = static_cast<int>(i);
        if (best.size() - begin == how.top_k && (how.top_k == 0 || !comes_first(index, best.back()))) continue;
        if (best.size() - begin == how.top_k) best.pop_back();
        auto place = std::upper_bound(best.begin() + static_cast<std::ptrdiff_t>(begin), best.end(), index, comes_first);
        best.insert(place, index);
    }
    const auto unworthy = [&](int i) { return !(score(row[i]) >= how.threshold); };  // NaN is never reported
    best.erase(std::remove_if(best.begin() + static_cast<std::ptrdiff_t>(begin), best.end(), unworthy), best.end());
}

std::vector<int> suppress(const std::vector<Detection>& boxes, double iou, double threshold) {
    std::vector<int> kept;
    suppress(boxes.data(), boxes.size(), iou, threshold, kept);
    return kept;
}

void suppress(const Detection* boxes, std::size_t count, double iou, double threshold, std::vector<int>& kept) {
    if (!(iou >= 0 && iou <= 1)) throw std::invalid_argument("iou has to be between 0 and 1");
    kept.clear();
    for (std::size_t i = 0; i < count; ++i)
        if (boxes[i].score >= threshold) kept.push_back(static_cast<int>(i));
    std::sort(kept.begin(), kept.end(),
              [&](int i, int j) { return better(boxes[i].score, i, boxes[j].score, j); });
    // What is kept moves to the front, over what has been looked at.
    auto end = kept.begin();
    for (int i : kept) {
        const auto covers = [&, i](int k) {
            return boxes[k].label == boxes[i].label && overlap(boxes[k], boxes[i]) > iou;
        };
        if (std::none_of(kept.begin(), end, covers)) *end++ = i;
    }
    kept.erase(end, kept.end());
}

}  // namespace hasten
