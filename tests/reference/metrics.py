"""Slow twins of calogen.metrics.distributions, written from the definitions."""


def separation_power(reference, generated):
    """Bin by bin; both arguments are lists of counts with underflow and overflow."""
    total = 0.0
    for r, g in zip(reference, generated, strict=True):
        p, q = r / sum(reference), g / sum(generated)
        if p + q > 0:
            total += (p - q) ** 2 / (p + q)
    return total / 2


def ks_distance(reference, generated):
    """Largest difference of the shares below or at each value."""
    return max(
        abs(sum(r <= x for r in reference) / len(reference) - sum(g <= x for g in generated) / len(generated))
        for x in [*reference, *generated]
    )
