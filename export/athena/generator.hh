// From a momentum and noise to the energies of a shower's voxels, with the rules of Athena's classes, or of its cells.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "lwtnn/LightweightGraph.hh"
#include "lwtnn/parse_json.hh"

#include "cell_transform.hh"
#include "manifest.hh"

namespace calogen {

using Outputs = std::map<std::string, double>;

/// What a network gets as condition for a momentum, MeV.
inline double condition_of(double momentum, const Condition& condition, double mass) {
    if (!condition.log_kinetic) {
        return momentum / condition.highest;
    }
    const double lowest = kinetic_energy(condition.lowest, mass);
    const double highest = kinetic_energy(condition.highest, mass);
    return std::log(kinetic_energy(momentum, mass) / lowest) / std::log(highest / lowest);
}

/// Number of characters with which all names begin, given the first and the last of them in alphabetical order.
inline std::size_t common_prefix(const std::string& first, const std::string& last) {
    std::size_t length = 0;
    while (length < std::min(first.size(), last.size()) && first[length] == last[length]) {
        ++length;
    }
    return length;
}

/// A network in its slot, ready for one shower at a time.
class Network {
public:
    Network(const std::filesystem::path& directory, const Manifest& manifest, const Slot& slot)
        : manifest_(manifest), slot_(slot) {
        const auto path = directory / slot.file;
        std::ifstream file(path);
        if (!file) {
            throw Error("cannot read the network " + path.string());
        }
        try {
            const auto config = lwt::parse_json_graph(file);
            require_outputs(config);
            graph_ = std::make_unique<lwt::LightweightGraph>(config);
        } catch (const Error& error) {
            throw Error(path.string() + ": " + error.what());
        } catch (const std::exception& error) { // boost's and lwtnn's
            throw Error(path.string() + ": " + error.what() + " (is it an LWTNN graph?)");
        }
    }

    bool takes(double momentum) const { return slot_.above < momentum && momentum <= slot_.up_to; }

    const Slot& slot() const { return slot_; }

    /// The energies of all voxels or cells, MeV.
    std::vector<double> energies(double momentum, const std::vector<double>& noise) const {
        const Outputs outputs = compute(inputs_of(momentum, noise));
        const double kinetic = kinetic_energy(momentum, manifest_.mass);
        const bool second = manifest_.interface == Interface::version_2;
        double sum = 0.0; // of all outputs, those that are no voxels too
        for (const auto& output : outputs) {
            sum += output.second;
        }
        if (!std::isfinite(sum)) {
            std::ostringstream text;
            text << slot_.file << ": its outputs for the momentum " << momentum << " MeV are not finite";
            throw Error(text.str());
        }
        if (manifest_.interface == Interface::cells) {
            std::vector<double> features(static_cast<std::size_t>(manifest_.num_outputs));
            for (std::size_t feature = 0; feature < features.size(); ++feature) {
                features[feature] = outputs.at(std::to_string(feature));
            }
            return undone(momentum, manifest_.steps.front(), std::move(features));
        }
        std::vector<double> energies(static_cast<std::size_t>(manifest_.num_voxels), 0.0);
        if (second && sum < 0.0) {
            return energies;
        }
        for (std::size_t voxel = 0; voxel < energies.size(); ++voxel) {
            const double output = outputs.at(std::to_string(voxel));
            energies[voxel] = second && output <= 0.0 ? 0.0 : kinetic * output;
        }
        return energies;
    }

private:
    lwt::LightweightGraph::NodeMap inputs_of(double momentum, const std::vector<double>& noise) const {
        lwt::LightweightGraph::NodeMap inputs;
        const bool cells = manifest_.interface == Interface::cells;
        auto& latent = inputs[cells ? "latent" : "node_0"];
        for (std::size_t i = 0; i < noise.size(); ++i) {
            latent[manifest_.prefix + std::to_string(i)] = noise[i];
        }
        auto& condition = inputs[cells ? "condition" : "node_1"];
        if (cells) {
            for (std::size_t i = 0; i < manifest_.encodings.size(); ++i) {
                condition[manifest_.prefix + std::to_string(i)] = encoded(momentum, manifest_.encodings[i]);
            }
            return inputs;
        }
        condition[manifest_.prefix + "0"] = condition_of(momentum, slot_.condition, manifest_.mass);
        if (manifest_.interface != Interface::version_1) {
            condition[manifest_.prefix + "1"] = 0.0;
        }
        return inputs;
    }

