"""What goes to a board beside the network: how its engines are built there, and held to the golden cases."""

README = """{title}: {reads}
*{caveat}*: written from NVIDIA's documentation; nothing in this folder has run on a board.

    ./build.sh               builds every engine that is named in board.json, with the board's own trtexec
    python3 verify.py        runs each on the golden cases; needs numpy, and TensorRT's Python package, both in JetPack
    python3 verify.py gpu-fp16.engine

model.onnx          floats, opset {opset}, one batch size, no free axis: a DLA takes none
model-int8.onnx     the same with Q and DQ, for the GPU (where the network was quantized)
calibration.cache   a scale for each tensor, from Q and DQ: INT8 for a DLA that reads no Q and DQ
golden/             inputs, and the answers that ONNX Runtime gave to them
"""

BUILD = r"""#!/bin/sh
# Builds the engines for @TITLE@ on the board itself: engine files do not travel. Stops at none that fails.
cd "$(dirname "$0")" || exit 1
trtexec=$(command -v trtexec || echo /usr/src/tensorrt/bin/trtexec)
[ -x "$trtexec" ] || { echo "trtexec is not here: install JetPack's TensorRT samples (nvidia-tensorrt-dev)"; exit 5; }
major=$(python3 -c 'import tensorrt; print(tensorrt.__version__.split(".")[0])' 2>/dev/null || echo 0)
if [ -f calibration.cache ]; then  # a cache of another version is ignored: say which one this is
  stamp=$(python3 -c 'import tensorrt as t; a, b, c = (int(x) for x in t.__version__.split(".")[:3])
print(a * 1000 + b * 100 + c if a < 10 else a * 10000 + b * 100 + c)') &&
  sed -i "1s/.*/TRT-$stamp-EntropyCalibration2/" calibration.cache
fi
failed=0
build() {
  name=$1; file=$2; shift 2
  if [ "$major" -ge 11 ]; then  # it has no options for precision: types, Q and DQ of the file say it
    case " $* " in *" --calib="*) file=model-int8.onnx ;; esac
    for word; do shift; case $word in --fp16 | --int8 | --calib=*) ;; *) set -- "$@" "$word" ;; esac; done
  fi
  if "$trtexec" --onnx="$file" --saveEngine="$name.engine" "$@" > "$name.log" 2>&1; then
    echo "$name: $name.engine"
  else
    echo "$name: not built, see $name.log"; failed=1
  fi
}
@LINES@
exit $failed
"""

VERIFY = '''"""Runs engines on the golden cases of this folder: python3 verify.py [ENGINE]... Needs numpy and tensorrt.

For each engine the largest difference as a share of each output's largest value, the cosine, and in how many rows the
largest value stands in the same place. Exit code 1 where an output's cosine is below 0.99.
"""

import ctypes
import glob
import json
import os
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
LEAST = 0.99


class Gpu(object):
    """Memory, through CUDA's own library."""

    def __init__(self):
        names = ["libcudart.so"] + sorted(glob.glob("/usr/local/cuda*/lib64/libcudart.so*"))
        for name in names:
            try:
                self.lib = ctypes.CDLL(name)
                break
            except OSError:
                continue
        else:
            sys.exit("libcudart is not here: it comes with JetPack's CUDA")
        self.stream = ctypes.c_void_p()
        self.check(self.lib.cudaStreamCreate(ctypes.byref(self.stream)))

    @staticmethod
    def check(code):
        if code:
            sys.exit("CUDA error %d" % code)

    def malloc(self, size):
        address = ctypes.c_void_p()
        self.check(self.lib.cudaMalloc(ctypes.byref(address), ctypes.c_size_t(max(1, size))))
        return address

    def copy(self, to, source, size, kind):
        self.check(self.lib.cudaMemcpy(ctypes.c_void_p(to), ctypes.c_void_p(source), ctypes.c_size_t(size), kind))

    def wait(self):
        self.check(self.lib.cudaStreamSynchronize(self.stream))


def run(path, feeds, outputs):
    """Answers by name, one dict a feed; both interfaces: names (TensorRT 8.5 and later)."""
    import tensorrt as trt

    gpu, logger = Gpu(), trt.Logger(trt.Logger.ERROR)
    runtime = trt.Runtime(logger)
    name = os.path.basename(path)
    if name.startswith("dla"):
        runtime.DLA_core = int(name[3])
    with open(path, "rb") as file:
        engine = runtime.deserialize_cuda_engine(file.read())
    if engine is None:
        sys.exit("%s cannot be read here: engine files do not travel" % path)
    context, held, answers = engine.create_execution_context(), {}, []
    for feed in feeds:
        sent = {}
        for tensor, array in feed.items():
            sent[tensor] = np.ascontiguousarray(array, trt.nptype(engine.get_tensor_dtype(tensor)))
            held.setdefault(tensor, gpu.malloc(sent[tensor].nbytes))
            gpu.copy(held[tensor].value, sent[tensor].ctypes.data, sent[tensor].nbytes, 1)
            context.set_tensor_address(tensor, held[tensor].value)
        got = {}
        for tensor in outputs:
            shape = tuple(context.get_tensor_shape(tensor))
            got[tensor] = np.empty(shape, trt.nptype(engine.get_tensor_dtype(tensor)))
            held.setdefault(tensor, gpu.malloc(got[tensor].nbytes))
            context.set_tensor_address(tensor, held[tensor].value)
        if not context.execute_async_v3(gpu.stream.value):
            sys.exit("%s did not start" % path)
        gpu.wait()
        for tensor, array in got.items():
            gpu.copy(array.ctypes.data, held[tensor].value, array.nbytes, 2)
        answers.append(got)
    return answers


def compared(name, right, came):
    """One line on an output, and whether it is as it should be."""
    right, came = (np.stack(x).astype(np.float64) for x in (right, came))
    largest = max(1e-6, float(np.abs(right).max()))
    difference = float(np.abs(came - right).max()) / largest
    flat = right.ravel(), came.ravel()
    length = float(np.linalg.norm(flat[0]) * np.linalg.norm(flat[1]))
    cosine = float(flat[0] @ flat[1]) / length if length else float(np.array_equal(*flat))
    rows = [x.reshape(-1, x.shape[-1]).argmax(1) for x in (right, came)] if right.ndim > 1 else [np.zeros(1)] * 2
    good = bool(np.isfinite(came).all()) and cosine >= LEAST
    said = "%s: differs by %.4f of the largest value, cosine %.5f, same place %d of %d"
    return said % (name, difference, cosine, int((rows[0] == rows[1]).sum()), len(rows[0])), good


def main(paths, run=run):
    with open(os.path.join(HERE, "board.json")) as file:
        about = json.load(file)

    def load(side):
        place = os.path.join(HERE, "golden", "%02d-%s.npy")
        return [{n: np.load(place % (i, k)) for n, k in about[side].items()} for i in range(about["cases"])]

    feeds, right, passed = load("inputs"), load("outputs"), True
    paths = paths or [os.path.join(HERE, n + ".engine") for n in about["engines"]]
    here = [p for p in paths if os.path.exists(p)]
    for path in sorted(set(paths) - set(here)):
        print("%s: not here" % path)
        passed = False
    for path in here:
        answers = run(path, feeds, list(about["outputs"]))
        for name in about["outputs"]:
            line, good = compared(name, [r[name] for r in right], [a[name] for a in answers])
            print("%s %s %s" % ("yes" if good else "NO ", os.path.basename(path), line))
            passed = passed and good
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
'''
