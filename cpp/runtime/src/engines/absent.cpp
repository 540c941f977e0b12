// Engines that this build does without: known by name and settings, and what to do to have them.
#include "../engine.h"

namespace hasten {

#ifndef HASTEN_OPENVINO
Engine openvino() {
    return {"openvino",
            {{Setting::integer, "threads", {}},
             {Setting::choice, "hint", {"f32", "bf16"}},
             {Setting::integer, "streams", {}},
             {Setting::boolean, "transforms", {}}},
            "libhasten was built without OpenVINO: pip install openvino, and build it again",
            nullptr};
}
#endif

#ifndef HASTEN_ONNXRUNTIME
Engine onnxruntime() {
    return {"onnxruntime",
            {{Setting::integer, "threads", {}}, {Setting::boolean, "turns", {}}},
            "libhasten was built without ONNX Runtime: build it with -DORT_ROOT=FOLDER, or run hasten boost with "
            "--engine openvino",
            nullptr};
}
#endif

std::vector<Setting> tensorrt_settings() {
    return {{Setting::integer, "threads", {}},
            {Setting::integer, "typical", {}},
            {Setting::integer, "most", {}},
            {Setting::integer, "longest", {}},
            {Setting::integer, "dla_core", {}}};
}

#ifndef HASTEN_TENSORRT
Engine tensorrt() {
    return {"tensorrt", tensorrt_settings(),
            "libhasten was built without TensorRT: build it with -DTENSORRT_ROOT=FOLDER on a machine with CUDA", nullptr};
}
#endif

}  // namespace hasten
