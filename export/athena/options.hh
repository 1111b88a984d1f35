// The command line.
#pragma once

#include <cerrno>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "manifest.hh"

namespace calogen {

inline const char* const usage =
    R"(usage: calogen_athena DIRECTORY (--momentum MEV [--showers N] | --momenta FILE) [options]

Generate calorimeter showers with the networks of an export directory, by the rules of the class of Athena that its
manifest names: which network takes which momentum, its noise, its condition, and the energies of its voxels.
Networks are loaded and evaluated as Athena does it, with lwtnn. A network of cells that no class takes, e.g. the
decoder of a VAE, is run by the manifest alone: the momentum of its photon is the energy, and its voxels are cells.

  DIRECTORY        holds a manifest and the networks that it names; of several, name the manifest of one
  --momentum MEV   generate showers of one momentum, MeV
  --showers N      so many of them (default: 1)
  --momenta FILE   generate a shower for each line of FILE, which holds a momentum, MeV
  --seed N         of the noise (default: 1); the same seed gives the same showers
  --output FILE    write the showers to FILE (default: showers.csv): a line that names the columns, then a line for each
                   shower: its momentum and the energy of each voxel, MeV, in the order of the class;
                   of cells that of layers, eta and phi
  --noise FILE     write the noise to FILE, a line for each shower
  --time           say on stderr how long each network takes for a shower, from noise to energies
  --help           show this text

examples:
  calogen_athena photons --momentum 65536 --showers 1000 --time
  calogen_athena photons --momenta momenta.txt --output showers.csv --noise noise.csv
  python export/athena/compare.py photons showers.csv noise.csv     the same in Python: do they agree?

Files appear whole or not at all. The exit code is 2 where something is wrong with what was given.
)";

struct Options {
    std::filesystem::path directory;
    std::filesystem::path output = "showers.csv";
    std::filesystem::path noise;
    std::vector<double> momenta;
    std::uint64_t showers = 1; // of each momentum
    std::uint64_t seed = 1;
    bool time = false;
    bool help = false;
};

inline double parse_number(const std::string& text, const std::string& name) {
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    const bool whole = !text.empty() && std::string(end).find_first_not_of(" \t\r") == std::string::npos;
    if (end == text.c_str() || !whole || !std::isfinite(value)) {
        throw Error(name + " must be a number. Received: " + text);
    }
    return value;
}

inline std::uint64_t parse_count(const std::string& text, const std::string& name, std::uint64_t lowest) {
    errno = 0;
    const bool digits = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
    const std::uint64_t value = digits ? std::strtoull(text.c_str(), nullptr, 10) : 0;
    if (!digits || errno != 0 || value < lowest) {
        throw Error(name + " must be an integer, " + std::to_string(lowest) + " or more. Received: " + text);
    }
    return value;
}

/// The numbers of a file, one on each line; empty lines do not count.
inline std::vector<double> read_momenta(const std::filesystem::path& path) {
    std::ifstream file(path);
    if (!file || std::filesystem::is_directory(path)) {
        throw Error("cannot read the momenta in " + path.string());
    }
    std::vector<double> momenta;
    std::string line;
    for (int number = 1; std::getline(file, line); ++number) {
        if (line.find_first_not_of(" \t\r") != std::string::npos) {
            momenta.push_back(parse_number(line, path.string() + ", line " + std::to_string(number) + ":"));
        }
    }
    if (momenta.empty()) {
        throw Error(path.string() + " must hold a momentum on each line. Received: none");
    }
    return momenta;
}

/// The command line's words, one after the other.
class Words {
public:
    Words(int count, const char* const* words) : words_(words + (count > 0), words + count) {}

    bool empty() const { return next_ == words_.size(); }
    const std::string& take() { return words_[next_++]; }

    const std::string& value_of(const std::string& option) {
        if (empty()) {
            throw Error(option + " needs a value (--help explains it)");
        }
        return take();
    }

private:
    std::vector<std::string> words_;
    std::size_t next_ = 0;
};

inline void require_complete(const Options& options, bool one, bool many, bool counted) {
    if (options.directory.empty()) {
        throw Error("name the directory of an export (--help explains it)");
    }
    if (one == many) {
        throw Error("give either --momentum or --momenta (--help explains them)");
    }
    if (counted && many) {
        throw Error("--showers goes with --momentum: --momenta has a line for each shower");
    }
    if (options.output == options.noise) {
        throw Error("--output and --noise must be different files. Received: " + options.noise.string());
    }
}

inline Options parse_options(int count, const char* const* arguments) {
    Options options;
    std::string momentum, momenta, showers;
    Words words(count, arguments);
    while (!words.empty()) {
        const std::string word = words.take();
        if (word == "--help" || word == "-h") {
            options.help = true;
            return options;
        } else if (word == "--time") {
            options.time = true;
        } else if (word == "--momentum") {
            momentum = words.value_of(word);
        } else if (word == "--momenta") {
            momenta = words.value_of(word);
        } else if (word == "--showers") {
            showers = words.value_of(word);
        } else if (word == "--seed") {
            options.seed = parse_count(words.value_of(word), word, 0);
        } else if (word == "--output") {
            options.output = words.value_of(word);
        } else if (word == "--noise") {
            options.noise = words.value_of(word);
        } else if (word.substr(0, 1) == "-" || !options.directory.empty()) {
            throw Error("unknown argument " + word + " (--help lists them)");
        } else {
            options.directory = word;
        }
    }
    require_complete(options, !momentum.empty(), !momenta.empty(), !showers.empty());
    if (!showers.empty()) {
        options.showers = parse_count(showers, "--showers", 1);
    }
    options.momenta = momenta.empty() ? std::vector{parse_number(momentum, "--momentum")} : read_momenta(momenta);
    return options;
}

} // namespace calogen
