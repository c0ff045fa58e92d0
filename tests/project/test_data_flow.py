"""How calls go through the rooms: down the table of docs/architecture.md, but for what a caller itself hands down."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

import bayesmm as bmm
from bayesmm.design.design import Design
from bayesmm.model import Model
from bayesmm.results import Fit, PointFit

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = str(ROOT / "bayesmm") + "/"
FACES = (Design, Model, Fit, PointFit)  # handed down as arguments; their properties are asked for from below
# methods of the model that is handed down, where a fit of it is wanted as a user has it (`Comparison.point`)
ASKED = ("Model.effects", "Model._reduced", "Model.maximize")
WRAPPERS = (
    "display",
    "runtime",
)  # decorators stand between a caller and its function, and have no direction


def place(frame: FrameType) -> str | None:
    """Return the room of a frame, None outside the package."""
    path = frame.f_code.co_filename
    return path.removeprefix(PACKAGE).split("/")[0] if path.startswith(PACKAGE) else None


def handed_down(frame: FrameType) -> bool:
    """Return whether what runs is a function made by a caller (a criterion, say), or a property of a model or a fit."""
    code = frame.f_code
    if "<locals>" in code.co_qualname:
        return True
    owner, _, name = code.co_qualname.partition(".")
    face = next((face for face in FACES if face.__name__ == owner), None)
    return code.co_qualname in ASKED or (face is not None and isinstance(vars(face).get(name), property))


def between(frame: FrameType) -> bool:
    """Return whether a frame has no direction: it is outside the package, or a decorator's."""
    return place(frame) is None or (place(frame) in WRAPPERS and "<locals>" in frame.f_code.co_qualname)


def upward(order: dict[str, int], call: Callable[[], object]) -> set[tuple[str, str, str]]:
    """Return the calls of a run that go up: from which room and function, to what."""
    found = set()

    def watch(frame: FrameType, event: str, _: object) -> None:
        if event != "call" or (called := place(frame)) is None:
            return
        back = frame.f_back
        while back is not None and between(back):
            back = back.f_back
        if back is not None and order[called] < order[place(back)] and not handed_down(frame):
            found.add((f"{place(back)}: {back.f_code.co_qualname}", called, frame.f_code.co_qualname))

    sys.setprofile(watch)
    try:
        call()
    finally:
        sys.setprofile(None)
    return found


@pytest.fixture(scope="module")
def order() -> dict[str, int]:
    lines = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").splitlines()
    rooms = [line.split("|")[1].strip().strip("`/") for line in lines if line.startswith("| `")]
    beside = rooms.index("errors.py") + 1  # the page has a second table: the folders beside the package
    return {room: at for at, room in enumerate(rooms[:beside])}


@pytest.fixture(scope="module")
def fit() -> Fit:
    model = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.load_dataset("sleepstudy"))
    return model.sample(draws=100, chains=2, seed=1, progress=False)


def test_maximising_goes_down(order, fit):
    assert upward(order, fit.model.maximize) == set()


def test_sampling_goes_down(order, fit):
    assert upward(order, lambda: fit.model.sample(draws=50, chains=2, seed=2, progress=False)) == set()


def test_loading_goes_down(order, fit, tmp_path):
    fit.save(tmp_path / "fit.nc")
    assert upward(order, lambda: bmm.load(tmp_path / "fit.nc")) == set()


@pytest.mark.slow
def test_reporting_goes_down(order, fit, tmp_path):
    assert upward(order, lambda: fit.report(tmp_path / "fit.html")) == set()


def test_a_call_that_goes_up_is_seen(order, fit):
    turned = {room: -at for room, at in order.items()}
    assert upward(turned, fit.model.maximize)
