// A program that runs a bundle: what it sees in the bundle's own golden samples.
#include <hasten/hasten.h>

#include <cstdio>

int main(int count, char** words) {
    if (count != 2) {
        std::fprintf(stderr, "usage: classify BUNDLE\n");
        return 2;
    }
    try {
        hasten::Bundle bundle = hasten::Bundle::load(words[1]);  // checked, and its golden cases replayed
        hasten::Runner runner(bundle);
        for (std::size_t i = 0; i < bundle.cases(); ++i) {
            auto raw = bundle.raw(i);  // here: your own camera, as hasten::Frame(hasten::Image{...})
            hasten::Answer answer = runner.run(bundle.frame(raw));
            std::printf("case %zu: %s", i, answer.decision().c_str());
            for (int index : answer.classes())
                if (!bundle.labels().empty()) std::printf(" %s", bundle.labels()[index].c_str());
            std::printf(" in %.3f ms\n", answer.prepare_ms + answer.infer_ms + answer.answer_ms);
        }
    } catch (const hasten::Error& fault) {
        std::fprintf(stderr, "classify: %s\n", fault.what());
        return fault.kind();
    }
}
