"""Physics lists by name, with and without Geant4's data sets.

Geant4's reference lists read data sets (2 GB) that no Python package contains. Where these are not installed, the
`-datafree` lists use processes and models that compute from formulae compiled into Geant4. The package `geant4-pybind`
binds only whole physics constructors, so this module calls the constructors of single processes and models by their
exported C++ symbols: it works for one exact version on one platform and refuses all others.
"""

import ctypes
import importlib.metadata
import os
import platform
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from calogen.errors import ConfigError

if TYPE_CHECKING:
    import geant4_pybind

_Argument = ctypes.c_void_p | ctypes.c_int | ctypes.c_bool

WHEEL_VERSION = "0.1.3"
PHYSICS_LISTS = {
    "em-datafree": "photons, electrons and positrons, computed from formulae: no data sets needed",
    "ftfp-bert-datafree": "em-datafree and FTFP/Bertini hadrons with built-in cross sections: no data sets needed",
    "ftfp-bert": "Geant4's reference list; needs its data sets (not verified: tested only where they are missing)",
}
_OBJECT_BYTES = 65536  # more than any process or model needs


def require_geant4(physics: str) -> None:
    """Refuse, without importing Geant4, a physics list that `load_geant4` would refuse.

    Raises:
        ConfigError: the list is unknown, or the package or the data sets that it needs are missing or unsuitable.
    """
    if physics not in PHYSICS_LISTS:
        raise ConfigError(f"physics must be one of {', '.join(PHYSICS_LISTS)}. Received: {physics}")
    try:
        version = importlib.metadata.version("geant4-pybind")
    except importlib.metadata.PackageNotFoundError:
        raise ConfigError("Geant4 is not installed: pip install 'calogen[geant4]' (Linux x86-64)") from None
    if physics == "ftfp-bert":
        _require_data_sets()
    else:
        where = (platform.system(), platform.machine(), version)
        if where != ("Linux", "x86_64", WHEEL_VERSION):
            raise ConfigError(
                f"physics {physics} needs geant4-pybind=={WHEEL_VERSION} on Linux x86-64. Received: {' '.join(where)} "
                f"(install that version, or Geant4's data sets and use ftfp-bert)"
            )


def load_geant4(physics: str) -> ModuleType:
    """Import `geant4_pybind` with the environment that the physics list needs."""
    require_geant4(physics)
    if physics != "ftfp-bert":
        _pretend_data_sets()
    import geant4_pybind

    return geant4_pybind


def build_physics(physics: str, range_cut: float) -> "geant4_pybind.G4VUserPhysicsList":
    """A physics list for the run manager, once `load_geant4` has imported Geant4.

    Args:
        physics: a name of `PHYSICS_LISTS`.
        range_cut: production range cut, mm.
    """
    import geant4_pybind

    if physics == "ftfp-bert":
        reference = geant4_pybind.FTFP_BERT(0)
        reference.SetDefaultCutValue(range_cut)
        return reference
    return _datafree_list(_Symbols(geant4_pybind), physics, range_cut)


def _require_data_sets() -> None:
    folder = os.environ.get("G4LEDATA") or os.environ.get("GEANT4_DATA_DIR")
    if not folder or not any(Path(folder).glob("**/brem_SB/br1")):
        raise ConfigError(
            "physics ftfp-bert needs Geant4's data sets: set GEANT4_DATA_DIR (or G4LEDATA) to the folder that holds "
            f"G4EMLOW with brem_SB/br1. Received: {folder or 'neither variable is set'} "
            "(without data sets use em-datafree or ftfp-bert-datafree)"
        )


def _pretend_data_sets() -> None:
    """Point Geant4 to an empty data folder, so that its import starts no download."""
    folder = Path(tempfile.gettempdir()) / f"calogen-geant4-{os.getuid()}"
    try:
        for name in ("ENSDFSTATE", "PhotonEvaporation"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "ENSDFSTATE" / "ENSDFSTATE.dat").touch()  # the nuclide table insists on the file
    except OSError as error:
        raise ConfigError(f"cannot write {folder}: {error.strerror}; set TMPDIR to a folder of yours") from error
    os.environ["GEANT4_DATA_DIR"] = os.environ["G4LEDATA"] = str(folder)
    os.environ["G4ENSDFSTATEDATA"] = str(folder / "ENSDFSTATE")
    os.environ["G4LEVELGAMMADATA"] = str(folder / "PhotonEvaporation")


class _StdString(ctypes.Structure):
    """libstdc++'s std::string, of which G4String is a subclass without members."""

    _fields_ = (("text", ctypes.c_char_p), ("length", ctypes.c_size_t), ("inplace", ctypes.c_char * 16))


class _StdVector(ctypes.Structure):
    """libstdc++'s std::vector<int>."""

    _fields_ = (("begin", ctypes.c_void_p), ("end", ctypes.c_void_p), ("capacity", ctypes.c_void_p))