    /// The outputs by the names that Athena's handler leaves them: without what all begin with.
    Outputs compute(const lwt::LightweightGraph::NodeMap& inputs) const {
        Outputs outputs;
        try {
            const Outputs labelled = graph_->compute(inputs);
            const auto length = common_prefix(labelled.begin()->first, labelled.rbegin()->first);
            for (const auto& output : labelled) {
                outputs.emplace_hint(outputs.end(), output.first.substr(length), output.second);
            }
        } catch (const std::exception& error) {
            throw Error(slot_.file + ": " + error.what() + " (does the manifest belong to this network?)");
        }
        return outputs;
    }

    void require_outputs(const lwt::GraphConfig& config) const {
        if (config.outputs.size() != 1) {
            throw Error("Athena takes networks with one output. Received: " + std::to_string(config.outputs.size()));
        }
        const auto& labels = config.outputs.begin()->second.labels;
        const std::set<std::string> sorted(labels.begin(), labels.end());
        const auto length = sorted.empty() ? 0 : common_prefix(*sorted.begin(), *sorted.rbegin());
        std::set<std::string> names;
        for (const auto& label : sorted) {
            names.insert(label.substr(length));
        }
        for (int voxel = 0; voxel < manifest_.num_outputs; ++voxel) {
            if (names.count(std::to_string(voxel)) == 0) {
                throw Error("there must be an output for each of " + std::to_string(manifest_.num_outputs) +
                            " voxels, two at least. Received: " + std::to_string(names.size()) +
                            " outputs, none of them " + std::to_string(voxel) +
                            " (Athena leaves out what all names begin with)");
            }
        }
    }

    const Manifest& manifest_;
    const Slot& slot_;
    std::unique_ptr<lwt::LightweightGraph> graph_;
};

/// All networks of an export directory, and the noise that they are given.
class Generator {
public:
    Generator(const std::filesystem::path& given, std::uint64_t seed)
        : path_(find_manifest(given)), manifest_(read_manifest(path_)), engine_(seed) {
        for (const auto& slot : manifest_.slots) {
            networks_.emplace_back(path_.parent_path(), manifest_, slot);
        }
    }

    Generator(const Generator&) = delete; // the networks refer to the manifest
    Generator& operator=(const Generator&) = delete;

    const Manifest& manifest() const { return manifest_; }

    /// The network for a momentum, MeV.
    const Network& select(double momentum) const {
        for (const auto& network : networks_) {
            if (network.takes(momentum)) {
                return network;
            }
        }
        std::ostringstream text;
        text.precision(15);
        text << "momentum must be one that a network takes. Received: " << momentum << " MeV (";
        for (const auto& slot : manifest_.slots) {
            text << (&slot == &manifest_.slots.front() ? "" : ", ") << slot.file << " takes those above " << slot.above
                 << " up to " << slot.up_to;
        }
        throw Error(text.str() + ")");
    }

    std::vector<double> draw_noise() {
        const auto& [normal, mean, spread, dim] = manifest_.latent;
        std::vector<double> noise(static_cast<std::size_t>(dim));
        std::uniform_real_distribution<double> uniform(-1.0, 1.0);
        for (double& value : noise) {
            value = mean + spread * (normal ? normal_(engine_) : uniform(engine_));
        }
        return noise;
    }

private:
    const std::filesystem::path path_;
    const Manifest manifest_;
    std::vector<Network> networks_;
    std::mt19937_64 engine_;
    std::normal_distribution<double> normal_; // it keeps every second draw for later
};

} // namespace calogen
