"""The ATLAS VAE (arXiv:2210.06204): trained, compared with Geant4, its claims judged, its decoder exported.

Expected: shower energies of the front and middle layers close to Geant4's, a total energy that is too broad at high
energies; about 5 minutes for one seed on two cores with the bundled showers (preset laptop).

    python experiments/atlas_vae.py --preset laptop --seeds 5
    python experiments/atlas_vae.py --preset paper --train-data train.h5 --test-data test.h5   # your own cells
"""

import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from calogen import provenance
from calogen.claims.atlas_vae import ABSOLUTE, COMPARED, VAE, Costs, Evidence, judge_claims, quantities
from calogen.config import sources
from calogen.datasets import HONEST_NOTE, bundled, read_vae_window
from calogen.errors import CalogenError
from calogen.evaluation.comparison import Comparison, compare, response_curve
from calogen.evaluation.metrics import Value, ks_distance
from calogen.evaluation.observables import shower_depth
from calogen.evaluation.published import ATLAS_VAE_OBSERVABLES
from calogen.experiment import Arguments, execute, open_run
from calogen.fitting import fit_vae, validation_split
from calogen.files import write_json
from calogen.generation import TrainedRun, compile_one_shower, generate, load_network, seconds_per_call
from calogen.models.atlas_vae import PAPER, AtlasVaeConfig
from calogen.plots.observables import draw_observables, draw_response
from calogen.plots.showers import draw_average_shower
from calogen.report import Results, results_table, write_report
from calogen.showers import Showers
