// What every program here does around its work: signals, errors, exit codes.
#pragma once

#include <csignal>
#include <exception>
#include <iostream>
#include <string>

#include "manifest.hh"

namespace calogen {

inline volatile std::sig_atomic_t interrupted = 0;

class Interrupted {};

inline void interrupt(int number) { interrupted = number; }

inline void stop_if_interrupted() {
    if (interrupted) {
        throw Interrupted();
    }
}

/// The exit code of a program's work; what goes wrong becomes one line on stderr.
template <typename Work>
int run_program(const std::string& name, const Work& work) {
    std::signal(SIGINT, interrupt);
    std::signal(SIGTERM, interrupt);
    try {
        work();
        return 0;
    } catch (const Error& error) {
        std::cerr << name << ": error: " << error.what() << '\n';
        return 2;
    } catch (const Interrupted&) {
        std::cerr << name << ": " << (interrupted == SIGTERM ? "terminated" : "interrupted") << '\n';
        return 128 + interrupted; // as shells count it
    } catch (const std::exception& error) { // out of memory, say
        std::cerr << name << ": error: " << error.what() << '\n';
        return 1;
    }
}

} // namespace calogen
