#include "npy.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <optional>

namespace hasten {
namespace {

constexpr char magic[] = "\x93NUMPY\x01\x00";
constexpr const char* descriptions[] = {"|b1", "<f2", "<f4", "<f8", "|i1", "<i2",
                                        "<i4", "<i8", "|u1", "<u2", "<u4", "<u8"};  // in the order of Type

// Reads {'descr': '<f4', 'fortran_order': False, 'shape': (1, 3), }: these three keys, in any order.
class Header {
public:
    Header(const std::string& text, const std::string& path) : text_(text), path_(path) {
        bool dtype = false, order = false, shape = false;
        expect('{');
        while (!take('}')) {
            std::string key = word();
            expect(':');
            if (key == "descr" && !dtype) dtype = true, read_type();
            else if (key == "fortran_order" && !order) order = true, read_order();
            else if (key == "shape" && !shape) shape = true, read_shape();
            else refuse("its header has a key " + key.substr(0, 40));
            if (!take(',')) {
                expect('}');
                break;
            }
        }
        skip();
        if (at_ != text_.size() || !dtype || !order || !shape) refuse("its header is not that of an array");
    }
    Type type = Type::float32;
    Shape shape;

private:
    [[noreturn]] void refuse(const std::string& why) const {
        throw Error(Error::input, path_ + " is not a .npy file (" + why + ")", again);
    }
    void skip() {
        while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
    }
    bool take(char wanted) {
        skip();
        if (at_ >= text_.size() || text_[at_] != wanted) return false;
        ++at_;
        return true;
    }
    void expect(char wanted) {
        if (!take(wanted)) refuse("its header is not that of an array");
    }
    std::string word() {
        expect('\'');
        std::size_t end = text_.find('\'', at_);
        if (end == std::string::npos) refuse("its header is not that of an array");
        std::string found = text_.substr(at_, end - at_);
        at_ = end + 1;
        return found;
    }
    void read_type() {
        std::string description = word();
        for (std::size_t i = 0; i < std::size(descriptions); ++i) {
            if (description == descriptions[i]) {
                type = static_cast<Type>(i);
                return;
            }
        }
        refuse("values of the type " + description.substr(0, 40));
    }
    void read_order() {
        skip();
        if (text_.compare(at_, 5, "False") != 0) refuse("its values are not in C order");
        at_ += 5;
    }
    void read_shape() {
        expect('(');
        while (!take(')')) {
            skip();
            std::size_t length = 0, digits = 0;
            for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_, ++digits)
                length = length * 10 + static_cast<std::size_t>(text_[at_] - '0');
            if (!digits || digits > 15) refuse("a length that is none");
            if (shape.rank() == Shape::max_rank) refuse("it has more than 16 axes");
            shape.push(length);
            if (!take(',')) {
                expect(')');
                break;
            }
        }
    }

    const std::string& text_;
    const std::string& path_;
    std::size_t at_ = 0;
};

// How many bytes the header announces, if it is a sane number.
std::optional<std::uint64_t> announced(const Header& header, std::uint64_t size) {
    std::uint64_t bytes = size_of(header.type);
    if (std::count(header.shape.begin(), header.shape.end(), std::size_t(0))) return 0;
    for (std::size_t length : header.shape) {
        if (bytes > size / length) return std::nullopt;
        bytes *= length;
    }
    return bytes;
}

}  // namespace

Array read_npy(const File& file, std::uint64_t most) {
    auto refuse = [&](const std::string& why) {
        return Error(Error::input, file.path() + " is not a .npy file (" + why + ")", again);
    };
    unsigned char start[10];
    if (file.read(start, sizeof start) != sizeof start || std::memcmp(start, magic, 8) != 0)
        throw refuse("it does not begin like one of version 1.0");
    std::string text(start[8] | start[9] << 8, '\0');
    if (file.read(text.data(), text.size()) != text.size()) throw refuse("its header is cut off");
    Header header(text, file.path());
    std::uint64_t rest = file.size() - std::min<std::uint64_t>(file.size(), sizeof start + text.size());
    if (announced(header, rest) != rest) throw refuse("it is shorter or longer than its header says");
    if (rest > most)
        throw Error(Error::input, file.path() + " is larger than " + std::to_string(most >> 20) + " MiB", again);
    Array array(header.type, header.shape);
    if (file.read(array.data(), array.bytes()) != array.bytes()) throw refuse("it is cut off");
    return array;
}

Array read_npy(const std::string& path) {
    int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat about {};
    if (descriptor < 0 || fstat(descriptor, &about) != 0 || !S_ISREG(about.st_mode)) {
        if (descriptor >= 0) close(descriptor);
        throw Error(Error::input, path + " cannot be read", "give an .npy file");
    }
    return read_npy(File(descriptor, path, static_cast<std::uint64_t>(about.st_size)), UINT64_MAX);
}

void write_npy(const std::string& path, const View& array) {
    std::string shape;
    for (std::size_t length : array.shape) shape += std::to_string(length) + (array.shape.rank() == 1 ? "," : ", ");
    if (array.shape.rank() > 1) shape.resize(shape.size() - 2);
    std::string header = std::string("{'descr': '") + descriptions[static_cast<std::size_t>(array.dtype)] +
                         "', 'fortran_order': False, 'shape': (" + shape + "), }";
    header.append(63 - (10 + header.size()) % 64, ' ');
    header += '\n';
    std::ofstream file(path, std::ios::binary);
    file.write(magic, 8);
    file.put(static_cast<char>(header.size() & 255)).put(static_cast<char>(header.size() >> 8));
    file.write(header.data(), static_cast<std::streamsize>(header.size()));
    file.write(static_cast<const char*>(array.data),
               static_cast<std::streamsize>(array.shape.count() * size_of(array.dtype)));
    if (!file.flush()) throw Error(Error::input, path + " cannot be written", "choose another place");
}

}  // namespace hasten
