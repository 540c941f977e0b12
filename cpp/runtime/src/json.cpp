#include "json.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "hasten/hasten.h"

namespace hasten {
namespace {

constexpr std::int64_t exact = std::int64_t(1) << 53;
constexpr std::size_t most_depth = 500;
const std::string unfit = "a number is not finite, or too large";

// Whether a text is UTF-8 without overlong forms and surrogates.
bool is_utf8(const std::string& text) {
    for (std::size_t i = 0; i < text.size();) {
        auto at = [&](std::size_t k) { return i + k < text.size() ? static_cast<unsigned char>(text[i + k]) : 0u; };
        unsigned first = at(0);
        std::size_t more = first < 0x80 ? 0 : first >> 5 == 6 ? 1 : first >> 4 == 14 ? 2 : first >> 3 == 30 ? 3 : 9;
        if (more == 9) return false;
        std::uint32_t code = more ? first & (0x3Fu >> more) : first;
        for (std::size_t k = 1; k <= more; ++k) {
            if (at(k) >> 6 != 2) return false;
            code = code << 6 | (at(k) & 0x3Fu);
        }
        const std::uint32_t least[] = {0, 0x80, 0x800, 0x10000};
        if (code < least[more] || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) return false;
        i += more + 1;
    }
    return true;
}

// Builds the value while it reads. An object is filled without looking a key up; doubles are found when it ends.
class Builder final : public nlohmann::json_sax<Json> {
public:
    explicit Builder(const std::string& text) : text_(text) {}
    Json made;
    std::string fault;

    bool null() override { return put(nullptr); }
    bool boolean(bool value) override { return put(value); }
    bool number_integer(std::int64_t value) override {
        return value < -exact || value > exact ? refuse(unfit) : put(value);
    }
    bool number_unsigned(std::uint64_t value) override {
        return value > std::uint64_t(exact) ? refuse(unfit) : put(static_cast<std::int64_t>(value));
    }
    bool number_float(double value, const std::string& written) override {
        bool whole = written.find_first_of(".eE") == std::string::npos;
        return whole || !std::isfinite(value) ? refuse(unfit) : put(value);
    }
    bool string(std::string& value) override { return put(std::move(value)); }
    bool binary(Json::binary_t&) override { return refuse("no JSON"); }
    bool start_object(std::size_t) override { return open(Json::object()); }
    bool start_array(std::size_t) override { return open(Json::array()); }
    bool key(std::string& name) override {
        key_ = std::move(name);
        return true;
    }
    bool end_array() override {
        places_.pop_back();
        return true;
    }
    bool end_object() override {
        const auto& pairs = places_.back()->get_ref<const Json::object_t&>();
        std::vector<const std::string*> keys;
        keys.reserve(pairs.size());
        for (const auto& pair : pairs) keys.push_back(&pair.first);
        std::sort(keys.begin(), keys.end(), [](auto a, auto b) { return *a < *b; });
        auto twice = std::adjacent_find(keys.begin(), keys.end(), [](auto a, auto b) { return *a == *b; });
        places_.pop_back();
        return twice == keys.end() || refuse("a key stands twice");
    }
    bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& why) override {
        // `position` is behind the first character that does not belong there.
        auto stands = [&](const char* word, std::size_t back) {
            return position >= back && text_.compare(position - back, std::strlen(word), word) == 0;
        };
        bool number = why.id == 406 || stands("NaN", 1) || stands("Infinity", 1) || stands("-Infinity", 2);
        return refuse(number ? unfit : "no JSON at byte " + std::to_string(position));
    }

private:
    template <class T> bool put(T&& value) { return add(Json(std::forward<T>(value))) != nullptr; }

    Json* add(Json value) {
        if (places_.empty()) {
            made = std::move(value);
            return &made;
        }
        Json& place = *places_.back();
        if (place.is_array()) {
            auto& items = place.get_ref<Json::array_t&>();
            items.push_back(std::move(value));
            return &items.back();
        }
        // Not its own `emplace`, which searches the whole object for each key.
        auto& pairs = static_cast<Json::object_t::Container&>(place.get_ref<Json::object_t&>());
        pairs.emplace_back(std::move(key_), std::move(value));
        return &pairs.back().second;
    }

    bool open(Json empty) {
        if (places_.size() >= most_depth) return refuse("it is nested too deeply");
        places_.push_back(add(std::move(empty)));
        return true;
    }

    bool refuse(const std::string& why) {
        if (fault.empty()) fault = why;
        return false;
    }

    const std::string& text_;
    std::vector<Json*> places_;  // from the whole to where we are; each is the last of the one before
    std::string key_;
};

}  // namespace

Json parse(const std::string& text, const std::string& path) {
    Builder builder(text);
    if (!is_utf8(text)) builder.fault = "it is not UTF-8";
    else if (text.compare(0, 3, "\xEF\xBB\xBF") == 0) builder.fault = "it begins with a byte order mark";
    else Json::sax_parse(text, &builder);
    if (!builder.fault.empty()) throw Error(Error::input, path + " is not strict JSON (" + builder.fault + ")", again);
    return std::move(builder.made);
}

Json parse(const File& file, std::string* text) {
    if (file.size() > max_json_bytes) throw Error(Error::input, file.path() + " is larger than 4 MiB", again);
    std::string read = file.text();
    Json made = parse(read, file.path());
    if (text) *text = std::move(read);
    return made;
}

}  // namespace hasten
