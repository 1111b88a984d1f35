// Writes the networks of an export as a parametrisation, for FastCaloSim or in an Athena release:
//   root -l -b -q 'export/athena/write_parametrisation.C("export/athena-folder", 22, 20, "photons_eta_20.root")'
// Arguments: folder of the export, the particle's number, 100 times the slice's lower edge, the file to write.
#include <iostream>

#include "TFile.h"
#include "TString.h"

#if __has_include("FastCaloSim/Core/TFCSEnergyAndHitGANV2.h")
R__LOAD_LIBRARY(libFastCaloSim)
#include "FastCaloSim/Core/TFCSCenterPositionCalculation.h"
#include "FastCaloSim/Core/TFCSEnergyAndHitGANV2.h"
#else
R__LOAD_LIBRARY(libISF_FastCaloSimEvent)
#include "ISF_FastCaloSimEvent/TFCSCenterPositionCalculation.h"
#include "ISF_FastCaloSimEvent/TFCSEnergyAndHitGANV2.h"
#endif

int write_parametrisation(const char* folder, int pid, int etaMin, const char* output) {
    const TString name = TString::Format("calogen_pid%d_eta_%d_%d", pid, etaMin, etaMin + 5);
    TFCSEnergyAndHitGANV2 gan(name, name);
    if (!gan.initializeNetwork(pid, etaMin, folder)) {
        std::cerr << folder << " holds no networks of particle " << pid << " for eta " << etaMin << std::endl;
        return 1;
    }
    for (int layer = 0; layer < 24; ++layer) { // each layer starts at the place where the particle crosses it
        if (gan.is_match_calosample(layer)) {
            auto* center = new TFCSCenterPositionCalculation(Form("center%d", layer), Form("center layer %d", layer));
            center->set_calosample(layer);
            center->setExtrapWeight(0.5); // or the layer's mean in the file of extrapolation weights
            center->set_pdgid(pid);
            if (pid == 11 || pid == 211) {
                center->add_pdgid(-pid);
            }
            center->set_eta_min(etaMin / 100.0);
            center->set_eta_max((etaMin + 5) / 100.0);
            center->set_eta_nominal((2 * etaMin + 5) / 200.0);
            gan.push_back_in_bin(center, layer); // behind it goes the mapping of hits to cells
            gan.set_nr_of_init(layer, 1);
        }
    }
    TFile file(output, "RECREATE");
    file.WriteObjectAny(&gan, "TFCSEnergyAndHitGANV2", name);
    file.Close();
    std::cout << output << ": " << name << std::endl;
    return 0;
}
