// Mutated bundles: whatever stands in bundle.json, in the golden cases or in an array, reading and replaying ends with an
// Error or with nothing, soon, and in little memory.
//
//     fuzz SPEC SECONDS [SEED]     inputs are numbered from SEED on; the last one is in the file that is named first
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <map>
#include <new>
#include <random>

#include "../runtime/forged.h"

namespace {

constexpr std::size_t most_bytes = std::size_t(256) << 20;  // of one allocation
constexpr unsigned longest_s = 20;                           // for one input; more is a hang

[[noreturn]] void die(const char* why) {
    (void)!write(2, why, std::strlen(why));
    std::abort();
}

void* taken(std::size_t bytes, std::size_t alignment) {
    if (bytes > most_bytes) die("FAILED: an allocation of more than 256 MB\n");
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

using Random = std::mt19937_64;

std::size_t below(Random& random, std::size_t n) { return n ? random() % n : 0; }

template <class T> const T& one_of(Random& random, const std::vector<T>& all) { return all[below(random, all.size())]; }

// A bundle in memory, and the folder where it is written; only what was changed is written again.
struct Specimen {
    std::map<std::string, std::string> files;
    fs::path place;

    Specimen(const fs::path& from, const fs::path& to) : place(to) {
        for (const auto& entry : fs::recursive_directory_iterator(from))
            if (entry.is_regular_file() && !entry.is_symlink())
                files[fs::relative(entry.path(), from).string()] = content(entry.path());
        for (const auto& [name, bytes] : files) put(name, bytes);
    }
    void put(const std::string& name, const std::string& bytes) const {
        fs::create_directories((place / name).parent_path());
        std::ofstream(place / name, std::ios::binary) << bytes;
    }
};

// A few bytes are others, more, fewer, or somebody else's.
void scramble(Random& random, std::string& bytes, const std::string& other) {
    for (std::size_t turn = 1 + below(random, 4); turn-- > 0;) {
        std::size_t at = below(random, bytes.size() + 1), length = 1 + below(random, 16);
        switch (below(random, 5)) {
            case 0:
                if (at < bytes.size()) bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(random, 8)));
                break;
            case 1: bytes.insert(at, length, static_cast<char>(random())); break;
            case 2: bytes.erase(at, length); break;
            case 3: bytes.insert(at, bytes, at, length * 8); break;
            default: bytes.insert(at, other, below(random, other.size()), length * 4); break;
        }
    }
}

// A number in a text is another one: of JSON, or of the header of an array.
void renumber(Random& random, std::string& bytes) {
    static const std::vector<std::string> extremes{
        "0", "-1", "1", "2", "255", "65536", "65537", "4294967295", "2147483648", "9007199254740992", "1e308", "-1e308",
        "1e-308", "0.5", "99999999999999999999", "4000000000", "1000000", "1000001", "16777216"};
    std::vector<std::size_t> digits;
    for (std::size_t i = 0; i < std::min<std::size_t>(bytes.size(), 100000); ++i)
        if (bytes[i] >= '0' && bytes[i] <= '9') digits.push_back(i);
    if (digits.empty()) return;
    std::size_t from = one_of(random, digits), to = from;
    while (from > 0 && bytes[from - 1] >= '0' && bytes[from - 1] <= '9') --from;
    while (to < bytes.size() && bytes[to] >= '0' && bytes[to] <= '9') ++to;
    bytes.replace(from, to - from, one_of(random, extremes));
}

// Every place of a document.
void places(Json& value, std::vector<Json*>& found) {
    found.push_back(&value);
    if (value.is_structured())
        for (Json& inner : value) places(inner, found);
}

