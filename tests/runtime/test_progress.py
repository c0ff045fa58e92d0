"""What is said of work that takes long: a line with the seconds gone, on a terminal or not, and after Ctrl-C."""

import io
import sys
import time

import pytest

from bayesmm.runtime import progress
from bayesmm.runtime.progress import counter, progress_bar, working


class Terminal(io.StringIO):
    """A stderr that says it is a terminal."""

    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Speak after a twentieth of a second instead of two."""
    monkeypatch.setattr(progress, "PATIENCE", 0.05)
    monkeypatch.setattr(progress, "PAUSE", 0.02)


def wait_for(text, stream, seconds=5.0):
    """Wait until a stream holds a text."""
    ends = time.monotonic() + seconds
    while text not in stream.getvalue() and time.monotonic() < ends:
        time.sleep(0.01)
    assert text in stream.getvalue()


def listened(monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def test_quick_work_says_nothing(monkeypatch):
    monkeypatch.setattr(progress, "PATIENCE", 5.0)
    heard = listened(monkeypatch, io.StringIO())
    with working("adding"):
        pass
    assert heard.getvalue() == ""


def test_long_work_says_what_it_does_and_for_how_long_without_a_terminal(monkeypatch):
    heard = listened(monkeypatch, io.StringIO())
    with working("writing the report"):
        wait_for("bayesmm: writing the report, 0 s\n", heard)
        with working("maximising the likelihood"), working("leave-one-out"):
            wait_for("bayesmm: writing the report: leave-one-out, 0 s\n", heard)


def test_a_terminal_has_one_line_which_is_gone_at_the_end(monkeypatch):
    heard = listened(monkeypatch, Terminal())
    with working("predicting"):
        wait_for("bayesmm: predicting, 0 s", heard)
    assert "\n" not in heard.getvalue()
    assert heard.getvalue().split("\r")[-2].strip() == ""


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_who_wants_no_progress_hears_nothing(monkeypatch, stream):
    heard = listened(monkeypatch, stream())
    with working("sampling", wanted=False), working("maximising the likelihood"), counter(False, "Refits", 3):
        time.sleep(0.3)
    assert heard.getvalue() == ""


def test_ctrl_c_says_once_what_was_interrupted(monkeypatch):
    heard = listened(monkeypatch, io.StringIO())
    with pytest.raises(KeyboardInterrupt), working("sampling"), working("compiling the model"):
        raise KeyboardInterrupt
    assert heard.getvalue() == "\nbayesmm: interrupted after 0 s: sampling: compiling the model\n"
    with pytest.raises(KeyboardInterrupt), working("sampling", wanted=False), working("compiling the model"):
        raise KeyboardInterrupt
    assert heard.getvalue().count("interrupted") == 1


def test_ctrl_c_under_bars_is_said_too(monkeypatch):
    heard = listened(monkeypatch, io.StringIO())
    with pytest.raises(KeyboardInterrupt), working("sampling"), working("compiling the model", line=False):
        raise KeyboardInterrupt
    assert heard.getvalue() == "\nbayesmm: interrupted after 0 s: sampling: compiling the model\n"


def test_the_line_counts_where_there_are_no_bars(monkeypatch):
    heard = listened(monkeypatch, io.StringIO())
    with counter(True, "Refits", 1000) as advance:
        advance(250)
        wait_for("bayesmm: Refits, 250 of 1,000, 0 s", heard)


def test_a_sampler_without_bars_says_how_far_it_is(monkeypatch):
    heard = listened(monkeypatch, io.StringIO())
    state = type("State", (), dict(finished_draws=300, divergences=1, tuning=False))
    with progress_bar(True, 2, 1200) as bar:
        wait_for("bayesmm: compiling the model, 0 s", heard)
        bar.latest.append([state, state])
        bar.show()
        wait_for("bayesmm: 600 of 2,400 draws, 2 divergences, 0 s", heard)


def test_the_next_line_comes_later_and_later(monkeypatch):
    heard = listened(monkeypatch, io.StringIO())
    with working("sampling"):
        time.sleep(1.0)
    assert 2 <= heard.getvalue().count("sampling") <= 8  # 0.05 s, and twice as long each time: 5 of them