class _Symbols:
    """Geant4's C++ functions by their mangled names; their objects are never freed."""

    def __init__(self, geant4: ModuleType) -> None:
        self.library = ctypes.CDLL(str(geant4.__file__))
        self.allocate = ctypes.CDLL(None).calloc
        self.allocate.restype = ctypes.c_void_p
        self.allocate.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
        self.kept: list[object] = []

    @property
    def helper(self) -> ctypes.c_void_p:
        """Geant4's physics list helper."""
        return self.pointer("_ZN19G4PhysicsListHelper20GetPhysicsListHelperEv")

    def call(self, symbol: str, *arguments: _Argument) -> None:
        """Call a function or method that returns nothing."""
        function = getattr(self.library, symbol)
        function.restype = None
        function(*arguments)

    def pointer(self, symbol: str, *arguments: _Argument) -> ctypes.c_void_p:
        """Call a function or method that returns a pointer."""
        function = getattr(self.library, symbol)
        function.restype = ctypes.c_void_p
        return ctypes.c_void_p(function(*arguments))

    def string(self, text: str) -> ctypes.c_void_p:
        """A G4String that lives as long as the process."""
        raw = text.encode()
        value = _StdString(raw, len(raw))
        self.kept.append((raw, value))
        return ctypes.c_void_p(ctypes.addressof(value))

    def vector(self, values: Iterable[int]) -> ctypes.c_void_p:
        """A std::vector<int> that lives as long as the process."""
        items = list(values)
        array = (ctypes.c_int * len(items))(*items)
        start = ctypes.addressof(array)
        value = _StdVector(start, start + ctypes.sizeof(array), start + ctypes.sizeof(array))
        self.kept.append((array, value))
        return ctypes.c_void_p(ctypes.addressof(value))

    def particle(self, name: str) -> ctypes.c_void_p:
        """The definition of a particle class such as G4Gamma."""
        return self.pointer(f"_ZN{len(name)}{name}10DefinitionEv")

    def new(self, name: str, signature: str, *arguments: _Argument) -> ctypes.c_void_p:
        """An object of class `name`, made by the constructor with this mangled signature."""
        memory = ctypes.c_void_p(self.allocate(1, _OBJECT_BYTES))
        self.call(f"_ZN{len(name)}{name}C1E{signature}", memory, *arguments)
        return memory

    def process(self, name: str, title: str) -> ctypes.c_void_p:
        """A process whose constructor takes its title."""
        return self.new(name, "RK8G4String", self.string(title))

    def photon_process(self, name: str, title: str) -> ctypes.c_void_p:
        """A process whose constructor takes its title and its type (2: electromagnetic)."""
        return self.new(name, "RK8G4String13G4ProcessType", self.string(title), ctypes.c_int(2))

    def model(self, name: str, title: str, takes_particle: bool = True) -> ctypes.c_void_p:
        """An electromagnetic model."""
        if takes_particle:
            return self.new(name, "PK20G4ParticleDefinitionRK8G4String", ctypes.c_void_p(None), self.string(title))
        return self.new(name, "RK8G4String", self.string(title))

    def set_model(self, base: str, process: ctypes.c_void_p, model: ctypes.c_void_p, index: int = 0) -> None:
        """Give a process of base class `base` its model."""
        kind = "P11G4VMscModel" if base == "G4VMultipleScattering" else "P10G4VEmModel"
        symbol = f"_ZN{len(base)}{base}10SetEmModelE{kind}i"
        self.call(symbol, process, model, ctypes.c_int(index))

    def register(self, process: ctypes.c_void_p, particle: ctypes.c_void_p) -> None:
        """Attach a process to a particle."""
        symbol = "_ZN19G4PhysicsListHelper15RegisterProcessEP10G4VProcessP20G4ParticleDefinition"
        function = getattr(self.library, symbol)
        function.restype = ctypes.c_bool
        if not function(self.helper, process, particle):
            raise ConfigError("Geant4 refused to register a process: is geant4-pybind the exact version?")

    def add_transportation(self) -> None:
        """Let every particle move."""
        self.call("_ZN19G4PhysicsListHelper17AddTransportationEv", self.helper)


