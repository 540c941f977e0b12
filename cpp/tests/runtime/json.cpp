// Strict JSON: what is refused, and with which sentence; values as Python writes them; schema faults.
#include "json.h"

#include "check.h"
#include "schema.h"

using namespace hasten;

namespace {

std::string why(const std::string& text) { return refusal([&] { parse(text, "B"); }); }
std::string strict(const std::string& reason) { return "B is not strict JSON (" + reason + "); " + again; }

void texts() {
    const std::string unfit = strict("a number is not finite, or too large");
    same(why(R"({"format": 1, "format": 1})"), strict("a key stands twice"));
    same(why(R"({"a": [{"b": 1, "c": 2, "b": 1}]})"), strict("a key stands twice"));
    same(why(R"({"\u0061": 1, "a": 1})"), strict("a key stands twice"));
    same(why(R"({"format": NaN})"), unfit);
    same(why(R"({"format": Infinity})"), unfit);
    same(why(R"({"format": -Infinity})"), unfit);
    same(why(R"({"format": 1e999})"), unfit);
    same(why(R"({"format": 9007199254740993})"), unfit);
    same(why(R"({"format": -9007199254740993})"), unfit);
    same(why(R"({"format": 99999999999999999999})"), unfit);
    same(why("{\"format\": " + std::string(5000, '9') + "}"), unfit);
    same(why(R"({"format": 9007199254740992})"), "");
    same(why("{\"recipe\": \"\xff\"}"), strict("it is not UTF-8"));
    same(why("{\"recipe\": \"\xc0\xaf\"}"), strict("it is not UTF-8"));
    same(why("{\"recipe\": \"\xed\xa0\x80\"}"), strict("it is not UTF-8"));
    same(why("\xef\xbb\xbf{}"), strict("it begins with a byte order mark"));
    same(why(std::string(200000, '[')), strict("it is nested too deeply"));
    for (const char* text : {"", "{", "{\"a\": 1", "[1,]", "{\"a\": 1,}", "01", "1.", "{'a': 1}", "[1] 2", "nul",
                             "/**/1", "\"\\ud800\"", "\"a\nb\""})
        check(why(text).rfind("B is not strict JSON (no JSON at byte ", 0) == 0, std::string(text) + why(text));
}

void values() {
    auto said = [](const char* text) { return repr(parse(text, "B")); };
    same(said(R"([1, 2.0, true, null, "a", {"b": "it's"}])"), R"([1, 2.0, True, None, 'a', {'b': "it's"}])");
    same(said("[1e16, 1e15, 0.0001, 0.00001, 1.5e300, -0.0, 0.1]"),
         "[1e+16, 1000000000000000.0, 0.0001, 1e-05, 1.5e+300, -0.0, 0.1]");
    same(said(R"(["a\\b\n\u0001\u007f\u00e9\u0085"])"), "['a\\\\b\\n\\x01\\x7f\u00e9\\x85']");
    same(repr(Json(std::string(1000, 'x')), 5), "'xxxx");
    same(cut("\u00e9\u00e9\u00e9", 2), "\u00e9\u00e9");
    same(shown(0.0123456, 3), "0.0123");
}

void schemas() {
    // Every keyword and pattern of both schemas is one that this reader knows: an object that fits neither meets all.
    same(fault(parse("[]", "B"), golden_schema()), "the whole: [] is not of type 'object'");
    same(fault(parse("{}", "B"), golden_schema()), "the whole: 'tolerance' is a required property");
    Json cases = Json::array();
    for (int i = 0; i < 8; ++i)
        cases.push_back({{"id", "a"}, {"raw", {{"x", "golden/a/x.npy"}}}, {"prepared", Json::object()},
                         {"output", Json::object()}, {"decision", {nullptr}}, {"margin", nullptr}});
    Json good{{"tolerance", {{"y", 0}}}, {"cases", cases}};
    auto with = [&](const char* at, const Json& value) {
        Json made = good;
        made[Json::json_pointer(at)] = value;
        return fault(made, golden_schema());
    };
    same(fault(good, golden_schema()), "");
    same(with("/tolerance/y", -1), "tolerance.y: -1 is less than the minimum of 0");
    same(with("/cases/3/raw/x", "golden/../x.npy"),
         "cases[3].raw.x: 'golden/../x.npy' is not a path golden/<case>/<file>.npy");
    same(with("/cases/3/raw/x y", 1), "cases[3].raw['x y']: 1 is not of type 'string'");
    for (const char* path : {"golden/a/.npy", "golden/a/b/c.npy", "golden//a.npy", "golden/a/b.npy\n", "a/b/c.npy"})
        check(!with("/cases/0/raw/x", path).empty(), path);
    same(with("/cases/1/note", ""), "cases[1]: Additional properties are not allowed ('note' was unexpected)");
    same(with("/cases/2/decision", Json::array()), "cases[2].decision: [] should be non-empty");
    same(with("/cases", Json::array()), "cases: [] is too short");
}

}  // namespace

int main() {
    texts();
    values();
    schemas();
    return verdict("json");
}
