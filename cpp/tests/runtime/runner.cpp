// The runner with an engine that computes nothing: answers, threads, stages, and not one allocation for a frame.
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <new>
#include <thread>
#include <vector>

#include "check.h"
#include "forged.h"

namespace {
std::atomic<std::size_t> allocations{0};

void* taken(std::size_t bytes, std::size_t alignment) {
    ++allocations;
    void* memory = std::aligned_alloc(alignment, (bytes + alignment) / alignment * alignment);
    if (!memory) throw std::bad_alloc();
    return memory;
}
}  // namespace

void* operator new(std::size_t bytes) { return taken(bytes, 16); }
void* operator new(std::size_t bytes, std::align_val_t at) { return taken(bytes, static_cast<std::size_t>(at)); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

using namespace forged;

namespace {

// [n, 4] whose row r has its largest value at (first + r) % 4.
Array rows(std::size_t n, std::size_t first) {
    Array array(Type::float32, {n, 4});
    for (std::size_t i = 0; i < n * 4; ++i)
        static_cast<float*>(array.data())[i] = i % 4 == (first + i / 4) % 4 ? 3.f : 0.f;
    return array;
}

bool is_right(const Answer& answer, std::size_t n, std::size_t first) {
    bool good = answer.samples == n;
    for (std::size_t r = 0; good && r < n; ++r)
        good = answer.classes(r) == std::vector<int>{static_cast<int>((first + r) % 4)};
    return good;
}

void answers() {
    Place place;
    Runner runner(forged::load(make(place)), 2);
    Array x = rows(3, 1);
    Answer answer = runner.run(Frame(x.view()));
    check(is_right(answer, 3, 1), "three samples");
    same(answer.decision(2), "[3]");
    check(runner.submit(Frame(x.view())).get().decision() == "[1]", "a ticket");
    { auto dropped = runner.submit(Frame(x.view())); }
    check(is_right(runner.run(Frame(x.view())), 3, 1), "after a dropped ticket");
    Array none(Type::float32, {0, 4}), wide(Type::float32, {1, 5}), whole(Type::int32, {1, 4});
    auto refused = [&](const Frame& frame) { return refusal([&] { runner.run(frame); }); };
    same(refused(Frame(none.view())), "there are no samples in the feed; give at least one");
    same(refused(Frame(wide.view())), "'x' has shape [1, 5]; x float32 [N, 4] is expected");
    same(refused(Frame(whole.view())), "'x' is int32; float32 is expected: convert it");
    same(refused(Frame().add("z", x.view())), "inputs ['z'] were given; this model has ['x float32 [N, 4]']");
    same(refused(Frame()), "inputs [] were given; this model has ['x float32 [N, 4]']");
    same(refusal([&] { runner.submit(Frame(wide.view())).get(); }), refused(Frame(wide.view())));
    check(is_right(runner.run(Frame(x.view())), 3, 1), "after refusals");
}

void fixed_batch() {
    Place place;
    auto fix = [](Json& data) {
        data["stages"][0]["signature"] = {{"inputs", {tensor("x", {3, 4})}}, {"outputs", {tensor("y", {3, 4})}}};
    };
    Runner runner(forged::load(make(place, fix)));
    for (std::size_t n : {1, 2, 3, 4, 7, 9}) {
        Array x = rows(n, n);
        check(is_right(runner.run(Frame(x.view())), n, n), "a fixed batch and " + std::to_string(n) + " samples");
    }
}

// The second stage takes `z` and runs where no score of the first reaches 2: y becomes z there.
void unless() {
    Place place;
    auto two = [](Json& data) {
        Json both{tensor("x", {"N", 4}), tensor("z", {"N", 4})};
        data["signature"]["inputs"] = both;
        Json second{{"inputs", {tensor("z", {"N", 4})}}, {"outputs", {tensor("y", {"N", 4})}}};
        data["stages"].push_back(stage("second", second, {{"output", "y"}, {"activation", "none"}, {"threshold", 2}}));
    };
    std::string folder = make(place, two);
    auto golden = [](Json& cases) {
        for (Json& one : cases["cases"]) one["raw"]["z"] = one["raw"]["x"], one["prepared"]["z"] = one["prepared"]["x"];
    };
    fs::remove_all(folder);
    Runner runner(forged::load(make(place, two, {}, golden)));
    Array x = rows(6, 0), z = rows(6, 2);
    auto* values = static_cast<float*>(x.data());
    for (std::size_t unsure : {1, 4})
        for (std::size_t c = 0; c < 4; ++c) values[unsure * 4 + c] *= 0.5f;
    Answer answer = runner.run(Frame().add("x", x.view()).add("z", z.view()));
    for (std::size_t r = 0; r < 6; ++r)
        check(answer.classes(r) == std::vector<int>{static_cast<int>((r == 1 || r == 4 ? r + 2 : r) % 4)},
              "sample " + std::to_string(r));
    Place other;
    auto strange = [&](Json& data) {
        two(data);
        data["stages"][1]["signature"]["outputs"][0]["name"] = "w";
    };
    same(refusal([&] { forged::load(make(other, strange, {}, golden)); }),
         std::string("stage 'second' is left out at times, and nothing before it gives w float32 [N, 4]; ") + again);
}

void many_threads() {
    Place place;
    Runner runner(forged::load(make(place)), 3);
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < 6; ++t) {
        threads.emplace_back([&, t] {
            Answer answer;
            for (std::size_t i = 0; i < 300; ++i) {
                std::size_t n = 1 + (i + t) % 5;
                Array x = rows(n, t + i);
                if (i % 2) runner.run(Frame(x.view()), answer);
                else runner.submit(Frame(x.view())).get(answer);
                wrong += !is_right(answer, n, t + i);
            }
        });
    }
    for (auto& thread : threads) thread.join();
    check(wrong == 0, std::to_string(wrong) + " answers belong to another call");
}

// Windows of three frames, of which a stage sees each alone; a class is at hand from 2 on.
void by_frame(Json& data) {
    data["signature"] = {{"inputs", {tensor("x", {"N", 3, 4})}}, {"outputs", {tensor("y", {"N", 3, 4})}}};
    data["stages"][0]["when"] = "frame";
    data["pipeline"]["window"] = {{"seconds", 0.5}, {"fps", 6.0}, {"stride_s", 0.5}, {"max_gap_s", 0.5},
                                  {"padding", "wait"}};
    data["pipeline"]["answer"]["kind"] = "events";
    data["pipeline"]["answer"]["on"] = 2.0;
}

void windows() {
    Place place;
    Runner runner(forged::load(make(place, by_frame), false));
    Array x = rows(6, 1);
    x.reshape({2, 3, 4});
    Answer answer = runner.run(Frame(x.view()));
    check(answer.samples == 2 && answer.outputs[0].shape() == Shape{2, 3, 4}, "two windows");
    same(answer.decision(0), "[[1], [2], [3]]");
    same(answer.decision(1), "[[0], [1], [2]]");
    Array flat = rows(6, 1);
    same(refusal([&] { runner.run(Frame(flat.view())); }),
         "'x' has shape [24]; x float32 [N, 4] is expected");
    Array line(Type::float32, {4});
    same(refusal([&] { runner.run(Frame(line.view())); }),
         "stage 'model' runs by frame, and its inputs have no time in common; give inputs [N, frames, ...] of as many "
         "frames as each other");
    check(runner.run(Frame(x.view())).samples == 2, "after a refusal");
    Place other;
    Runner short_of_rows(forged::load(make(other, [](Json& data) {
        by_frame(data);
        data["stages"][0]["signature"]["outputs"][0]["shape"] = {5, 4};
    }), false));
    same(refusal([&] { short_of_rows.run(Frame(x.view())); }),
         "stage 'model' runs by frame, and gives 'y' [5, 4] for 6 frames; give outputs with a row for each frame");
}

// What the stages say of their outputs is one thing, what the bundle says another: both have to hold.
void outputs_of_the_bundle() {
    Place place;
    Runner runner(forged::load(make(place, [](Json& data) {
        data["stages"][0]["signature"]["outputs"][0]["shape"] = Json::array();
    }), false));
    Array x = rows(2, 1);
    same(refusal([&] { runner.run(Frame(x.view())); }), "'y' has shape []; y float32 [N, 4] is expected");
}

// Three boxes and two classes: the second overlaps the first and is weaker, the third has no score that counts.
void as_boxes(Json& data) {
    Json signature{{"inputs", {tensor("s", {"N", 3, 2}), tensor("b", {"N", 3, 4})}},
                   {"outputs", {tensor("scores", {"N", 3, 2}), tensor("boxes", {"N", 3, 4})}}};
    data["signature"] = data["stages"][0]["signature"] = signature;
    Json& answer = data["pipeline"]["answer"];
    answer["kind"] = "boxes", answer["labels"] = {"ball", "hoop"}, answer["threshold"] = 0.5;
    answer["top_k"] = nullptr;
}

void no_files(Json& cases) {
    cases["tolerance"] = {{"scores", 0.01}, {"boxes", 0.01}};
    for (Json& one : cases["cases"]) {
        Json x = one["raw"]["x"];
        one["raw"] = one["prepared"] = {{"s", x}, {"b", x}};
        one["output"] = {{"scores", x}, {"boxes", x}};
    }
}

Frame detections(Array& scores, Array& boxes) {
    scores.resize(Type::float32, {1, 3, 2});
    boxes.resize(Type::float32, {1, 3, 4});
    const float s[] = {0.1f, 0.9f, 0.2f, 0.8f, 0.3f, 0.4f}, b[] = {0, 0, 4, 4, 1, 0, 5, 4, 9, 9, 12, 12};
    std::copy(std::begin(s), std::end(s), static_cast<float*>(scores.data()));
    std::copy(std::begin(b), std::end(b), static_cast<float*>(boxes.data()));
    return Frame().add("s", scores.view()).add("b", boxes.view());
}

void boxes() {
    Place place;
    Runner runner(forged::load(make(place, as_boxes, {}, no_files), false));
    Array scores, sides;
    Answer answer = runner.run(detections(scores, sides));
    same(answer.decision(), "[[0, 1]]");
    auto* values = static_cast<float*>(scores.data());
    values[2] = 0.85f;  // now the second is of another class
    same(runner.run(Frame().add("s", scores.view()).add("b", sides.view())).decision(), "[[0, 1], [1, 0]]");
}

void no_allocation(const std::string& folder, const Frame& frame) {
    Runner runner(forged::load(folder, false), 2);
    Answer answer;
    auto frames = [&](int count) {
        for (int i = 0; i < count; ++i) {
            runner.run(frame, answer);
            auto first = runner.submit(frame);
            auto second = runner.submit(frame);
            first.get(answer);
            second.get(answer);
        }
    };
    frames(20);
    std::size_t before = allocations;
    frames(200);
    std::size_t during = allocations - before;
    check(during == 0, std::to_string(during) + " allocations in 600 frames");
}

}  // namespace

int main() {
    answers();
    fixed_batch();
    unless();
    many_threads();
    windows();
    outputs_of_the_bundle();
    boxes();
    Place plain, timed, boxed;
    Array x = rows(2, 1), windowed = rows(6, 1), scores, sides;
    windowed.reshape({2, 3, 4});
    no_allocation(make(plain), Frame(x.view()));
    no_allocation(make(timed, by_frame), Frame(windowed.view()));
    no_allocation(make(boxed, as_boxes, {}, no_files), detections(scores, sides));
    return verdict("runner");
}
