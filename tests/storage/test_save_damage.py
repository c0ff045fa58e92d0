"""Files of fits that are damaged, forged or no such files: an error that says why they are not read."""

import numpy as np
import pytest
import xarray as xr
from saved_fits import assert_same, fit_of, forge

import bayesmm as bmm
from bayesmm.storage.files import FORMAT, SEAL_LENGTH, checksum


def refused(path, match, **arguments):
    """Assert that a file is refused in one sentence."""
    with pytest.raises(bmm.FitFileError, match=match) as caught:
        bmm.load(path, **arguments)
    assert "\n" not in str(caught.value)


def test_a_flipped_bit_anywhere_is_seen_before_anything_is_read(saved):
    whole, rng = saved.read_bytes(), np.random.default_rng(0)
    places = [0, 7, 8, 60, *rng.integers(0, len(whole), 40), len(whole) - 64, len(whole) - 1]
    for at in places:
        saved.write_bytes(flipped(whole, at, 1 << int(rng.integers(8))))
        refused(saved, "is damaged: its SHA-256|is not a netCDF-4 file")


def flipped(whole, at, bits=1):
    return whole[:at] + bytes([whole[at] ^ bits]) + whole[at + 1 :]


def test_a_damaged_seal_is_harmless_as_everything_has_its_own_checksum(fit, saved):
    whole = saved.read_bytes()
    for at in (len(whole) - SEAL_LENGTH, len(whole) - 70, len(whole) - 65):
        saved.write_bytes(flipped(whole, at))
        assert bmm.load(saved).tree.identical(fit.tree)
    saved.write_bytes(whole[:-SEAL_LENGTH])
    assert_same(bmm.load(saved), fit)


