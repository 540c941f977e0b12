// A bundle's folder: files are opened by a path inside it, and never through a link.
#pragma once
#include <cstdint>
#include <set>
#include <string>

namespace hasten {

constexpr const char* again = "copy the bundle again from where it was made";

// An open file; `path` is for sentences.
class File {
public:
    File(int descriptor, std::string path, std::uint64_t size)
        : descriptor_(descriptor), path_(std::move(path)), size_(size) {}
    ~File();
    File(File&& other) noexcept;
    File(const File&) = delete;
    const std::string& path() const { return path_; }
    std::uint64_t size() const { return size_; }                // bytes, when it was opened
    std::size_t read(void* bytes, std::size_t count) const;     // fewer only at the end
    std::string text() const;                                   // all of it: see to its size first

private:
    int descriptor_;
    std::string path_;
    std::uint64_t size_;
};

class Folder {
public:
    explicit Folder(const std::string& path);  // throws Error where it is not a folder
    ~Folder();
    Folder(Folder&& other) noexcept;
    Folder(const Folder&) = delete;
    const std::string& path() const { return path_; }
    bool has(const std::string& name) const;           // whatever it is, a link that leads somewhere included
    File open(const std::string& inside) const;        // throws Error: a link or not a file
    std::set<std::string> files() const;               // all below it; throws Error for a link or a device
    std::string sha256(const std::string& inside) const;

private:
    std::string path_;
    int descriptor_;
};

}  // namespace hasten
