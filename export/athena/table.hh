// Tables of numbers that appear whole or not at all.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iomanip>
#include <random>
#include <sstream>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "manifest.hh"

namespace calogen {

/// Comma-separated values, written to a temporary file in the same folder, which gets its name at the end.
///
/// Symbolic links are followed, and a file that is there keeps its mode. A device or a pipe is refused: the file would
/// replace it.
class Table {
public:
    explicit Table(std::filesystem::path path) : path_(std::move(path)), target_(path_) {
        for (int links = 0; std::filesystem::is_symlink(status(true)); ++links) {
            if (links == 40) {
                refuse(ELOOP);
            }
            target_ = target_.parent_path() / std::filesystem::read_symlink(target_);
        }
        const auto found = status(false);
        if (std::filesystem::is_directory(found)) {
            refuse(EISDIR);
        }
        if (std::filesystem::exists(found) && !std::filesystem::is_regular_file(found)) {
            throw Error("cannot write " + path_.string() + ": a device, pipe or socket is there; name a file");
        }
        std::ostringstream name;
        name << "." << target_.stem().string().substr(0, longest_stem) << "." << std::hex << std::setw(8) << std::setfill('0') << std::random_device{}()
             << ".partial" << target_.extension().string();
        temporary_ = target_.parent_path() / name.str();
        errno = 0;
        stream_.open(temporary_);
        require_written();
    }

    Table(const Table&) = delete;
    Table& operator=(const Table&) = delete;

    ~Table() {
        stream_.close();
        std::error_code ignored;
        std::filesystem::remove(temporary_, ignored);
    }

    void write_line(const std::string& line) {
        errno = 0;
        stream_ << line << '\n';
        require_written();
    }

    /// A line of numbers with 17 significant digits, which keep every double exactly.
    void write_row(const std::vector<double>& values) {
        std::string line;
        char number[32];
        for (const double value : values) {
            std::snprintf(number, sizeof number, "%.17g", value);
            line += (line.empty() ? "" : ",") + std::string(number);
        }
        write_line(line);
    }

    /// Give the file its name.
    void finish() {
        errno = 0;
        stream_.close();
        require_written();
        std::error_code error;
        const auto found = status(false);
        if (std::filesystem::exists(found)) {
            std::filesystem::permissions(temporary_, found.permissions(), error); // some file systems know none
        }
        std::filesystem::rename(temporary_, target_, error);
        if (error) {
            refuse(error.value());
        }
    }

private:
    static constexpr std::size_t longest_stem = 100; // bytes: names end at 255

    /// What is at the target, or of a symbolic link itself; a name that is too long is refused.
    std::filesystem::file_status status(bool of_link) const {
        std::error_code error;
        const auto found =
            of_link ? std::filesystem::symlink_status(target_, error) : std::filesystem::status(target_, error);
        if (error.value() == ENAMETOOLONG) {
            refuse(ENAMETOOLONG);
        }
        return found;
    }

    void require_written() const {
        if (!stream_) {
            refuse(errno);
        }
    }

    [[noreturn]] void refuse(int number) const {
        const auto reason = number == 0 ? "is the disk full?" : std::generic_category().message(number);
        throw Error("cannot write " + path_.string() + ": " + reason);
    }

    std::filesystem::path path_;
    std::filesystem::path target_;
    std::filesystem::path temporary_;
    std::ofstream stream_;
};

} // namespace calogen
