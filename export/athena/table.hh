// Tables of numbers that appear whole or not at all.
#pragma once

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "manifest.hh"

namespace calogen {

/// Comma-separated values, written to a temporary file in the same folder, which gets its name at the end.
class Table {
public:
    explicit Table(std::filesystem::path path) : path_(std::move(path)) {
        std::ostringstream name;
        name << "." << path_.stem().string() << "." << std::hex << std::random_device{}() << ".partial"
             << path_.extension().string();
        temporary_ = path_.parent_path() / name.str();
        if (std::filesystem::is_directory(path_)) {
            refuse(EISDIR);
        }
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
        std::filesystem::rename(temporary_, path_, error);
        if (error) {
            refuse(error.value());
        }
    }

private:
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
    std::filesystem::path temporary_;
    std::ofstream stream_;
};

} // namespace calogen
