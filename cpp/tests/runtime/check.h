// The smallest of test harnesses: a check that fails is told, and the program's exit code says so.
#pragma once
#include <cstdio>
#include <functional>
#include <string>

#include "hasten/hasten.h"

inline int failures = 0;

inline void check(bool good, const std::string& what) {
    if (good) return;
    ++failures;
    std::fprintf(stderr, "FAILED: %s\n", what.c_str());
}

inline void same(const std::string& got, const std::string& wanted) {
    check(got == wanted, "\n  got    " + got + "\n  wanted " + wanted);
}

// What an Error says; "" where there is none.
inline std::string refusal(const std::function<void()>& work) {
    try {
        work();
    } catch (const hasten::Error& fault) {
        return fault.what();
    }
    return "";
}

inline int verdict(const char* name) {
    std::printf("%s: %s\n", name, failures ? "failed" : "passed");
    return failures != 0;
}
