#include "hasten/prepare.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

#include "prepare_kernels.h"
#include "prepare_plan.h"
#include "prepare_tensor.h"

namespace hasten {
namespace {

constexpr std::size_t kSlack = 32;  // that `down` may read, and `across` write, after a row

int planes(Format format) { return format == Format::i420 ? 3 : format == Format::nv12 ? 2 : 1; }

// Bytes of a row of a plane.
std::ptrdiff_t row_bytes(Format format, int plane, int width) {
    if (format == Format::rgb || format == Format::bgr) return std::ptrdiff_t{3} * width;
    if (plane == 0) return width;
    return (std::ptrdiff_t{width} + 1) / 2 * (format == Format::nv12 ? 2 : 1);
}

void check(const Image& image, Format format, int width, int height) {
    if (image.format != format) throw std::invalid_argument("the image is in another format than was announced");
    if (image.width != width || image.height != height)
        throw std::invalid_argument("the image is " + std::to_string(image.width) + "x" + std::to_string(image.height) +
                                    " pixels, announced were " + std::to_string(width) + "x" + std::to_string(height));
    for (int i = 0; i < planes(format); ++i) {
        const std::ptrdiff_t row = row_bytes(format, i, width), stride = image.stride[i];
        const int rows = i == 0 ? height : (height + 1) / 2;
        if (!image.plane[i]) throw std::invalid_argument("plane " + std::to_string(i) + " of the image is missing");
        if (rows > 1 && stride < row && stride > -row)
            throw std::invalid_argument("rows of plane " + std::to_string(i) + " are " + std::to_string(stride) +
                                        " bytes apart, but hold " + std::to_string(row));
    }
}

}  // namespace

// A row goes: image -> `read` (colour) -> `ring` (resized across) -> `line` (resized down, between its bars) -> tensor.
// The ring keeps as many rows as one output row is made of.
struct Preparer::State {
    State(const Prepare& how, int width, int height)
        : source(how.source),
          width(width),
          height(height),
          where(plan(how, width, height)),
          use(kernels()),
          reader(how, where.source, use.yuv_to_rgb, use.rgb_to_grey),
          tensor(how, where, reader.channels()) {
        const std::size_t channels = reader.channels();
        const std::size_t room = std::max(reader.room(), where.scaled.width * channels) + kSlack;
        if (where.scaled.width != where.source.width) {
            across = windows(where.source.width, where.scaled.width, how.filter);
            read.resize(2, std::vector<std::uint8_t>(reader.room() + slack(across, reader.channels())));
        }
        std::size_t kept = 2;
        if (where.scaled.height != where.source.height) {
            down = windows(where.source.height, where.scaled.height, how.filter);
            kept += down.taps;
            rows.resize(down.taps + 1);
        }
        ring.resize(kept, std::vector<std::uint8_t>(room));
        begins.resize(kept);
        bars.assign(where.canvas.width * channels, how.fill);
        line = bars;
    }

    // Reads rows up to `end` into the ring, two at a time.
    void fill(const Image& image, int end) {
        for (; ready < end; ready += 2) {
            const int last = std::min(ready + 1, where.source.height - 1);
            const std::size_t slots[2] = {ready % ring.size(), (ready + 1) % ring.size()};
            std::uint8_t* out[2] = {ring[slots[0]].data(), ring[slots[1]].data()};
            if (read.empty()) {
                begins[slots[0]] = reader.read(image, ready, out[0]);
                begins[slots[1]] = reader.read(image, last, out[1]);
            } else {
                const std::uint8_t* in[2] = {reader.read(image, ready, read[0].data()),
                                             reader.read(image, last, read[1].data())};
                use.across(across, reader.channels(), in, out);
                begins[slots[0]] = out[0];
                begins[slots[1]] = out[1];
            }
        }
    }

    // Row `y` of the resized box, into its place in `line`.
    void resize(const Image& image, int y) {
        std::uint8_t* out = line.data() + std::size_t(where.left) * reader.channels();
        const std::size_t bytes = std::size_t(where.scaled.width) * reader.channels();
        if (rows.empty()) {
            fill(image, y + 1);
            std::memcpy(out, begins[y % ring.size()], bytes);
            return;
        }
        const int first = down.first[y], count = down.count[y];
        fill(image, first + count);
        for (int k = 0; k < count; ++k) rows[k] = begins[(first + k) % ring.size()];
        if (count % 2) rows[count] = rows[0];  // its weight is 0
        use.down(down, y, rows.data(), bytes, out);
    }

    void run(const Image& image, void* out) {
        check(image, source, width, height);
        ready = 0;
        for (int y = 0; y < where.canvas.height; ++y) {
            const int inner = y - where.top;
            const bool bar = inner < 0 || inner >= where.scaled.height;
            if (!bar) resize(image, inner);
            tensor.put(bar ? bars.data() : line.data(), y, out);
        }
    }

    Format source;
    int width, height;
    Plan where;
    Kernels use;
    RowReader reader;
    TensorWriter tensor;
    Windows across, down;
    std::vector<std::vector<std::uint8_t>> read;  // two rows before they are resized across; none if they are not
    std::vector<std::vector<std::uint8_t>> ring;
    std::vector<const std::uint8_t*> begins;  // of the row in each slot of the ring
    std::vector<const std::uint8_t*> rows;    // of the ring, for one output row; none if they are not resized down
    std::vector<std::uint8_t> bars, line;     // a row of the tensor, before it is normalised
    int ready = 0;                            // rows read so far
};

Preparer::Preparer(const Prepare& how, int width, int height) : state_(std::make_unique<State>(how, width, height)) {}
Preparer::~Preparer() = default;
Preparer::Preparer(Preparer&&) noexcept = default;
Preparer& Preparer::operator=(Preparer&&) noexcept = default;

std::array<int, 3> Preparer::shape() const { return state_->tensor.shape(); }
std::size_t Preparer::bytes() const { return state_->tensor.bytes(); }
void Preparer::run(const Image& image, void* tensor) { state_->run(image, tensor); }

}  // namespace hasten
