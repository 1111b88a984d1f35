// Generates calorimeter showers from an export directory; --help explains it.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "generator.hh"
#include "options.hh"
#include "program.hh"
#include "table.hh"

namespace {

std::string column_names(int num_voxels) {
    std::string names = "momentum";
    for (int voxel = 0; voxel < num_voxels; ++voxel) {
        names += ",out_" + std::to_string(voxel);
    }
    return names;
}

double median(std::vector<double>& values) {
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
}

/// Times of showers by the network's file, microseconds.
using Times = std::map<std::string, std::vector<double>>;

/// One shower, to the tables.
void generate(
    calogen::Generator& generator, double momentum, calogen::Table& showers, calogen::Table* noises, Times& times) {
    const auto& network = generator.select(momentum);
    const auto noise = generator.draw_noise();
    const auto start = std::chrono::steady_clock::now();
    auto row = network.energies(momentum, noise);
    const std::chrono::duration<double, std::micro> duration = std::chrono::steady_clock::now() - start;
    times[network.slot().file].push_back(duration.count());
    row.insert(row.begin(), momentum);
    showers.write_row(row);
    if (noises != nullptr) {
        noises->write_row(noise);
    }
    calogen::stop_if_interrupted();
}

void run(const calogen::Options& options) {
    calogen::Generator generator(options.directory, options.seed);
    for (const double momentum : options.momenta) {
        generator.select(momentum); // refuse now what cannot be generated
    }
    calogen::Table showers(options.output);
    showers.write_line(column_names(generator.manifest().num_voxels));
    const auto noises = options.noise.empty() ? nullptr : std::make_unique<calogen::Table>(options.noise);
    Times times;
    for (const double momentum : options.momenta) {
        for (std::uint64_t number = 0; number < options.showers; ++number) {
            generate(generator, momentum, showers, noises.get(), times);
        }
    }
    if (noises) {
        noises->finish();
    }
    showers.finish();
    std::cout << options.output.string() << ": " << options.momenta.size() * options.showers << " showers\n";
    for (auto& [file, values] : times) {
        if (options.time) {
            std::cerr << file << ": " << median(values) << " microseconds per shower (median of " << values.size()
                      << ")\n";
        }
    }
}

} // namespace

int main(int count, char** arguments) {
    return calogen::run_program("calogen_athena", [&] {
        const auto options = calogen::parse_options(count, arguments);
        if (options.help) {
            std::cout << calogen::usage;
        } else {
            run(options);
        }
    });
}