// A value somewhere in a document is another one, or one from elsewhere in it.
void revalue(Random& random, std::string& bytes) {
    Json data = Json::parse(bytes, nullptr, false);
    if (data.is_discarded()) return scramble(random, bytes, bytes);
    std::vector<Json*> all;
    places(data, all);
    static const std::vector<Json> strange{
        nullptr, true, 0, -1, 1, 3, 65536, 1000000, 2147483647, 9007199254740992, 0.5, 1e300, "", "x", "frame", "window",
        "unless", "image", "I420", "NV12", "boxes", "events", "uint8", Json::array(), Json::object(), {1, 2}, {0, 0, 1, 1},
        {65536, 65536}, {{"a", 1}}, std::string(1000, 'a')};
    Json& place = *one_of(random, all);
    if (below(random, 4) == 0)
        place = Json(*one_of(random, all));
    else if (place.is_object() && !place.empty() && below(random, 2))
        place.erase(std::next(place.begin(), static_cast<long>(below(random, place.size()))).key());
    else
        place = one_of(random, strange);
    bytes = data.dump(-1, ' ', false, Json::error_handler_t::replace);
}

bool is_json(const std::string& name) { return name.size() > 5 && name.compare(name.size() - 5, 5, ".json") == 0; }

// Changes one to three files; mostly with digests and seal as they have to be, so that what lies deeper is reached.
void mutate(Random& random, const Specimen& specimen) {
    std::vector<std::string> names;
    for (const auto& pair : specimen.files) {
        std::size_t weight = is_json(pair.first) ? 12 : pair.first.find(".npy") != std::string::npos ? 1 : 0;
        names.insert(names.end(), weight, pair.first);
    }
    bool sealed = below(random, 8) != 0;
    std::string manifest = specimen.files.at("bundle.json");
    for (std::size_t turn = 1 + below(random, 3); turn-- > 0;) {
        const std::string& name = one_of(random, names);
        std::string bytes = name == "bundle.json" ? manifest : specimen.files.at(name);
        std::size_t kind = below(random, 4);
        if (kind == 0)
            scramble(random, bytes, specimen.files.at(one_of(random, names)));
        else if (kind == 1 || !is_json(name))
            renumber(random, bytes);
        else
            revalue(random, bytes);
        if (name == "bundle.json") manifest = bytes;
        specimen.put(name, bytes);
    }
    Json data = Json::parse(manifest, nullptr, false);
    if (sealed && data.is_object()) {
        data["seal"] = std::string(64, '0');
        seal(specimen.place, data);
    }
}

void restore(const Specimen& specimen) {
    for (const auto& [name, bytes] : specimen.files)
        if (content(specimen.place / name) != bytes) specimen.put(name, bytes);
}

[[noreturn]] void hangs(int) { die("FAILED: an input takes longer than it may\n"); }

}  // namespace

int main(int count, char** words) {
    if (count < 3) return std::fprintf(stderr, "usage: fuzz SPEC SECONDS [SEED]\n"), 2;
    double seconds = std::strtod(words[2], nullptr);
    std::uint64_t first = count > 3 ? std::strtoull(words[3], nullptr, 10) : 0, seed = first;
    Place scratch;
    std::vector<Specimen> specimens;
    for (const char* part : {"golden", "broken"})
        for (const auto& entry : fs::directory_iterator(fs::path(words[1]) / part))
            if (entry.is_directory() && fs::exists(entry.path() / "bundle.json"))
                specimens.emplace_back(entry.path(), scratch.path / part / entry.path().filename());
    char last[] = "/tmp/hasten-fuzz-XXXXXX";
    int file = mkstemp(last);
    std::printf("%zu bundles; the last input is in %s\n", specimens.size(), last);
    std::fflush(stdout);
    std::signal(SIGALRM, hangs);
    std::size_t refused = 0;
    auto began = std::chrono::steady_clock::now();
    auto passed = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count(); };
    for (; passed() < seconds; ++seed) {
        std::string said = std::to_string(seed) + "\n";
        (void)!pwrite(file, said.data(), said.size(), 0);
        Random random(seed);
        const Specimen& specimen = one_of(random, specimens);
        alarm(longest_s);
        mutate(random, specimen);
        try {
            forged::load(specimen.place.string());
        } catch (const Error& fault) {
            if (fault.kind() == Error::bug) die((std::string("FAILED: ") + fault.what() + "\n").c_str());
            ++refused;
        }
        alarm(0);
        restore(specimen);
    }
    close(file);
    std::remove(last);
    std::printf("%llu inputs, %zu refused, %.0f a second\n", static_cast<unsigned long long>(seed - first), refused,
                static_cast<double>(seed - first) / passed());
    return refused ? 0 : 1;
}
