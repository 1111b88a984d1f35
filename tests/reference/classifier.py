"""Slow twins of what calogen.metrics.classifier computes of scores."""


def area_under_curve(labels, scores):
    """All pairs of the two classes."""
    ones = [score for score, label in zip(scores, labels, strict=True) if label]
    zeros = [score for score, label in zip(scores, labels, strict=True) if not label]
    return sum((x > y) + (x == y) / 2 for x in ones for y in zeros) / (len(ones) * len(zeros))


def calibrate(scores, labels, others):
    """Max-min formula: at the i-th score max over a <= i of min over b >= i of the labels' mean from a to b."""
    places = sorted(set(scores))
    groups = [[label for score, label in zip(scores, labels, strict=True) if score == place] for place in places]

    def mean(a, b):
        values = [label for group in groups[a : b + 1] for label in group]
        return sum(values) / len(values)

    numbers = range(len(places))
    fitted = [max(min(mean(a, b) for b in numbers if b >= i) for a in numbers if a <= i) for i in numbers]
    fitted = [min(max(value, 1e-6), 1 - 1e-6) for value in fitted]
    return [interpolate(places, fitted, score) for score in others]


def interpolate(places, values, x):
    if x <= places[0]:
        return values[0]
    for low, high, left, right in zip(places, places[1:], values, values[1:], strict=False):
        if x <= high:
            return left + (right - left) * (x - low) / (high - low)
    return values[-1]
