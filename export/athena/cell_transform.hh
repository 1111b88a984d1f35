// From the incident energy to the condition of a network of cells, and from its outputs to the energies of cells.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <utility>
#include <vector>

#include "manifest.hh"

namespace calogen {

/// Kinetic energy, MeV; sqrt(p^2 + m^2) - m without its cancellation at small momenta.
inline double kinetic_energy(double momentum, double mass) {
    return momentum * momentum / (std::hypot(momentum, mass) + mass);
}

/// What a network of cells gets for an incident energy, MeV.
inline double encoded(double energy, const Encoding& encoding) {
    switch (encoding.kind) {
    case Encoding::Kind::log_energy: {
        const double lowest = std::log(kinetic_energy(encoding.first, encoding.mass));
        const double highest = std::log(kinetic_energy(encoding.second, encoding.mass));
        return (std::log(kinetic_energy(energy, encoding.mass)) - lowest) / (highest - lowest);
    }
    case Encoding::Kind::standard_log_energy:
        return (std::log(energy) - encoding.first) / encoding.second;
    case Encoding::Kind::linear_energy:
        break;
    }
    return energy / encoding.second;
}

inline double ratio(double part, double whole) { return whole > 0.0 ? part / whole : 0.0; }

/// Energies of cells, MeV, from their shares of layers, the layers' of the total, and the response.
inline std::vector<double> of_layer_fractions(double energy, const Step& step, std::vector<double> outputs) {
    const std::size_t num_layers = step.layer_sizes.size(), num_cells = outputs.size() - num_layers - 1;
    const auto layers = outputs.begin() + static_cast<std::ptrdiff_t>(num_cells);
    const double all = step.renormalise ? std::accumulate(layers, outputs.end() - 1, 0.0) : 1.0;
    const double total = outputs.back() * kinetic_energy(energy, step.mass) / step.scale;
    auto cell = outputs.begin();
    for (std::size_t layer = 0; layer < num_layers; ++layer) {
        const auto end = cell + static_cast<std::ptrdiff_t>(step.layer_sizes[layer]);
        const double sum = step.renormalise ? std::accumulate(cell, end, 0.0) : 1.0;
        const double share = ratio(layers[static_cast<std::ptrdiff_t>(layer)], all);
        for (; cell != end; ++cell) {
            *cell = ratio(*cell, sum) * share * total;
        }
    }
    outputs.resize(num_cells);
    return outputs;
}

/// The energies of cells, MeV, that a network's outputs stand for.
inline std::vector<double> undone(double energy, const Step& step, std::vector<double> outputs) {
    const double before = std::accumulate(outputs.begin(), outputs.end(), 0.0);
    for (double& output : outputs) {
        output = std::max(output, 0.0);
    }
    if (step.kind == Step::Kind::layer_fractions) {
        return of_layer_fractions(energy, step, std::move(outputs));
    }
    double factor = step.scale;
    if (step.kind == Step::Kind::kinetic_fractions) { // the shower keeps the total of all outputs
        const double after = std::accumulate(outputs.begin(), outputs.end(), 0.0);
        factor = kinetic_energy(energy, step.mass) * ratio(std::max(before, 0.0), after);
    }
    for (double& output : outputs) {
        output *= factor;
    }
    return outputs;
}

} // namespace calogen
