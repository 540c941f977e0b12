#include "schema.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <variant>
#include <vector>

#include "hasten/hasten.h"

namespace hasten {

extern const char* const bundle_schema_text;  // made by CMake out of spec/
extern const char* const golden_schema_text;

namespace {

using Step = std::variant<std::string, std::size_t>;
using Path = std::vector<Step>;

// What does not fit, where. The sentence is made only for the one that is told.
struct Fault {
    Path path;
    const Json* value;
    const Json* schema;  // that holds the keyword
    std::string keyword;
    std::string detail;            // the name of a property
    std::vector<Fault> context;    // of anyOf: why each of them does not fit
};

using Found = std::function<void(Fault&&)>;

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }
bool is_label(char c) { return is_letter(c) || c == '_' || c == '-'; }

// Parts of letters, digits, `.`, `_`, `-` with `/` between them, none of which begins with `.`.
bool is_path(const std::string& text) {
    bool begins = true;
    for (char c : text) {
        if (begins ? !is_label(c) : !(is_label(c) || c == '.' || c == '/')) return false;
        begins = c == '/';
    }
    return !begins;
}

bool is_golden_path(const std::string& text) {
    bool ends = text.size() > 4 && text.compare(text.size() - 4, 4, ".npy") == 0;
    bool longer = ends && text[text.size() - 5] != '/';
    return longer && text.rfind("golden/", 0) == 0 && std::count(text.begin(), text.end(), '/') == 2 && is_path(text);
}

// The patterns of the schemas, by name: a general matcher would recurse over text that nobody has bounded.
bool matches(const std::string& pattern, const std::string& text) {
    auto all = [&](auto fits) { return std::all_of(text.begin(), text.end(), fits); };
    if (pattern == R"(^[0-9a-f]{64}(?![\s\S]))")
        return text.size() == 64 && all([](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
    if (pattern == R"(^[A-Za-z0-9_-]{1,100}(?![\s\S]))") return !text.empty() && text.size() <= 100 && all(is_label);
    if (pattern == R"(^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*(?![\s\S]))") return is_path(text);
    if (pattern == R"(^golden/[A-Za-z0-9_-][A-Za-z0-9._-]*/[A-Za-z0-9_-][A-Za-z0-9._-]*\.npy(?![\s\S]))")
        return is_golden_path(text);
    throw Error(Error::bug, "the schema has a pattern that this reader does not know: " + pattern);
}

std::size_t characters(const std::string& text) {
    return static_cast<std::size_t>(
        std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

bool is_type(const Json& value, const std::string& type) {
    if (type == "object") return value.is_object();
    if (type == "array") return value.is_array();
    if (type == "string") return value.is_string();
    if (type == "integer") return value.is_number_integer();
    if (type == "number") return value.is_number();
    if (type == "boolean") return value.is_boolean();
    return type == "null" && value.is_null();
}

// Those that are checked here, and those that are for people or belong to another. Any other would be passed over.
bool is_known(const std::string& keyword) {
    static const std::set<std::string> known{
        "$ref", "type", "const", "enum", "if", "anyOf", "minimum", "maximum", "exclusiveMinimum", "minLength",
        "maxLength", "pattern", "minItems", "maxItems", "items", "prefixItems", "required", "properties",
        "propertyNames", "additionalProperties", "then", "else", "$schema", "$defs", "title", "description"};
    return known.count(keyword) != 0;
}

bool is_any_type(const Json& value, const Json& types) {
    if (types.is_string()) return is_type(value, types.get_ref<const std::string&>());
    return std::any_of(types.begin(), types.end(),
                       [&](const Json& t) { return is_type(value, t.get_ref<const std::string&>()); });
}

// Above zero where `a` is told rather than `b`: nearer to the root, later in the file, not of anyOf, of another type.
int compare(const Fault& a, const Fault& b) {
    if (a.path.size() != b.path.size()) return a.path.size() < b.path.size() ? 1 : -1;
    if (a.path != b.path) return a.path > b.path ? 1 : -1;
    auto rank = [](const Fault& f) {
        auto type = f.schema->find("type");
        return 2 * (f.keyword != "anyOf") + !(type != f.schema->end() && is_any_type(*f.value, *type));
    };
    return rank(a) - rank(b);
}

class Walker {
public:
    explicit Walker(const Json& root) : root_(root) {}

    // Every fault is given to `found`, in the order of the schema's keywords.
    void walk(const Json& value, const Json& schema, Path& path, const Found& found) const {
        for (const auto& [keyword, rule] : schema.get_ref<const Json::object_t&>())
            check(keyword, rule, value, schema, path, found);
    }

    bool fits(const Json& value, const Json& schema) const {
        bool good = true;
        Path path;
        walk(value, schema, path, [&](Fault&&) { good = false; });
        return good;
    }

private:
    void check(const std::string& keyword, const Json& rule, const Json& value, const Json& schema, Path& path,
               const Found& found) const {
        if (!is_known(keyword))
            throw Error(Error::bug, "the schema has a keyword that this reader does not know: " + keyword);
        auto tell = [&] { found(Fault{path, &value, &schema, keyword, "", {}}); };
        if (keyword == "$ref") {
            const std::string& name = rule.get_ref<const std::string&>();
            walk(value, root_.at("$defs").at(name.substr(name.rfind('/') + 1)), path, found);
        } else if (keyword == "type") {
            if (!is_any_type(value, rule)) tell();
        } else if (keyword == "const") {
            if (value != rule) tell();
        } else if (keyword == "enum") {
            if (std::none_of(rule.begin(), rule.end(), [&](const Json& e) { return value == e; })) tell();
        } else if (keyword == "if") {
            auto branch = schema.find(fits(value, rule) ? "then" : "else");
            if (branch != schema.end()) walk(value, *branch, path, found);
        } else if (keyword == "anyOf") {
            std::vector<Fault> context;
            for (const Json& law : rule) {
                std::size_t before = context.size();
                Path inner;
                walk(value, law, inner, [&](Fault&& f) { context.push_back(std::move(f)); });
                if (context.size() == before) return;
            }
            found(Fault{path, &value, &schema, keyword, "", std::move(context)});
        } else if (value.is_number()) {
            check_number(keyword, rule, value, tell);
        } else if (value.is_string()) {
            check_string(keyword, rule, value.get_ref<const std::string&>(), tell);
        } else if (value.is_array()) {
            if (keyword == "minItems" && value.size() < rule.get<std::size_t>()) tell();
            if (keyword == "maxItems" && value.size() > rule.get<std::size_t>()) tell();
            auto before = schema.find("prefixItems");
            std::size_t first = before == schema.end() ? 0 : before->size();
            for (std::size_t i = first; keyword == "items" && i < value.size(); ++i)
                below(value[i], i, rule, path, found);
            for (std::size_t i = 0; keyword == "prefixItems" && i < std::min(rule.size(), value.size()); ++i)
                below(value[i], i, rule[i], path, found);
        } else if (value.is_object()) {
            check_object(keyword, rule, value, schema, path, found);
        }
    }

    template <class Tell>
    static void check_number(const std::string& keyword, const Json& rule, const Json& value, Tell&& tell) {
        if (keyword == "minimum" && value < rule) tell();
        if (keyword == "maximum" && value > rule) tell();
        if (keyword == "exclusiveMinimum" && value <= rule) tell();
    }

    template <class Tell>
    static void check_string(const std::string& keyword, const Json& rule, const std::string& text, Tell&& tell) {
        if (keyword == "minLength" && characters(text) < rule.get<std::size_t>()) tell();
        if (keyword == "maxLength" && characters(text) > rule.get<std::size_t>()) tell();
        if (keyword == "pattern" && !matches(rule.get_ref<const std::string&>(), text)) tell();
    }

    void below(const Json& part, Step step, const Json& law, Path& path, const Found& found) const {
        path.push_back(std::move(step));
        walk(part, law, path, found);
        path.pop_back();
    }

    void check_object(const std::string& keyword, const Json& rule, const Json& value, const Json& schema, Path& path,
                      const Found& found) const {
        auto tell = [&](const std::string& detail) { found(Fault{path, &value, &schema, keyword, detail, {}}); };
        const auto& pairs = value.get_ref<const Json::object_t&>();
        if (keyword == "required") {
            for (const Json& name : rule)
                if (!value.contains(name.get_ref<const std::string&>())) tell(name.get_ref<const std::string&>());
        } else if (keyword == "properties") {
            for (const auto& [name, law] : rule.get_ref<const Json::object_t&>())
                if (auto part = value.find(name); part != value.end()) below(*part, name, law, path, found);
        } else if (keyword == "propertyNames") {
            for (const auto& pair : pairs) {
                auto name = std::make_unique<Json>(pair.first);
                if (fits(*name, rule)) continue;
                names_.push_back(std::move(name));
                walk(*names_.back(), rule, path, found);
            }
        } else if (keyword == "additionalProperties") {
            static const Json none = Json::object();
            auto known = schema.find("properties");
            const Json& listed = known == schema.end() ? none : *known;
            std::vector<std::string> extras;
            for (const auto& [name, part] : pairs) {
                if (listed.contains(name)) continue;
                if (rule.is_object()) below(part, name, rule, path, found);
                else extras.push_back(name);
            }
            if (extras.empty()) return;
            std::sort(extras.begin(), extras.end());
            std::string said;
            for (const std::string& name : extras)
                if (said.size() < 1000) said += (said.empty() ? "" : ", ") + repr(name, 250);
            tell(said + (extras.size() == 1 ? " was" : " were"));
        }
    }

    const Json& root_;
    mutable std::vector<std::unique_ptr<Json>> names_;  // keys that a fault points at
};

std::string place(const Path& path) {
    std::string said;
    for (const Step& step : path) {
        if (auto index = std::get_if<std::size_t>(&step)) {
            said += "[" + std::to_string(*index) + "]";
            continue;
        }
        const std::string& name = std::get<std::string>(step);
        bool plain = !name.empty() && !(name[0] >= '0' && name[0] <= '9') && name[0] != '_' &&
                     std::all_of(name.begin(), name.end(), [](char c) { return is_letter(c) || c == '_'; });
        if (plain) {
            said += (said.empty() ? "" : ".") + name;
            continue;
        }
        said += "['";
        for (char c : name) said += c == '\\' ? "\\\\" : c == '\'' ? "\\'" : std::string(1, c);
        said += "']";
    }
    return said.empty() ? "the whole" : said;
}

std::string message(const Fault& f) {
    const Json& rule = f.schema->at(f.keyword);
    const std::string &k = f.keyword, value = repr(*f.value, 300);
    auto one = [&](const char* text) { return rule == 1 ? " should be non-empty" : text; };
    if (k == "type") {
        std::string types = rule.is_string() ? repr(rule) : repr(rule).substr(1, repr(rule).size() - 2);
        return value + " is not of type " + types;
    }
    if (k == "const") return repr(rule) + " was expected";
    if (k == "enum") return value + " is not one of " + repr(rule);
    if (k == "anyOf") return value + " is not valid under any of the given schemas";
    if (k == "minimum") return value + " is less than the minimum of " + repr(rule);
    if (k == "maximum") return value + " is greater than the maximum of " + repr(rule);
    if (k == "exclusiveMinimum") return value + " is less than or equal to the minimum of " + repr(rule);
    if (k == "minLength" || k == "minItems") return value + one(" is too short");
    if (k == "maxLength" || k == "maxItems") return value + " is too long";
    if (k == "pattern") return value + " does not match " + repr(rule);
    if (k == "required") return repr(f.detail) + " is a required property";
    return "Additional properties are not allowed (" + f.detail + " unexpected)";
}

// Of an anyOf the deepest of its own faults, where there is one that is deeper than all others. `path` grows to it.
const Fault& innermost(const Fault& outer, Path& path) {
    const Fault* best = &outer;
    path = outer.path;
    while (!best->context.empty()) {
        auto less = [](const Fault& a, const Fault& b) { return compare(a, b) < 0; };
        const Fault& least = *std::min_element(best->context.begin(), best->context.end(), less);
        auto same = [&](const Fault& f) { return compare(f, least) == 0; };
        if (std::count_if(best->context.begin(), best->context.end(), same) > 1) break;
        best = &least;
        path.insert(path.end(), least.path.begin(), least.path.end());
    }
    return *best;
}

}  // namespace

std::string fault(const Json& value, const Json& schema) {
    Walker walker(schema);
    std::unique_ptr<Fault> best;
    Path path;
    walker.walk(value, schema, path, [&](Fault&& found) {
        if (!best || compare(found, *best) > 0) best = std::make_unique<Fault>(std::move(found));
    });
    if (!best) return "";
    const Fault& told = innermost(*best, path);
    std::string where = place(path);
    auto about = told.schema->find("description");
    if (told.keyword == "pattern" && about != told.schema->end())
        return where + ": " + repr(cut(told.value->get_ref<const std::string&>(), 100)) + " is not " +
               about->get_ref<const std::string&>();
    return where + ": " + cut(message(told), 200);
}

const Json& bundle_schema() {
    static const Json schema = parse(bundle_schema_text, "bundle.schema.json");
    return schema;
}

const Json& golden_schema() {
    static const Json schema = parse(golden_schema_text, "golden.schema.json");
    return schema;
}

}  // namespace hasten