def _construct_electromagnetic(cpp: _Symbols) -> None:
    """Photo-effect, Compton, pair production; e± scattering, ionisation, bremsstrahlung."""
    gamma, electron, positron = (cpp.particle(name) for name in ("G4Gamma", "G4Electron", "G4Positron"))
    for name, title, model_name, takes_particle in (
        ("G4PhotoElectricEffect", "phot", "G4PEEffectFluoModel", False),
        ("G4ComptonScattering", "compt", "G4KleinNishinaCompton", True),
        ("G4GammaConversion", "conv", "G4PairProductionRelModel", True),
    ):
        process = cpp.photon_process(name, title)
        cpp.set_model("G4VEmProcess", process, cpp.model(model_name, model_name, takes_particle))
        cpp.register(process, gamma)
    for particle in (electron, positron):
        scattering = cpp.process("G4eMultipleScattering", "msc")
        cpp.set_model("G4VMultipleScattering", scattering, cpp.model("G4UrbanMscModel", "UrbanMsc", False))
        ionisation = cpp.process("G4eIonisation", "eIoni")
        cpp.set_model("G4VEnergyLossProcess", ionisation, cpp.model("G4MollerBhabhaModel", "MollerBhabha"))
        bremsstrahlung = cpp.process("G4eBremsstrahlung", "eBrem")
        for index in (0, 1):  # below and above 1 GeV
            model = cpp.model("G4eBremsstrahlungRelModel", "eBremLPM")
            cpp.set_model("G4VEnergyLossProcess", bremsstrahlung, model, index)
        for process in (scattering, ionisation, bremsstrahlung):
            cpp.register(process, particle)
    cpp.register(cpp.process("G4eplusAnnihilation", "annihil"), positron)


def _construct_hadronic(cpp: _Symbols) -> None:
    """FTFP/Bertini, in-code cross sections; no neutron capture, no ion inelastic processes."""
    scattering = cpp.process("G4hMultipleScattering", "ionmsc")
    ion = cpp.particle("G4GenericIon")
    cpp.register(scattering, ion)
    cpp.register(cpp.process("G4ionIonisation", "ionIoni"), ion)
    charged = "_ZN11G4EmBuilder16ConstructChargedEP21G4hMultipleScatteringP17G4NuclearStoppingb"
    cpp.call(charged, scattering, ctypes.c_void_p(None), ctypes.c_bool(False))
    build = "_ZN17G4HadronicBuilder14BuildFTFP_BERTERKSt6vectorIiSaIiEEbRK8G4String"
    pions_nucleons = (211, -211, 2212, 2112)
    glauber = cpp.string("Glauber-Gribov")
    cpp.call(build, cpp.vector(pions_nucleons), ctypes.c_bool(True), glauber)
    for name in ("19BuildKaonsFTFP_BERT", "22BuildHyperonsFTFP_BERT", "22BuildAntiLightIonsFTFP"):
        cpp.call(f"_ZN17G4HadronicBuilder{name}Ev")
    elastic = cpp.vector((*pions_nucleons, 321, -321, 310, 130))
    cpp.call("_ZN17G4HadronicBuilder12BuildElasticERKSt6vectorIiSaIiEE", elastic)
    for name, family in (
        ("G4PionPlus", "Pion"), ("G4PionMinus", "Pion"), ("G4Proton", "Nucleon"), ("G4Neutron", "Nucleon")
    ):  # fmt: skip
        particle = cpp.particle(name)
        for kind, find in (("Inelastic", "20FindInelasticProcess"), ("Elastic", "18FindElasticProcess")):
            process = cpp.pointer(f"_ZN14G4PhysListUtil{find}EPK20G4ParticleDefinition", particle)
            cross_section = cpp.new(f"G4BGG{family}{kind}XS", "PK20G4ParticleDefinition", particle)
            cpp.call("_ZN17G4HadronicProcess10AddDataSetEP22G4VCrossSectionDataSet", process, cross_section)


def _datafree_list(cpp: _Symbols, physics: str, range_cut: float) -> "geant4_pybind.G4VUserPhysicsList":
    """The physics list behind both `-datafree` names."""
    import geant4_pybind

    class DatafreeList(geant4_pybind.G4VUserPhysicsList):
        def __init__(self) -> None:
            super().__init__()
            self.SetDefaultCutValue(range_cut)
            self.SetVerboseLevel(0)
            parameters = geant4_pybind.G4EmParameters.Instance()
            parameters.SetDefaults()
            parameters.SetVerbose(0)
            parameters.SetGeneralProcessActive(False)
            for switch_off in (parameters.SetFluo, parameters.SetAuger, parameters.SetPixe):
                switch_off(False)
            self.hadronic = physics == "ftfp-bert-datafree"
            if self.hadronic:
                geant4_pybind.G4HadronicParameters.Instance().SetVerboseLevel(0)
                self.decays, self.neutron_cut = geant4_pybind.G4DecayPhysics(), geant4_pybind.G4NeutronTrackingCut()

        def ConstructParticle(self) -> None:
            if self.hadronic:
                self.decays.ConstructParticle()
            for name in ("G4Gamma", "G4Electron", "G4Positron", "G4Proton", "G4Geantino", "G4GenericIon"):
                cpp.particle(name)

        def ConstructProcess(self) -> None:
            cpp.add_transportation()
            _construct_electromagnetic(cpp)
            if self.hadronic:
                self.decays.ConstructProcess()
                _construct_hadronic(cpp)
                self.neutron_cut.ConstructProcess()

        def SetCuts(self) -> None:
            self.SetCutsWithDefault()

    return DatafreeList()
