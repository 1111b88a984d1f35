import io
import sys
import time

import pytest

from calogen.progress import progress, whole


class Clock:
    """Time that passes only when told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("calogen.progress.monotonic", clock)
    return clock


def test_short_work_is_silent(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress("training", 10) as shown:
        for _ in range(10):
            clock.now += 0.4
            shown.advance()
    assert capsys.readouterr() == ("", "")


def test_plain_lines_in_a_log(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress("training", 100, "epochs") as shown:
        for _ in range(100):
            clock.now += 0.75
            shown.note("loss 1.2e-3")
            shown.advance()
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "training: 39/100 epochs (39%), 0:00:30 elapsed, 0:00:47 left, loss 1.2e-3",
        "training: 79/100 epochs (79%), 0:01:00 elapsed, 0:00:16 left, loss 1.2e-3",
        "training: 100/100 epochs (100%), 0:01:15 elapsed, loss 1.2e-3",
    ]


def test_a_log_has_lines_while_one_unit_takes_long(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calogen.progress._LINE_SECONDS", 0.2)
    with progress("training", 2, "networks") as shown:
        shown.advance()
        time.sleep(1)
    time.sleep(0.5)
    lines = capsys.readouterr().err.splitlines()
    assert 3 <= len(lines) <= 6, "none after the end"
    assert all(line.startswith("training: 1/2 networks (50%)") for line in lines)


def test_the_last_state_is_shown_after_a_failure(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), progress("simulating", 4) as shown:
        clock.now += 8
        shown.advance(2)
        raise KeyboardInterrupt
    assert capsys.readouterr().err == "simulating: 2/4 (50%), 0:00:08 elapsed, 0:00:08 left\n"


def test_nothing_to_do(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress("nothing", 0):
        clock.now += 6
    assert "0/0 (0%)" in capsys.readouterr().err


def test_a_total_that_is_not_known_gives_no_share(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress("downloading", 0, "bytes") as shown:
        clock.now += 6
        shown.advance(100)
    assert capsys.readouterr().err == "downloading: 100 bytes, 0:00:06 elapsed\n"


@pytest.mark.parametrize("closed", [True, False])
def test_no_stream_is_no_trouble(clock: Clock, closed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO() if closed else None
    if stream is not None:
        stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    with progress("working", 2) as shown:
        clock.now += 20
        shown.advance()
    assert shown._done == 1


@pytest.mark.parametrize(("quiet_seconds", "appears"), [(0.01, True), (60.0, False)])
def test_bar_on_a_terminal(
    quiet_seconds: float, appears: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr("calogen.progress._QUIET_SECONDS", quiet_seconds)
    with progress("training", 4, "epochs") as shown:
        if appears:
            assert shown._timer is not None
            shown._timer.join()
        shown.advance(3)
        shown.note("loss [1e-3]")
    out, err = capsys.readouterr()
    assert out == ""
    assert all((part in err) == appears for part in ("training", "75%", "3/4 epochs", "loss [1e-3]"))


def test_one_progress_for_the_whole_work(
    clock: Clock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts in its units advance it, others are named; only the former tell the time that is left."""
    monkeypatch.setattr("calogen.progress._LINE_SECONDS", 10.0)
    with whole("judging", 40, "epochs"):
        clock.now += 100
        with progress("FPD", 5, "sizes") as part:
            part.advance(2)
        for _ in range(2):
            with progress("classifiers", 20, "epochs") as part:
                part.skip(10)
                for _ in range(10):
                    clock.now += 2
                    part.note("loss 0.1")
                    part.advance()
            clock.now += 60
    with progress("drawing", 2) as alone:
        clock.now += 6
        alone.advance()
    assert capsys.readouterr().err.splitlines() == [
        "judging: 0/40 epochs (0%), 0:01:40 elapsed, FPD",
        "judging: 14/40 epochs (35%), 0:01:50 elapsed, 0:01:05 left, classifiers: loss 0.1",
        "judging: 19/40 epochs (48%), 0:02:00 elapsed, 0:00:47 left, classifiers: loss 0.1",
        "judging: 20/40 epochs (50%), 0:03:00 elapsed, 0:00:40 left, classifiers",
        "judging: 34/40 epochs (85%), 0:03:10 elapsed, 0:00:13 left, classifiers: loss 0.1",
        "judging: 39/40 epochs (98%), 0:03:20 elapsed, 0:00:02 left, classifiers: loss 0.1",
        "judging: 40/40 epochs (100%), 0:04:20 elapsed",
        "drawing: 1/2 (50%), 0:00:06 elapsed, 0:00:06 left",
    ]


def test_parts_of_work_without_a_total_stand_alone(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with whole("judging", 0, "epochs"), progress("FPD", 1):
        clock.now += 6
    assert capsys.readouterr().err == "FPD: 0/1 (0%), 0:00:06 elapsed\n"
