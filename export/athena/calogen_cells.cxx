// Generates photon showers in cells as Athena's DNNCaloSimSvc does; --help explains it.
#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "cell_service.hh"
#include "options.hh"
#include "program.hh"
#include "table.hh"

namespace {

const char* const usage =
    R"(usage: calogen_cells NETWORK PHOTONS [options]

Generate photon showers in 266 cells around the impact cell, by the rules of Athena's DNNCaloSimSvc with the tag GANv0.
The barrel is a list of cells, from which the window is chosen and ordered as the service does it.

  NETWORK          the network, DNNCaloSim_GAN_nn_v0.json of an export directory
  PHOTONS          has a line for each photon: kinetic energy in MeV, eta and phi where it enters the middle layer
  --seed N         of the noise (default: 1); the same seed gives the same showers
  --output FILE    write the showers to FILE (default: showers.csv): a line that names the columns, then a line for each
                   photon: energy, eta, phi and the energies of the cells, MeV, in the order of the service
  --cells FILE     write the cells to FILE, a line for each cell of each photon: photon, layer, eta, phi
  --noise FILE     write the noise to FILE, a line for each photon
  --help           show this text

example:
  calogen_cells gan/DNNCaloSim_GAN_nn_v0.json photons.txt --output showers.csv --noise noise.csv
  python export/athena/compare.py gan showers.csv noise.csv     the same in Python: do they agree?

Files appear whole or not at all. The exit code is 2 where something is wrong with what was given.
)";

struct CellOptions {
    std::filesystem::path network;
    std::filesystem::path photons;
    std::filesystem::path output = "showers.csv";
    std::filesystem::path cells;
    std::filesystem::path noise;
    std::uint64_t seed = 1;
    bool help = false;
};

CellOptions parse_cell_options(int count, const char* const* arguments) {
    CellOptions options;
    calogen::Words words(count, arguments);
    while (!words.empty()) {
        const std::string word = words.take();
        if (word == "--help" || word == "-h") {
            options.help = true;
            return options;
        } else if (word == "--seed") {
            options.seed = calogen::parse_count(words.value_of(word), word, 0);
        } else if (word == "--output") {
            options.output = words.value_of(word);
        } else if (word == "--cells") {
            options.cells = words.value_of(word);
        } else if (word == "--noise") {
            options.noise = words.value_of(word);
        } else if (word.substr(0, 1) == "-" || !options.photons.empty()) {
            throw calogen::Error("unknown argument " + word + " (--help lists them)");
        } else {
            (options.network.empty() ? options.network : options.photons) = word;
        }
    }
    if (options.photons.empty()) {
        throw calogen::Error("name a network and a file of photons (--help explains them)");
    }
    if (options.output == options.noise || options.output == options.cells ||
        (options.noise == options.cells && !options.noise.empty())) {
        throw calogen::Error("--output, --noise and --cells must be different files");
    }
    return options;
}

/// The photons of a file, one on each line; empty lines do not count.
std::vector<calogen::Photon> read_photons(const std::filesystem::path& path) {
    std::ifstream file(path);
    if (!file || std::filesystem::is_directory(path)) {
        throw calogen::Error("cannot read the photons in " + path.string());
    }
    std::vector<calogen::Photon> photons;
    std::string line;
    for (int number = 1; std::getline(file, line); ++number) {
        const std::string where = path.string() + ", line " + std::to_string(number) + ":";
        std::replace(line.begin(), line.end(), ',', ' ');
        std::istringstream stream(line);
        std::vector<double> values;
        for (std::string word; stream >> word;) {
            values.push_back(calogen::parse_number(word, where + " each word"));
        }
        if (values.empty()) {
            continue;
        }
        if (values.size() != 3 || !(values[0] > 0.0)) {
            throw calogen::Error(where + " energy above 0 MeV, eta and phi. Received: " + line);
        }
        photons.push_back({values[0], values[1], values[2]});
    }
    if (photons.empty()) {
        throw calogen::Error(path.string() + " must hold a photon on each line. Received: none");
    }
    return photons;
}

std::unique_ptr<calogen::Table> table_or_none(const std::filesystem::path& path) {
    return path.empty() ? nullptr : std::make_unique<calogen::Table>(path);
}

void run(const CellOptions& options) {
    const auto photons = read_photons(options.photons);
    calogen::CellService service(options.network, options.seed);
    calogen::Table showers(options.output);
    std::string names = "energy,eta,phi";
    for (std::size_t cell = 0; cell < calogen::window_size; ++cell) {
        names += ",out_" + std::to_string(cell);
    }
    showers.write_line(names);
    const auto noises = table_or_none(options.noise), places = table_or_none(options.cells);
    double number = 0.0;
    for (const auto& photon : photons) {
        const auto& impact = service.impact_cell(photon);
        const auto window = service.window(impact);
        const auto noise = service.draw_noise();
        auto row = service.energies(photon, impact, noise);
        row.insert(row.begin(), {photon.energy, photon.eta, photon.phi});
        showers.write_row(row);
        if (noises) {
            noises->write_row(noise);
        }
        for (std::size_t cell = 0; places && cell < window.size(); ++cell) {
            places->write_row({number, static_cast<double>(window[cell]->layer), window[cell]->eta, window[cell]->phi});
        }
        number += 1.0;
        calogen::stop_if_interrupted();
    }
    for (const auto* table : {&noises, &places}) {
        if (*table) {
            (*table)->finish();
        }
    }
    showers.finish();
    std::cout << options.output.string() << ": " << photons.size() << " showers\n";
}

} // namespace

int main(int count, char** arguments) {
    return calogen::run_program("calogen_cells", [&] {
        const auto options = parse_cell_options(count, arguments);
        if (options.help) {
            std::cout << usage;
        } else {
            run(options);
        }
    });
}
