// .npy files: what is written is read again, and every damage is refused before memory is taken.
#include "npy.h"

#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>

#include "check.h"

using namespace hasten;

namespace {

std::string path;

void put(const std::string& header, const std::string& body, const std::string& magic = {"\x93NUMPY\x01\x00", 8}) {
    std::ofstream file(path, std::ios::binary);
    file << magic << static_cast<char>(header.size() & 255) << static_cast<char>(header.size() >> 8) << header << body;
}

std::string why() {
    std::string said = refusal([] { read_npy(path); });
    std::string start = path + " is not a .npy file (", end = std::string("); ") + again;
    if (said.rfind(start, 0) != 0) return said;
    return said.substr(start.size(), said.size() - start.size() - end.size());
}

void again_as_written() {
    for (int type = 0; type <= static_cast<int>(Type::uint64); ++type) {
        for (const Shape& shape : {Shape{}, Shape{5}, Shape{2, 3}, Shape{2, 0, 3}, Shape{1, 2, 3, 4}}) {
            Array array(static_cast<Type>(type), shape);
            for (std::size_t i = 0; i < array.bytes(); ++i) static_cast<char*>(array.data())[i] = static_cast<char>(i);
            write_npy(path, array.view());
            Array read = read_npy(path);
            check(read.dtype() == array.dtype() && read.shape() == shape, name_of(array.dtype()));
            check(std::memcmp(read.data(), array.data(), array.bytes()) == 0, "values");
        }
    }
}

void damage() {
    const std::string good = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3), }  \n", body(12, 'x');
    put(good, body);
    same(why(), "");
    put("{'shape': (1, 3), 'descr': '<f4', 'fortran_order': False}", body);
    same(why(), "");
    const std::string torn = "it is shorter or longer than its header says",
                      none = "its header is not that of an array";
    put(good, body + "y");
    same(why(), torn);
    put(good, body.substr(1));
    same(why(), torn);
    put(good, body, {"\x93NUMPY\x02\x00", 8});
    same(why(), "it does not begin like one of version 1.0");
    auto with = [&](const std::string& text) {
        put(text, body);
        return why();
    };
    same(with("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }"), torn);
    same(with("{'descr': '<f4', 'fortran_order': False, 'shape': (999999999999999, 0), }"), torn);
    same(with("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 3), }"), "a length that is none");
    same(with("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }"), "a length that is none");
    same(with("{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1), }"),
         "it has more than 16 axes");
    same(with("{'descr': '>f4', 'fortran_order': False, 'shape': (1, 3), }"), "values of the type >f4");
    same(with("{'descr': '|O', 'fortran_order': False, 'shape': (1, 3), }"), "values of the type |O");
    same(with("{'descr': '<f4', 'fortran_order': True, 'shape': (1, 3), }"), "its values are not in C order");
    same(with("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3), 'x': 1}"), "its header has a key x");
    same(with("{'descr': '<f4', 'fortran_order': False}"), none);
    same(with("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3), } junk"), none);
    same(with("{'descr': '<f4"), none);
    same(with(""), none);

    // However it is cut or changed, it is read or refused.
    put(good, body);
    std::ifstream file(path, std::ios::binary);
    std::string whole((std::istreambuf_iterator<char>(file)), {});
    for (std::size_t at = 0; at < whole.size(); ++at) {
        for (int bit = 0; bit < 9; ++bit) {
            std::string changed = bit == 8 ? whole.substr(0, at) : whole;
            if (bit < 8) changed[at] = static_cast<char>(changed[at] ^ 1 << bit);
            std::ofstream(path, std::ios::binary) << changed;
            refusal([] { read_npy(path); });
        }
    }
}

}  // namespace

int main() {
    char name[] = "/tmp/hasten-npy-XXXXXX";
    close(mkstemp(name));
    path = name;
    again_as_written();
    damage();
    unlink(name);
    return verdict("npy");
}
