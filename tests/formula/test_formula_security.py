"""Nothing in a formula runs: the payloads that run in other libraries, read under an audit hook."""

import contextlib
import sys
import threading

import pytest

from bayesmm.errors import FormulaError
from bayesmm.formula.formula import columns_of, parse

FORBIDDEN = {"os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "exec", "compile", "import", "marshal.loads"}
FORBIDDEN |= {"pickle.find_class", "ctypes.dlopen", "socket.connect", "os.remove", "os.rename"}
_watched = {"thread": None, "events": []}  # an audit hook cannot be taken away, so it is switched


def _hook(event, arguments):
    if _watched["thread"] != threading.get_ident():
        return
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if event in FORBIDDEN or writes:
        _watched["events"].append(event)
        raise RuntimeError(f"{event} during parse")


sys.addaudithook(_hook)


@contextlib.contextmanager
def watching():
    _watched.update(thread=threading.get_ident(), events=[])
    try:
        yield _watched["events"]
    finally:
        _watched["thread"] = None


def payloads(marker):
    """Return the ways in which other formula libraries run code, each of which would create the file `marker`."""
    touch = f"'touch {marker}'"
    return {
        "numpy leads to os": f"y ~ x + np.f2py.os.system({touch})",
        "inside I": f"y ~ x + I(np.f2py.os.system({touch}))",
        "inside a group term": f"y ~ x + (np.f2py.os.system({touch}) | g)",
        "as the grouping factor": f"y ~ x + (1 | np.f2py.os.system({touch}))",
        "on the left": f"np.f2py.os.system({touch}) ~ x",
        "os of the caller": f"y ~ x + os.system({touch})",
        "numpy writes a file": f"y ~ x + np.save('{marker}', x)",
        "open": f"y ~ x + open('{marker}', 'w')",
        "import in arithmetic": f"y ~ x + I(x*0 + __import__('os').system({touch}))",
        "eval": f"y ~ x + eval({'__import__("os").system("touch ' + str(marker) + '")'!r})",
        "exec": f"y ~ x + exec('open({str(marker)!r}, chr(119))')",
        "classes of a tuple": f"y ~ x + ().__class__.__base__.__subclasses__()[0].__init__.__globals__['os']({touch})",
        "a method of a column": f"y ~ x + x.to_csv('{marker}')",
        "globals of a function": "y ~ x + C.__globals__.pop('np')",
        "pandas leads to os": f"y ~ x + pd.io.common.os.system({touch})",
        "ctypes": f"y ~ x + np.ctypeslib.ctypes.CDLL(None).system({touch})",
        "a lambda": f"y ~ x + (lambda: open('{marker}', 'w'))()",
        "a subscript": f"y ~ x + x[open('{marker}', 'w')]",
        "back-ticks as a function": f"y ~ x + `open`('{marker}', 'w')",
        "a text that looks like code": f"y ~ I(x == __import__('os').system({touch}))",
        "an assignment": f"y ~ (x := open('{marker}', 'w'))",
        "a pandas query": f"y ~ x + @os.system({touch})",
        "R's system": f"y ~ x + I(system({touch}))",
        "a weight": f"y | weights(open('{marker}', 'w')) ~ x",
        "an argument of a user's function": f"y ~ f(x, open('{marker}', 'w'))",
        "a keyword": f"y ~ poly(x, degree = open('{marker}', 'w'))",
        "a contrast": f"y ~ C(f, open('{marker}', 'w'))",
    }


@pytest.mark.parametrize("kind", payloads("m"))
def test_payloads_are_errors_and_nothing_runs(kind, tmp_path):
    marker = tmp_path / "marker"
    with watching() as events, pytest.raises(FormulaError):
        parse(payloads(marker)[kind], transforms=["f"])
    assert events == []
    assert not marker.exists()


def test_the_watch_sees_what_it_watches_for(tmp_path):
    attempts = [
        lambda: compile("1", "text", "eval"),
        lambda: exec("1"),
        lambda: __import__("no_such_module_of_anybody"),  # one that is not loaded yet
        lambda: open(tmp_path / "file", "w"),
        lambda: __import__("os").system("true"),
    ]
    for attempt in attempts:
        with watching() as events:
            with pytest.raises(RuntimeError, match="during parse"):
                attempt()
            assert len(events) == 1


def test_good_formulas_run_nothing_either():
    text = "log(y) | weights(1/se^2) ~ a*b + poly(x, 2) + C(f, Sum) + np.exp(z) + hill(x) + (x || g/h) + offset(n)"
    with watching() as events:
        formula = parse(text, {"hill": lambda x: open("never", "w")})
        columns_of(formula)
        [term.label for term in formula.terms]
    assert events == []


def test_names_are_columns_and_never_variables_of_the_caller():
    n = 24
    formula = parse("y ~ n + p")
    assert columns_of(formula) == ("y", "n", "p")  # whatever n is here
    assert n == 24
    with pytest.raises(FormulaError, match="cbind"):
        parse("p(y, n) ~ x")