@pytest.mark.parametrize("variable", ["posterior/beta", "posterior/b_Subject", "sample_stats/energy", "data/column_1"])
def test_changed_numbers_are_seen_without_the_seal_too(fit, saved, variable):
    whole = saved.read_bytes()[:-SEAL_LENGTH]
    with xr.open_datatree(saved) as tree:
        numbers = tree[variable].to_numpy().tobytes()
    at = whole.index(numbers)
    for place in (at, at + len(numbers) // 2, at + len(numbers) - 1):
        saved.write_bytes(flipped(whole, place))
        refused(saved, f"is damaged: .*{variable} changed since it was written")


def test_a_changed_record_is_seen_without_the_seal_too(saved):
    whole = saved.read_bytes()[:-SEAL_LENGTH]
    for text in (b'"mu": 298.5', b"Reaction ~ Days", b'"checksum": "', b'"seed": 1'):
        saved.write_bytes(flipped(whole, whole.index(text) + len(text) - 1))
        refused(saved, "is damaged: its (record has been changed|record is not as expected|attribute 'bayesmm' is no)")


def test_a_truncated_file_is_incomplete(saved):
    whole = saved.read_bytes()
    for length in (8, 100, 5000, len(whole) // 2, len(whole) - SEAL_LENGTH - 1):
        saved.write_bytes(whole[:length])
        refused(saved, "is incomplete or damaged, and cannot be read: ")


def test_a_file_that_does_not_fit_in_memory(saved, monkeypatch):
    monkeypatch.setattr("bayesmm.runtime.memory.free_memory", lambda: 1.9 * saved.stat().st_size)
    refused(saved, "has .* GB, more than half of the .* GB of free memory, which reading it needs")


def test_what_is_no_file_of_ours(tmp_path):
    path = tmp_path / "x.nc"
    refused(path, "there is no file")
    refused(tmp_path, "is a folder, but no store that bayesmm has written")
    for contents in (b"", b"Reaction,Days\n1,2\n", b"\x80\x04pickle", b"CDF\x01" + bytes(100)):
        path.write_bytes(contents)
        refused(path, "is no fit that bayesmm has saved: it is not a netCDF-4 file")
    xr.Dataset({"x": ("i", [1.0])}).to_netcdf(path, engine="h5netcdf")
    refused(path, "is no fit that bayesmm has saved: it has no attribute 'bayesmm'")
    fit_of().tree.to_netcdf(path, engine="h5netcdf")
    refused(path, r"was not written by fit\.save\(\): its attribute 'bayesmm' has no format")


def test_a_forged_file_without_a_change_is_one_of_ours(fit, saved):
    forge(saved)
    assert_same(bmm.load(saved), fit)


def test_a_newer_format_is_named(saved):
    forge(saved, lambda record: record.update(format=FORMAT + 1, something="new"))
    refused(saved, f"has format {FORMAT + 1}, which needs a newer bayesmm; this one reads up to {FORMAT}")


@pytest.mark.parametrize("number", [0, -1, True, "1", None, 1.0, [1]])
def test_a_format_that_is_none(saved, number):
    forge(saved, lambda record: record.update(format=number))
    refused(saved, "has no format")


@pytest.mark.parametrize("group", ["posterior", "data"])
def test_a_missing_group(saved, group):
    forge(saved, drop=group)
    refused(saved, f"is incomplete: it has no {group}")


def test_a_missing_array(saved):
    forge(saved, lambda record: record["arrays"].update({"/posterior/nu": "0" * 64}))
    refused(saved, "is incomplete: it has no /posterior/nu")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda record: record.pop("model"), "the top"),
        (lambda record: record["model"].update(formula=1), r"the top\.model\.formula"),
        (lambda record: record["model"].update(more=1), r"the top\.model"),
        (lambda record: record["model"]["columns"][1].update(kind=None), r"the top\.model\.columns\[1\]\.kind"),
        (lambda record: record["model"]["priors"].update(sigma=[]), r"the top\.model\.priors\.sigma"),
        (lambda record: record["model"].update(transforms="abc"), r"the top\.model\.transforms"),
    ],
)
def test_a_record_of_another_shape(saved, change, place):
    forge(saved, change)
    refused(saved, f"is damaged: its record is not as expected at {place}$")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (dict(formula="Reaction ~ Days + __import__('os').system('touch evil') + (Days | Subject)"), "cannot be made"),
        (dict(formula="Reaction ~ Days + (1 | Subject)"), r"cannot be made by this version: .*sd_Subject\[Days\]"),
        (
            dict(formula="Reaction ~ Days + (1 | Subject)", priors={}),
            "not the one of its draws, .* labels of Subject_term",
        ),
        (dict(formula="Reaction ~ Days + (Days || Subject)", priors={}), "()"),
        (dict(formula="Reaction ~ Nights + (Days | Subject)"), "cannot be made by this version: .*Nights"),
        (dict(family="gausian"), "cannot be made by this version: "),
        (dict(columns=[{"name": "Days", "kind": "number"}] * 3), "two columns of one name"),
        (dict(columns=[{"name": "Subject", "kind": "number"}] + [{"name": "x", "kind": "text"}] * 2), "two columns"),
        (dict(columns=[{"name": name, "kind": "text"} for name in "abc"]), "the file's column 'a' cannot be read"),
    ],
)
def test_a_hostile_record_runs_nothing(saved, change, expected, monkeypatch):
    monkeypatch.chdir(saved.parent)
    forge(saved, lambda record: record["model"].update(change))
    if expected == "()":  # fewer parameters than the draws have: nothing wrong to read
        assert not bmm.load(saved).design.blocks[0].correlated
        return
    refused(saved, expected)
    assert [entry.name for entry in saved.parent.iterdir()] == ["fit.nc"]


@pytest.mark.parametrize(
    "prior",
    [
        {"distribution": "os.system", "on": "sd", "parameters": {}},
        {"distribution": "HalfNormal", "on": "sd", "parameters": {"distribution": 1}},
        {"distribution": "HalfNormal", "on": "sd", "parameters": {"sigma": -1}},
        {"distribution": "HalfNormal", "on": "x", "parameters": {"sigma": 1}},
    ],
)
def test_a_hostile_prior_is_none(saved, prior):
    forge(saved, lambda record: record["model"]["priors"].update(sigma=prior))
    refused(saved, "the prior of 'sigma' is none that this version knows: ")


