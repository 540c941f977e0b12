#include "folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "hasten/hasten.h"
#include "sha256.h"

namespace hasten {
namespace {

constexpr std::size_t most_depth = 64;  // folders within folders

// As it is said: no `.` between, no slash twice or at the end.
std::string plain(const std::string& path) {
    std::string made = path.rfind('/', 0) == 0 ? "/" : "";
    for (std::size_t from = 0; from < path.size();) {
        std::size_t to = std::min(path.find('/', from), path.size());
        std::string part = path.substr(from, to - from);
        if (!part.empty() && part != ".") made += (made.empty() || made == "/" ? "" : "/") + part;
        from = to + 1;
    }
    return made.empty() ? "." : made;
}

Error unread(const std::string& path) {
    return Error(Error::input, path + " cannot be read: " + std::strerror(errno), again);
}

bool steps(const std::string& part) { return part.empty() || part == "." || part == ".."; }

// The folder that `inside` names below `root`, one part after the other; negative where one is missing or a link.
int descend(int root, const std::string& inside) {
    int here = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (std::size_t from = 0; here >= 0 && from < inside.size();) {
        std::size_t to = std::min(inside.find('/', from), inside.size());
        std::string part = inside.substr(from, to - from);
        int next = steps(part) ? -1 : openat(here, part.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        close(here);
        here = next;
        from = to + 1;
    }
    return here;
}

}  // namespace

File::~File() {
    if (descriptor_ >= 0) close(descriptor_);
}

File::File(File&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), path_(std::move(other.path_)), size_(other.size_) {}

std::size_t File::read(void* bytes, std::size_t count) const {
    std::size_t done = 0;
    while (done < count) {
        ssize_t got = ::read(descriptor_, static_cast<char*>(bytes) + done, count - done);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) throw unread(path_);
        if (got == 0) break;
        done += static_cast<std::size_t>(got);
    }
    return done;
}

std::string File::text() const {
    std::string whole(static_cast<std::size_t>(size_), '\0');
    whole.resize(read(whole.data(), whole.size()));
    return whole;
}

Folder::Folder(const std::string& path) : path_(plain(path)) {
    descriptor_ = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor_ < 0) throw Error(Error::input, path_ + " is not a folder", "give the folder of a bundle");
}

Folder::~Folder() {
    if (descriptor_ >= 0) close(descriptor_);
}

Folder::Folder(Folder&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

bool Folder::has(const std::string& name) const { return faccessat(descriptor_, name.c_str(), F_OK, 0) == 0; }

File Folder::open(const std::string& inside) const {
    std::string path = path_ + "/" + inside;
    std::size_t cut = inside.rfind('/');
    int place = descend(descriptor_, cut == std::string::npos ? "" : inside.substr(0, cut));
    std::string name = cut == std::string::npos ? inside : inside.substr(cut + 1);
    int descriptor = -1;
    if (place >= 0 && !steps(name))
        descriptor = openat(place, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (place >= 0) close(place);
    struct stat about {};
    if (descriptor < 0 || fstat(descriptor, &about) != 0 || !S_ISREG(about.st_mode)) {
        if (descriptor >= 0) close(descriptor);
        throw Error(Error::input, path + " is a link or not a file", again);
    }
    return File(descriptor, std::move(path), static_cast<std::uint64_t>(about.st_size));
}

std::set<std::string> Folder::files() const {
    std::set<std::string> found;
    std::vector<std::string> left{""};
    while (!left.empty()) {
        std::string inside = left.back();
        left.pop_back();
        int descriptor = descend(descriptor_, inside);
        DIR* listing = descriptor < 0 ? nullptr : fdopendir(descriptor);
        if (!listing) {
            if (descriptor >= 0) close(descriptor);
            throw unread(path_ + "/" + inside);
        }
        std::vector<std::string> names;
        while (const dirent* entry = readdir(listing)) names.emplace_back(entry->d_name);
        std::sort(names.begin(), names.end());
        std::string fault, mend;
        for (const std::string& name : names) {
            if (name == "." || name == "..") continue;
            std::string below = inside.empty() ? name : inside + "/" + name;
            struct stat about {};
            bool known = fstatat(dirfd(listing), name.c_str(), &about, AT_SYMLINK_NOFOLLOW) == 0;
            bool deep = std::count(below.begin(), below.end(), '/') >= static_cast<std::ptrdiff_t>(most_depth);
            if (known && S_ISREG(about.st_mode)) {
                found.insert(below);
            } else if (known && S_ISDIR(about.st_mode) && !deep) {
                left.push_back(below);
            } else if (known && S_ISLNK(about.st_mode)) {
                fault = " is a symbolic link", mend = "copy the bundle with the files themselves (cp -rL)";
            } else {
                fault = deep ? " lies too deep for a bundle" : " is neither a file nor a folder";
                mend = "remove it";
            }
            if (!fault.empty()) {
                closedir(listing);
                throw Error(Error::input, path_ + "/" + below + fault, mend);
            }
        }
        closedir(listing);
    }
    return found;
}

std::string Folder::sha256(const std::string& inside) const {
    File file = open(inside);
    Sha256 sum;
    std::vector<char> part(1 << 16);
    while (std::size_t got = file.read(part.data(), part.size())) sum.update(part.data(), got);
    return sum.hex();
}

}  // namespace hasten
