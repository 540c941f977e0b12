// JPEG by libjpeg-turbo.
#include "image_file.h"

#ifdef HASTEN_JPEG

#include <csetjmp>
#include <cstdio>
#include <cstring>

#include <jerror.h>
#include <jpeglib.h>

namespace hasten {
namespace {

// What is wrong is kept, and the decoder left by longjmp: nothing between here and there has a destructor.
struct Fault {
    jpeg_error_mgr manager;
    std::jmp_buf out;
    char said[JMSG_LENGTH_MAX];
};

[[noreturn]] void leave(j_common_ptr state) {
    auto* fault = reinterpret_cast<Fault*>(state->err);
    state->err->format_message(state, fault->said);
    std::longjmp(fault->out, 1);
}

// A file that is cut off is a fault; other warnings are of no consequence.
void warned(j_common_ptr state, int level) {
    if (level < 0 && state->err->msg_code == JWRN_JPEG_EOF) leave(state);
}

struct Reader {
    jpeg_decompress_struct state{};
    Fault fault{};
    Reader() {
        state.err = jpeg_std_error(&fault.manager);
        fault.manager.error_exit = leave;
        fault.manager.emit_message = warned;
    }
    ~Reader() { jpeg_destroy_decompress(&state); }

    // false: `fault.said` says why.
    bool begin(const std::vector<std::uint8_t>& bytes) {
        if (setjmp(fault.out)) return false;
        jpeg_create_decompress(&state);
        jpeg_mem_src(&state, bytes.data(), static_cast<unsigned long>(bytes.size()));
        jpeg_save_markers(&state, JPEG_APP0 + 1, 0xFFFF);
        jpeg_read_header(&state, TRUE);
        state.out_color_space = state.num_components == 1   ? JCS_GRAYSCALE
                                : state.num_components == 4 ? JCS_CMYK
                                                            : JCS_RGB;
        return true;
    }

    // Rows one after the other from `to` on.
    bool rows(std::uint8_t* to, std::size_t row_bytes) {
        if (setjmp(fault.out)) return false;
        jpeg_start_decompress(&state);
        while (state.output_scanline < state.output_height) {
            JSAMPROW row = to + state.output_scanline * row_bytes;
            jpeg_read_scanlines(&state, &row, 1);
        }
        jpeg_finish_decompress(&state);
        return true;
    }
};

std::uint32_t number(const std::uint8_t* at, int bytes, bool little) {
    std::uint32_t value = 0;
    for (int i = 0; i < bytes; ++i) value = value << 8 | at[little ? bytes - 1 - i : i];
    return value;
}

// Tag 274 of the first directory of the first Exif segment.
int orientation_of(const jpeg_decompress_struct& state) {
    for (auto* marker = state.marker_list; marker; marker = marker->next) {
        if (marker->data_length < 14 || std::memcmp(marker->data, "Exif\0\0", 6) != 0) continue;
        const std::uint8_t* tiff = marker->data + 6;
        std::size_t size = marker->data_length - 6;
        bool little = std::memcmp(tiff, "II*\0", 4) == 0;
        if (!little && std::memcmp(tiff, "MM\0*", 4) != 0) return 1;
        std::size_t start = number(tiff + 4, 4, little);
        if (start + 2 > size) return 1;
        std::size_t count = number(tiff + start, 2, little);
        for (std::size_t i = 0; i < count; ++i) {
            std::size_t at = start + 2 + 12 * i;
            if (at + 12 > size) return 1;
            if (number(tiff + at, 2, little) != 274) continue;
            std::uint32_t kind = number(tiff + at + 2, 2, little), value = number(tiff + at + 8, 2, little);
            return kind == 3 && value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
        }
        return 1;
    }
    return 1;
}

// Inks, inverted as they are stored, to colours, in the first three quarters of the values.
void to_colours(Pixels& p) {
    std::size_t count = p.width * p.height;
    for (std::size_t i = 0; i < count; ++i) {
        int light = p.values[4 * i + 3];
        for (std::size_t c = 0; c < 3; ++c) {
            int part = (255 - p.values[4 * i + c]) * light + 128;
            p.values[3 * i + c] = static_cast<std::uint8_t>(light - ((part + (part >> 8)) >> 8));
        }
    }
    p.channels = 3;
    p.values.resize(3 * count);
}

}  // namespace

Pixels decode_jpeg(const std::string& path, const std::vector<std::uint8_t>& bytes) {
    Pixels p;
    Reader reader;
    if (!reader.begin(bytes)) throw damaged(path, reader.fault.said);
    auto depth = static_cast<std::size_t>(reader.state.num_components);
    if (depth != 1 && depth != 3 && depth != 4) throw damaged(path, "it has " + std::to_string(depth) + " components");
    p.resize(path, reader.state.image_width, reader.state.image_height, depth);
    p.orientation = orientation_of(reader.state);  // markers go when the image is finished
    if (!reader.rows(p.values.data(), p.width * depth)) throw damaged(path, reader.fault.said);
    if (depth == 4) to_colours(p);
    return p;
}

}  // namespace hasten

#else

namespace hasten {

Pixels decode_jpeg(const std::string&, const std::vector<std::uint8_t>&) {
    throw Error(Error::missing, "this build of hasten-run reads no JPEG",
                "apt-get install libjpeg62-turbo-dev, and build it again");
}

}  // namespace hasten

#endif