def test_codes_beyond_the_levels(saved):
    with xr.open_datatree(saved) as opened:
        data = opened["data"].to_dataset().load()
    data["column_2"].values[5] = -1
    forge(saved, replace={"data": data})
    refused(saved, "the file's column 'Subject' cannot be read")


def test_draws_of_another_model(saved):
    other = fit_of("Reaction ~ 1 + (1 | Subject)")
    forge(saved, replace={"posterior": other.tree["posterior"].to_dataset().drop_vars("beta")})
    refused(saved, "is not the one of its draws, which have no draws of beta")


def test_a_file_that_claims_more_than_it_holds(saved):
    h5py = pytest.importorskip("h5py")
    with h5py.File(saved, "r+") as file:  # a billion numbers that are nowhere
        group = file["posterior"]
        del group["sigma"]
        group.create_dataset("sigma", shape=(1, 10**9), dtype="f8", chunks=(1, 10**6))
    refused(saved, r"claim to hold \d+,\d{3},\d{3},\d{3}$")  # xarray may count the variable's index, too


def test_labels_of_a_size_that_no_file_holds_are_not_read(saved):
    h5py = pytest.importorskip("h5py")
    with h5py.File(saved, "r+") as file:  # labels, which xarray reads when it opens a file
        file["posterior"].create_dataset("extra", shape=(10**12,), dtype="i8", chunks=(10**6,)).make_scale("extra")
    refused(saved, r"claim to hold \d+,\d{3},\d{3},\d{3},\d{3}$")


def test_what_is_packed_and_does_not_fit_in_memory(saved, monkeypatch):
    h5py = pytest.importorskip("h5py")
    with h5py.File(saved, "r+") as file:
        file["posterior"].create_dataset("zeros", data=np.zeros(2_000_000), compression="gzip")
    monkeypatch.setattr("bayesmm.runtime.memory.free_memory", lambda: 4.0 * saved.stat().st_size)
    refused(saved, "has 0.016 GB, more than half of the .* GB of free memory, which reading it needs")


@pytest.mark.parametrize("kind", ["itself", "link", "soft", "raw", "virtual"])
def test_links_and_data_of_other_files_are_not_followed(fit, saved, kind):
    h5py = pytest.importorskip("h5py")
    fit.save(saved.parent / "other.nc")
    with h5py.File(saved, "r+") as file:
        group, other = file["posterior"], str(saved.parent / "other.nc")
        if kind == "itself":
            group["more"] = group
        elif kind == "link":
            group["more"] = h5py.ExternalLink(other, "/posterior/sigma")
        elif kind == "soft":
            group["more"] = h5py.SoftLink("/posterior")
        elif kind == "raw":
            group.create_dataset("more", shape=(8,), dtype="u1", external=[(other, 0, 8)])
        else:
            layout = h5py.VirtualLayout((2, 40), "f8")
            layout[:] = h5py.VirtualSource(other, "posterior/sigma", (2, 40))
            group.create_virtual_dataset("more", layout)
    refused(saved, "is no fit that bayesmm has saved: /posterior has 'more', which is no array")


def test_the_byte_order_does_not_change_a_checksum():
    values = np.random.default_rng(0).normal(size=(3, 4))
    one = checksum(xr.Variable(("a", "b"), values))
    assert checksum(xr.Variable(("a", "b"), values.astype(">f8"))) == one
    assert checksum(xr.Variable(("a", "b"), np.asfortranarray(values))) == one
    for other in (xr.Variable(("b", "a"), values), xr.Variable(("a", "b"), values.astype("f4"))):
        assert checksum(other) != one
    assert checksum(xr.Variable("a", ["x", "yz"])) != checksum(xr.Variable("a", ["xy", "z"]))
