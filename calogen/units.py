"""Factors to the house units: energies in MeV, lengths in mm, times in ns, angles in rad.

Everything inside calogen is in these units; factors appear only at input, output and on axis labels:
`energy_in_gev = energy / GeV`.
"""

MeV = 1.0
GeV = 1e3 * MeV

mm = 1.0

ns = 1.0
