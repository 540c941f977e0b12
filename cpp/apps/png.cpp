// PNG by libpng.
#include "image_file.h"

#ifdef HASTEN_PNG

#include <csetjmp>
#include <cstring>

#include <png.h>

namespace hasten {
namespace {

// What is wrong is kept, and the decoder left by longjmp: nothing between here and there has a destructor.
struct Reader {
    const std::vector<std::uint8_t>& bytes;
    std::size_t at = 0;
    char said[200] = "no reason given";
    png_structp png = nullptr;
    png_infop info = nullptr;

    explicit Reader(const std::vector<std::uint8_t>& content) : bytes(content) {
        png = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, leave, [](png_structp, png_const_charp) {});
        info = png ? png_create_info_struct(png) : nullptr;
    }
    ~Reader() { png_destroy_read_struct(&png, &info, nullptr); }

    [[noreturn]] static void leave(png_structp png, png_const_charp why) {
        auto* reader = static_cast<Reader*>(png_get_error_ptr(png));
        std::strncpy(reader->said, why, sizeof reader->said - 1);
        png_longjmp(png, 1);
    }

    static void give(png_structp png, png_bytep to, std::size_t count) {
        auto* reader = static_cast<Reader*>(png_get_io_ptr(png));
        if (count > reader->bytes.size() - reader->at) png_error(png, "it is cut off");
        std::memcpy(to, reader->bytes.data() + reader->at, count);
        reader->at += count;
    }

    // false: `said` says why.
    bool begin() {
        if (!png || !info || setjmp(png_jmpbuf(png))) return false;
        png_set_read_fn(png, this, give);
        png_set_user_limits(png, 0x7FFFFFFF, 0x7FFFFFFF);  // the size is looked at by the caller
        png_set_crc_action(png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
        png_read_info(png, info);
        return true;
    }

    // Everything to 8 bits, grey or RGB, transparency left out.
    bool settle() {
        if (setjmp(png_jmpbuf(png))) return false;
        png_set_strip_16(png);
        int colour = png_get_color_type(png, info);
        if (colour == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png);
        if (colour == PNG_COLOR_TYPE_GRAY) png_set_expand_gray_1_2_4_to_8(png);
        if (colour & PNG_COLOR_MASK_ALPHA || colour == PNG_COLOR_TYPE_PALETTE) png_set_strip_alpha(png);
        png_set_interlace_handling(png);
        png_read_update_info(png, info);
        return true;
    }

    bool rows(png_bytepp to) {
        if (setjmp(png_jmpbuf(png))) return false;
        png_read_image(png, to);
        return true;
    }
};

}  // namespace

Pixels decode_png(const std::string& path, const std::vector<std::uint8_t>& bytes) {
    Pixels p;
    Reader reader(bytes);
    if (!reader.begin()) throw damaged(path, reader.said);
    std::size_t wide = png_get_image_width(reader.png, reader.info), high = png_get_image_height(reader.png, reader.info);
    p.resize(path, wide, high, 3);
    if (!reader.settle()) throw damaged(path, reader.said);
    p.resize(path, wide, high, png_get_channels(reader.png, reader.info));
    if (p.channels != 1 && p.channels != 3) throw damaged(path, "it has " + std::to_string(p.channels) + " channels");
    if (png_get_rowbytes(reader.png, reader.info) != wide * p.channels) throw damaged(path, "its rows have another size");
    std::vector<png_bytep> rows;
    for (std::size_t row = 0; row < high; ++row) rows.push_back(p.values.data() + row * wide * p.channels);
    if (!reader.rows(rows.data())) throw damaged(path, reader.said);
    return p;
}

}  // namespace hasten

#else

namespace hasten {

Pixels decode_png(const std::string&, const std::vector<std::uint8_t>&) {
    throw Error(Error::missing, "this build of hasten-run reads no PNG",
                "apt-get install libpng-dev, and build it again");
}

}  // namespace hasten

#endif
