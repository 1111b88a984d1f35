"""What `calogen evaluate` says before it begins, and its one progress bar."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from calogen.evaluation.judging import KINDS, Options
from calogen.hdf5 import dataset_shape, open_file
from calogen.process import tell
from calogen.progress import duration, whole
from calogen.showers.files import MAX_SHOWERS
from calogen.showers.grid_files import PUBLIC_LAYERS, public_group
from calogen.showers.sparse import COUNTS

_SECONDS, _SECONDS_PER_SHOWER = 15.0, 0.02  # measured: 15 s and 40 minutes for 300 and 121,000 showers, on a CPU


@contextmanager
def planned(
    cells: bool,
    reference: Sequence[Path],
    files: Mapping[str, Sequence[Path]],
    second_reference: Sequence[Path],
    options: Options,
) -> Iterator[None]:
    """Say what an evaluation will do; if classifiers train, show one progress for the block.

    Args:
        cells: whether the showers are cells, for which there is one classifier instead of three.
        reference, files, second_reference: files of showers; those of the models by label.
        options: how the showers are judged.
    """
    samples = [*files.values(), *([second_reference] if second_reference else [])]
    trainings = options.repetitions * (1 if cells else len(KINDS))
    limit = options.max_showers or MAX_SHOWERS
    numbers = [min(limit, *(sum(map(num_showers, paths)) for paths in (reference, sample))) for sample in samples]
    tell(f"judging {', '.join(files)} against {', '.join(path.name for path in reference)}: all metrics, then a page")
    if not trainings:
        with whole("judging", 0, ""):
            yield
        return
    from calogen.metrics.classifier import CHALLENGE

    total = trainings * len(samples)
    kinds = "1 classifier" if cells else f"{len(KINDS)} classifiers"
    pairs = f"{len(samples)} samples x " if len(samples) > 1 else ""
    times = "once" if options.repetitions == 1 else f"{options.repetitions} times"
    seconds = trainings * sum(_SECONDS + _SECONDS_PER_SHOWER * number for number in numbers)
    tell(
        f"trainings of classifiers: {total} ({pairs}{kinds}, {times} each), on up to "
        f"{max(numbers):,} showers, about {duration(seconds)} without a GPU (--classifiers 0 leaves them out; after an "
        "interrupt the same command goes on)"
    )
    with whole("judging", total * CHALLENGE.epochs, "epochs"):
        yield


def num_showers(path: Path) -> int:
    """Number of showers in a file; 0 if it has none, which is refused later."""
    with open_file(path) as file:
        names = ("cells", "showers", COUNTS, f"{public_group(file)}/{PUBLIC_LAYERS}")
        return max((shape[0] for name in names if (shape := dataset_shape(file, name))), default=0)
