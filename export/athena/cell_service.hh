// From a photon and noise to the energies of cells, with the rules of Athena's DNNCaloSimSvc and its tag GANv0.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "lwtnn/LightweightGraph.hh"
#include "lwtnn/parse_json.hh"

#include "manifest.hh"

namespace calogen {

constexpr double pi = 3.14159265358979323846;
constexpr int latent_dim = 300;
constexpr std::size_t window_size = 266;
constexpr double lowest_energy = 10.0; // MeV; photons of less are not simulated

/// Kinetic energy, MeV, and where the photon enters the barrel's middle layer.
struct Photon {
    double energy;
    double eta;
    double phi;
};

/// A cell of the barrel. Its indices count from eta = 0 outwards, and from phi = 0.
struct Cell {
    int layer;
    int index_eta;
    int index_phi;
    double eta;
    double phi;
};

/// An angle minus another, between -pi and pi.
inline double difference(double first, double second) { return std::remainder(first - second, 2.0 * pi); }

/// All cells of layers 0 to 3 up to |eta| = 1.4.
inline std::vector<Cell> barrel() {
    constexpr double width = 0.025; // of a middle cell in eta
    constexpr double sizes_eta[] = {width, width / 8.0, width, 2.0 * width};
    constexpr int numbers_phi[] = {64, 64, 256, 256};
    std::vector<Cell> cells;
    for (int layer = 0; layer < 4; ++layer) {
        const int number_eta = static_cast<int>(std::lround(1.4 / sizes_eta[layer]));
        const double size_phi = 2.0 * pi / numbers_phi[layer];
        for (const int side : {-1, 1}) {
            for (int eta = 0; eta < number_eta; ++eta) {
                for (int phi = 0; phi < numbers_phi[layer]; ++phi) {
                    const double at_eta = side * (eta + 0.5) * sizes_eta[layer];
                    cells.push_back({layer, eta, phi, at_eta, difference((phi + 0.5) * size_phi, 0.0)});
                }
            }
        }
    }
    return cells;
}

/// The service, ready for one photon at a time.
class CellService {
public:
    CellService(const std::filesystem::path& network, std::uint64_t seed) : cells_(barrel()), engine_(seed) {
        std::ifstream file(network);
        if (!file || std::filesystem::is_directory(network)) {
            throw Error("cannot read the network " + network.string());
        }
        try {
            graph_ = std::make_unique<lwt::LightweightGraph>(lwt::parse_json_graph(file));
        } catch (const std::exception& error) { // boost's and lwtnn's
            throw Error(network.string() + ": " + error.what() + " (is it an LWTNN graph?)");
        }
    }

    /// The middle layer's cell that the photon hits.
    const Cell& impact_cell(const Photon& photon) const {
        const auto distance = [&](const Cell& cell) { // in cells; 1 at the edges
            const double eta = std::abs(photon.eta - cell.eta) / 0.0125;
            return std::max(eta, std::abs(difference(photon.phi, cell.phi)) / (pi / 256.0));
        };
        const Cell* nearest = nullptr;
        for (const auto& cell : cells_) {
            if (cell.layer == 2 && (nearest == nullptr || distance(cell) < distance(*nearest))) {
                nearest = &cell;
            }
        }
        if (distance(*nearest) > 1.0 + 1e-9) {
            throw Error("no cell of the barrel at eta " + std::to_string(photon.eta));
        }
        return *nearest;
    }

    /// The cells that get energy, in the order of the network's outputs.
    std::vector<const Cell*> window(const Cell& impact) const {
        constexpr double width_eta = 0.025, width_phi = pi / 128.0;
        std::vector<const Cell*> chosen;
        for (const auto& cell : cells_) {
            const double eta = std::abs(cell.eta - impact.eta), phi = std::abs(difference(cell.phi, impact.phi));
            if (eta < (cell.layer == 3 ? 4.0 : 3.5) * width_eta && phi < (cell.layer < 2 ? 6.0 : 3.5) * width_phi) {
                chosen.push_back(&cell);
            }
        }
        if (chosen.size() != window_size) {
            throw Error(std::to_string(chosen.size()) + " cells around eta " + std::to_string(impact.eta) +
                        " instead of 266: the window must lie inside the barrel");
        }
        const double side = impact.eta < 0.0 ? -1.0 : 1.0; // on the left in the order of falling eta
        std::sort(chosen.begin(), chosen.end(), [side](const Cell* first, const Cell* second) {
            if (first->layer != second->layer) {
                return first->layer < second->layer;
            }
            if (first->eta < second->eta || first->eta > second->eta) {
                return side * first->eta < side * second->eta;
            }
            return difference(first->phi, second->phi) < 0.0;
        });
        return chosen;
    }

    std::vector<double> draw_noise() {
        std::vector<double> noise(static_cast<std::size_t>(latent_dim));
        for (double& value : noise) {
            value = normal_(engine_);
        }
        return noise;
    }

    /// Energies of the window's cells, MeV.
    std::vector<double> energies(const Photon& photon, const Cell& impact, const std::vector<double>& noise) const {
        std::vector<double> energies(window_size, 0.0);
        if (photon.energy < lowest_energy) {
            return energies;
        }
        std::map<std::string, double> outputs;
        try {
            outputs = graph_->compute(inputs_of(photon, impact, noise));
        } catch (const std::exception& error) {
            throw Error(std::string(error.what()) + " (was the network exported for this service?)");
        }
        for (std::size_t cell = 0; cell < window_size; ++cell) {
            const auto found = outputs.find(std::to_string(cell));
            if (found == outputs.end() || !std::isfinite(found->second)) {
                throw Error("there must be a finite output for each of 266 cells. Received: none for cell " +
                            std::to_string(cell));
            }
            energies[cell] = photon.energy * found->second;
        }
        return energies;
    }

private:
    static lwt::LightweightGraph::NodeMap
    inputs_of(const Photon& photon, const Cell& impact, const std::vector<double>& noise) {
        lwt::LightweightGraph::NodeMap inputs;
        for (std::size_t i = 0; i < noise.size(); ++i) {
            inputs["Z"][std::to_string(i)] = noise[i];
        }
        inputs["E_true"]["0"] = (std::log(photon.energy) - 9.70406053) / 1.76099569;
        for (int i = 0; i < 4; ++i) {
            inputs["pconfig"][std::to_string(i)] = i == impact.index_phi % 4 ? 1.0 : 0.0;
        }
        for (int i = 0; i < 2; ++i) {
            inputs["econfig"][std::to_string(i)] = i == (impact.index_eta + 1) % 2 ? 1.0 : 0.0;
        }
        const double eta = (photon.eta - impact.eta) * (photon.eta < 0.0 ? -1.0 : 1.0);
        inputs["ripos"]["0"] = (eta - 3.47603256e-05) / 0.00722316;
        inputs["ripos"]["1"] = (difference(photon.phi, impact.phi) + 5.42153684e-05) / 0.00708241;
        return inputs;
    }

    const std::vector<Cell> cells_;
    std::unique_ptr<lwt::LightweightGraph> graph_;
    std::mt19937_64 engine_;
    std::normal_distribution<double> normal_; // it keeps every second draw for later
};

} // namespace calogen
