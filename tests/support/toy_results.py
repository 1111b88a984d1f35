"""Results of a toy model, for the tests of what shows and keeps results."""

from dataclasses import replace

from calogen.claims.judge import Claim, Quantity, Results
from calogen.config import Source
from calogen.evaluation.compare import Measurement
from calogen.metrics.distributions import Floor, Value

ROW = Measurement(4096.0, "r_eta", "VAE", "ks", Value(0.3, 0.02), Floor(0.05, 0.02, 0.09), 250, 1000, 3)
RESULTS = Results(
    name="toy",
    title="Toy VAE <1>",
    paper="A. Author, arXiv:0000.00000",
    claims=(
        Claim("depth grows", "Fig. 6", "the trend & all", "slope 1.02 +- 0.03", "reproduced"),
        Claim("too low | at 4 GeV", "Fig. 9a", "underestimation", "ratio 1.1", "not reproduced"),
    ),
    quantities=(
        Quantity("front share", "%", 17.2, 16.912, 0.05, 0.2, "Geant4, simplified stack", headline=True),
        Quantity("memory", "MB", "about 5", None),
        Quantity("parameters", "", 275973, 275973.0, headline=True),
    ),
    provenance={"commit": "abc", "data": {"train.h5": "1234"}},
    measurements=(ROW, replace(ROW, metric="mean_ratio", measured=Value(1.01, 0.01), floor=Floor(1.0, 0.02, 0.04))),
    deviations=(Source("batch_size", 100, "assumed", "not stated"), Source("latent_dim", 5, "paper", "Fig. 3")),
    remarks=("no noise & no cross-talk",),
)
