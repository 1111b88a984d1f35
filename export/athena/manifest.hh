// What the manifest of an export directory says of its networks, their noise and their condition.
#pragma once

#include <algorithm>
#include <filesystem>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include <boost/property_tree/json_parser.hpp>
#include <boost/property_tree/ptree.hpp>

namespace calogen {

/// A fault that the user can mend: it becomes one line on stderr and exit code 2.
class Error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// The classes of Athena whose rules apply, or, for networks that no class can load, the manifest alone: `selector` for
/// those of voxels, `cells` for a decoder or generator of cells.
enum class Interface { version_1, version_2, selector, cells };

/// Where noise is drawn from: the spread is the standard deviation, or half the width of the uniform distribution.
struct Latent {
    bool normal;
    double mean;
    double spread;
    int dim;
};

/// The number that tells a network the momentum. `lowest` and `highest` are momenta, MeV.
struct Condition {
    bool log_kinetic;
    double lowest;
    double highest;
};

/// A network and its momenta P: above < P <= up_to, MeV.
struct Slot {
    std::string file;
    double above;
    double up_to;
    Condition condition;
};

/// How a network of cells is told the incident energy, MeV.
struct Encoding {
    enum class Kind { log_energy, standard_log_energy, linear_energy } kind;
    double mass;
    double first;  // lowest energy, or mean of the logarithm
    double second; // highest energy, or spread of the logarithm
};

/// A step that leads from energies to what a network of cells gives.
struct Step {
    enum class Kind { layer_fractions, kinetic_fractions, absolute_energies } kind;
    double mass;
    double scale; // of the response, or the constant
    bool renormalise;
    std::vector<std::size_t> layer_sizes;
};

struct Manifest {
    Interface interface;
    double mass;
    Latent latent;
    std::string prefix;
    int num_outputs; // of a network
    int num_voxels;  // or cells
    std::vector<Slot> slots;
    std::vector<Encoding> encodings; // of cells
    std::vector<Step> steps;         // of cells
};

using Tree = boost::property_tree::ptree;

template <typename Value>
Value read_value(const Tree& tree, const std::string& key, const std::string& kind) {
    const auto value = tree.get_optional<Value>(key);
    if (!value) {
        throw Error("the key " + key + " is missing, or holds no " + kind);
    }
    return *value;
}

inline double read_number(const Tree& tree, const std::string& key) { return read_value<double>(tree, key, "number"); }

inline double read_positive(const Tree& tree, const std::string& key) {
    const double value = read_number(tree, key);
    if (!(value > 0.0)) {
        throw Error(key + " must be above 0. Received: " + tree.get<std::string>(key));
    }
    return value;
}

inline int read_count(const Tree& tree, const std::string& key) {
    const int value = read_value<int>(tree, key, "integer");
    if (value < 1) {
        throw Error(key + " must be 1 or more. Received: " + std::to_string(value));
    }
    return value;
}

/// The position of a text among those that it may be.
inline std::size_t read_choice(const Tree& tree, const std::string& key, const std::vector<std::string>& choices) {
    const auto value = read_value<std::string>(tree, key, "text");
    const auto found = std::find(choices.begin(), choices.end(), value);
    if (found == choices.end()) {
        std::string known;
        for (const auto& choice : choices) {
            known += (known.empty() ? "" : ", ") + choice;
        }
        throw Error(key + " must be one of " + known + ". Received: " + value);
    }
    return static_cast<std::size_t>(found - choices.begin());
}

inline const Tree& read_child(const Tree& tree, const std::string& key) {
    const auto child = tree.get_child_optional(key);
    if (!child) {
        throw Error("the key " + key + " is missing");
    }
    return *child;
}

inline Slot read_slot(const Tree& tree) {
    Slot slot{};
    slot.file = read_value<std::string>(tree, "file", "text");
    slot.above = read_number(tree, "above");
    slot.up_to = read_number(tree, "up_to");
    if (!(slot.above < slot.up_to)) {
        throw Error(slot.file + ": above must be less than up_to");
    }
    const Tree& condition = read_child(tree, "condition");
    slot.condition.log_kinetic = read_choice(condition, "kind", {"momentum", "log-kinetic"}) == 1;
    slot.condition.highest = read_positive(condition, "highest");
    if (slot.condition.log_kinetic) {
        slot.condition.lowest = read_positive(condition, "lowest");
        if (!(slot.condition.lowest < slot.condition.highest)) {
            throw Error(slot.file + ": the condition's lowest momentum must be less than its highest");
        }
    }
    return slot;
}

inline double read_mass(const Tree& tree) {
    const double mass = read_number(tree, "mass");
    if (!(mass >= 0.0)) {
        throw Error("mass must be 0 or more");
    }
    return mass;
}

inline Latent read_latent(const Tree& tree) {
    Latent latent{};
    latent.normal = read_choice(tree, "distribution", {"uniform", "normal"}) == 1;
    latent.mean = read_number(tree, "mean");
    latent.spread = read_positive(tree, "spread");
    latent.dim = read_count(tree, "dim");
    return latent;
}

inline Encoding read_encoding(const Tree& tree) {
    const std::vector<std::string> names{"LogEnergy", "StandardLogEnergy", "LinearEnergy"};
    Encoding encoding{static_cast<Encoding::Kind>(read_choice(tree, "name", names)), 0.0, 0.0, 0.0};
    if (encoding.kind == Encoding::Kind::standard_log_energy) {
        encoding.first = read_number(tree, "mean");
        encoding.second = read_positive(tree, "spread");
        return encoding;
    }
    encoding.second = read_positive(tree, "highest");
    if (encoding.kind == Encoding::Kind::log_energy) {
        encoding.mass = read_mass(tree);
        encoding.first = read_positive(tree, "lowest");
        if (!(encoding.first < encoding.second)) {
            throw Error("LogEnergy: lowest must be less than highest");
        }
    }
    return encoding;
}

inline Step read_step(const Tree& tree) {
    const std::vector<std::string> names{"LayerFractions", "KineticFractions", "AbsoluteEnergies"};
    Step step{static_cast<Step::Kind>(read_choice(tree, "name", names)), 0.0, 1.0, false, {}};
    if (step.kind == Step::Kind::absolute_energies) {
        step.scale = read_positive(tree, "constant");
        return step;
    }
    step.mass = read_mass(tree);
    if (step.kind == Step::Kind::layer_fractions) {
        step.scale = read_positive(tree, "response_scale");
        step.renormalise = read_value<bool>(tree, "renormalise", "truth value");
        for (const auto& item : read_child(tree, "layer_sizes")) {
            step.layer_sizes.push_back(static_cast<std::size_t>(read_count(item.second, "")));
        }
    }
    return step;
}

/// A network of cells: one for all energies, with the transform of its training.
inline void read_cells(const Tree& tree, Manifest& manifest) {
    manifest.prefix = "variable_";
    manifest.num_outputs = manifest.num_voxels = read_count(read_child(tree, "output"), "size");
    for (const auto& item : read_child(tree, "transform.encodings")) {
        manifest.encodings.push_back(read_encoding(item.second));
    }
    for (const auto& item : read_child(tree, "transform.steps")) {
        manifest.steps.push_back(read_step(item.second));
    }
    if (manifest.steps.size() != 1) {
        throw Error("transform.steps must be one. Received: " + std::to_string(manifest.steps.size()));
    }
    if (const auto& sizes = manifest.steps.front().layer_sizes; !sizes.empty()) {
        const auto cells = std::accumulate(sizes.begin(), sizes.end(), std::size_t{0});
        if (cells + sizes.size() + 1 != static_cast<std::size_t>(manifest.num_outputs)) {
            throw Error("output.size must be that of cells, layers and total. Received: " +
                        std::to_string(manifest.num_outputs));
        }
        manifest.num_voxels = static_cast<int>(cells);
    }
    Slot slot{};
    slot.file = read_value<std::string>(tree, "network", "text");
    slot.up_to = std::numeric_limits<double>::infinity();
    manifest.slots.push_back(slot);
}

inline Manifest read_manifest_tree(const Tree& tree) {
    Manifest manifest{};
    if (tree.get("interface", "") == "DNNCaloSimSvc") {
        throw Error("networks for DNNCaloSimSvc are run by calogen_cells");
    }
    const std::vector<std::string> interfaces{"TFCSEnergyAndHitGAN", "TFCSEnergyAndHitGANV2", "calogen-selector",
                                              "null"};
    manifest.interface = static_cast<Interface>(read_choice(tree, "interface", interfaces));
    manifest.latent = read_latent(read_child(tree, "latent"));
    if (manifest.interface == Interface::cells) {
        read_cells(tree, manifest);
        return manifest;
    }
    manifest.mass = read_mass(tree);
    manifest.prefix = read_value<std::string>(tree, "variable_prefix", "text");
    manifest.num_outputs = manifest.num_voxels = read_count(tree, "num_voxels");
    for (const auto& item : read_child(tree, "networks")) {
        manifest.slots.push_back(read_slot(item.second));
    }
    if (manifest.slots.empty()) {
        throw Error("networks must not be empty");
    }
    return manifest;
}

/// The manifest of a directory with one particle and slice, or the file itself that is named.
inline std::filesystem::path find_manifest(const std::filesystem::path& given) {
    if (given.extension() == ".json") {
        return given;
    }
    std::vector<std::string> names;
    std::error_code missing; // of a directory that is not there: reading the manifest says so
    for (const auto& entry : std::filesystem::directory_iterator(given, missing)) {
        const auto name = entry.path().filename().string();
        if (name.rfind("manifest_", 0) == 0 && entry.path().extension() == ".json") {
            names.push_back(name);
        }
    }
    if (names.size() > 1) {
        throw Error(given.string() + " holds several particles or slices: name the manifest of one, e.g. " +
                    *std::min_element(names.begin(), names.end()));
    }
    return given / (names.empty() ? "manifest.json" : names.front());
}

inline Manifest read_manifest(const std::filesystem::path& path) {
    Tree tree;
    try {
        boost::property_tree::read_json(path.string(), tree);
        return read_manifest_tree(tree);
    } catch (const boost::property_tree::json_parser_error& error) { // it names the file
        throw Error(std::string(error.what()) + " (is this the directory of an export?)");
    } catch (const Error& error) {
        throw Error(path.string() + ": " + error.what());
    }
}

} // namespace calogen
