"""Factors to the house units: energies in MeV, lengths in mm, times in ns, angles in rad.

Everything inside calogen is in these units; factors appear only at input, output and on axis labels:
`energy_in_gev = energy / GeV`.
"""

MeV = 1.0
keV = 1e-3 * MeV
GeV = 1e3 * MeV
TeV = 1e6 * MeV

mm = 1.0
cm = 10.0 * mm
m = 1e3 * mm

ns = 1.0
