// Values as Python writes them, for the sentences that both readers say.
#include <charconv>
#include <cmath>
#include <cstdio>

#include "json.h"

namespace hasten {
namespace {

// A double with the fewest digits that read back as the same one.
std::string number(double value) {
    if (!std::isfinite(value)) return std::isnan(value) ? "nan" : value < 0 ? "-inf" : "inf";
    char text[40];
    auto end = std::to_chars(text, text + sizeof text, value, std::chars_format::scientific).ptr;
    std::string said(text, end);
    int exponent = std::stoi(said.substr(said.find('e') + 1));
    if (exponent < -4 || exponent >= 16) return said;
    end = std::to_chars(text, text + sizeof text, value, std::chars_format::fixed).ptr;
    said.assign(text, end);
    return said.find('.') == std::string::npos ? said + ".0" : said;
}

class Writer {
public:
    explicit Writer(std::size_t most) : most_(most == std::string::npos ? most : most * 4 + 16) {}
    std::string text;

    bool full() const { return text.size() > most_; }

    void write(const std::string& value) {
        char quote = value.find('\'') != std::string::npos && value.find('"') == std::string::npos ? '"' : '\'';
        text += quote;
        for (std::size_t i = 0; i < value.size() && !full(); ++i) {
            auto c = static_cast<unsigned char>(value[i]);
            char code[8];
            if (c == '\\' || c == static_cast<unsigned char>(quote)) {
                text += '\\';
                text += static_cast<char>(c);
            } else if (c == '\n' || c == '\r' || c == '\t') {
                text += c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
            } else if (c < 0x20 || c == 0x7F) {
                std::snprintf(code, sizeof code, "\\x%02x", c);
                text += code;
            } else if (c == 0xC2 && i + 1 < value.size() && static_cast<unsigned char>(value[i + 1]) <= 0xA0) {
                std::snprintf(code, sizeof code, "\\x%02x", static_cast<unsigned char>(value[++i]));
                text += code;
            } else {
                text += static_cast<char>(c);
            }
        }
        text += quote;
    }

    void write(const Json& value) {
        if (full()) return;
        switch (value.type()) {
            case Json::value_t::null: text += "None"; break;
            case Json::value_t::boolean: text += value.get<bool>() ? "True" : "False"; break;
            case Json::value_t::number_float: text += number(value.get<double>()); break;
            case Json::value_t::string: write(value.get_ref<const std::string&>()); break;
            case Json::value_t::array: list(value); break;
            case Json::value_t::object: dict(value); break;
            default: text += std::to_string(value.get<std::int64_t>());
        }
    }

private:
    void list(const Json& value) {
        text += '[';
        const char* between = "";
        for (const Json& item : value) {
            text += between, between = ", ";
            write(item);
            if (full()) return;
        }
        text += ']';
    }

    void dict(const Json& value) {
        text += '{';
        const char* between = "";
        for (const auto& [key, item] : value.get_ref<const Json::object_t&>()) {
            text += between, between = ", ";
            write(key);
            text += ": ";
            write(item);
            if (full()) return;
        }
        text += '}';
    }

    std::size_t most_;  // bytes: each character has at most 4
};

}  // namespace

std::string cut(const std::string& text, std::size_t most) {
    if (text.size() <= most) return text;
    std::size_t seen = 0;
    for (std::size_t i = 0; i < text.size(); ++i)
        if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80 && seen++ == most) return text.substr(0, i);
    return text;
}

std::string repr(const Json& value, std::size_t most) {
    Writer writer(most);
    writer.write(value);
    return cut(writer.text, most);
}

std::string repr(const std::string& text, std::size_t most) {
    Writer writer(most);
    writer.write(text);
    return cut(writer.text, most);
}

std::string shown(double value, int digits) {
    if (!std::isfinite(value)) return number(value);
    char text[40];
    std::snprintf(text, sizeof text, "%.*g", digits, value);
    return text;
}

}  // namespace hasten
