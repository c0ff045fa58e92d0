"""Files of published results: what may stand in them, which data they name, and when a number is reproduced."""

import numpy as np
import pandas as pd
import pytest
from studies import write

from bayesmm.cli.reproduce.data import read_data
from bayesmm.cli.reproduce.digits import read_printed
from bayesmm.cli.reproduce.published import Data, Filter, read_filter, read_published
from bayesmm.cli.reproduce.quantities import label, parameter
from bayesmm.cli.reproduce.run import EXPLAINED, FAILED, REPRODUCED, reproduce
from bayesmm.errors import BayesmmWarning, DataError

# Digits


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("24.740", (24.7395, 24.7405, 24.74045), (24.7394, 24.7407)),
        ("7.072e-10", (7.0715e-10, 7.0724e-10), (7.071e-10, 7.073e-10)),
        ("4.50e-06", (4.496e-6,), (4.489e-6,)),
        ("17", (17,), (16.4, 17.6)),
        ("-2", (-2,), (2,)),
        ("0.00230", (0.0023045,), (0.002306,)),
        ("<2.2e-16", (0.0, 2e-16), (2.3e-16,)),
    ],
)
def test_a_number_is_reproduced_to_half_a_unit_of_its_last_digit(text, inside, outside):
    printed = read_printed(text)
    assert all(printed.covers(value) for value in inside)
    assert not any(printed.covers(value) for value in (*outside, np.nan))


@pytest.mark.parametrize(
    ("text", "value", "shown"),
    [
        ("24.740", 24.7404512, "24.7405"),
        ("180", 180.0, "180"),
        ("7.072e-10", 7.07234e-10, "7.0723e-10"),
        ("<2e-16", 6.2e-260, "6.2e-260"),
        ("1.98e-10", 0.0, "0.0e+00"),
    ],
)
def test_a_computed_number_is_shown_with_one_digit_more(text, value, shown):
    assert read_printed(text).show(value) == shown


@pytest.mark.parametrize("text", ["", "abc", "1,5", "24.7.1", "nan", ">3", "__import__('os')"])
def test_what_is_no_printed_number(text):
    with pytest.raises(DataError, match="no printed number"):
        read_printed(text)


def test_the_p_value_that_nlme_prints_as_0_is_not_any_p_value(tmp_path):
    study = write(
        tmp_path, formula="Days ~ 1 + (1 | Subject)", published='coefficients.Intercept.p = "0"', program="nlme"
    )
    assert reproduce(study).rows[0].verdict == REPRODUCED
    study = write(
        tmp_path, formula="Noise ~ 1 + (1 | Subject)", published='coefficients.Intercept.p = "0"', program="nlme"
    )
    assert reproduce(study).rows[0].verdict == FAILED


# A file of one's own


def test_a_study_of_ones_own_from_a_file_beside_it(tmp_path):
    result = reproduce(write(tmp_path, published='random.Subject.Days.sd = "5.92"\nlevels.Subject = "18"'))
    assert [(row.label, row.verdict) for row in result.rows] == [
        ("sd_Subject[Days]", REPRODUCED),
        ("levels Subject", REPRODUCED),
    ]


def test_a_wrong_number_is_not_reproduced(tmp_path):
    (row,) = reproduce(write(tmp_path, published='sigma = "25.60"')).rows
    assert (row.verdict, row.reason) == (FAILED, "25.592 is not 25.60 to its digits")


def explained(right, sigma="25.60"):
    return f'sigma = "{sigma}"\n[[explained]]\nreason = "A slip of the pen."\nright.sigma = "{right}"'


def test_an_explanation_counts_only_if_its_value_is_right(tmp_path):
    (row,) = reproduce(write(tmp_path, published=explained("25.59"))).rows
    assert (row.verdict, row.reason) == (EXPLAINED, "A slip of the pen.")
    (row,) = reproduce(write(tmp_path, published=explained("25.61"))).rows
    assert (row.verdict, row.reason) == (FAILED, "25.592 is not 25.61, which the file calls right, to its digits")
    (row,) = reproduce(write(tmp_path, published=explained("25.59", sigma="25.59"))).rows
    assert row.verdict == FAILED
    assert "take the explanation out" in row.reason


def test_priors_of_a_study_reach_the_model(tmp_path, monkeypatch):
    used = []

    def posterior(model, point, own_priors):
        used.append((model.priors, own_priors))
        raise DataError("enough")

    monkeypatch.setattr("bayesmm.cli.reproduce.run.posterior", posterior)
    priors = 'priors = { "sd_Subject" = "HalfNormal(sigma=30)", sigma = 25 }'
    said = pytest.warns(BayesmmWarning, match=r"what the priors hold fixed \(sigma = 25\)")
    with said, pytest.raises(DataError, match="enough"):
        reproduce(write(tmp_path, published='sigma = "25.59"', more=priors), sample=True)
    assert "HalfNormal" in repr(used[0][0]["sd_Subject[Days]"])
    assert "25" in repr(used[0][0]["sigma"])
    assert used[0][1]


def test_a_start_reaches_the_optimiser(tmp_path):
    with pytest.raises(ValueError, match=r"study.toml: start names 'sd_Subject\[Dais\]'"):
        reproduce(write(tmp_path, more='[start]\n"sd_Subject[Dais]" = 5'))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("titel = 'x'", r"there is no key 'titel' .* did you mean 'title'\?"),
        (
            "estimator = 'RELM'",
            r"'estimator' should be one of OLS, REML, ML, Laplace, not 'RELM'; did you mean 'REML'\?",
        ),
        ("estimator = 1", "'estimator' should be a text, and is a whole number"),
        ("family = 3", "'family' should be a text, and is a whole number, 3"),
        ("lines = [1]", "'lines' should be the first and the last line"),
        ("formulas = ['a', 'b']", "give one of 'formula'"),
        ("[start]\nsigma = 'x'", "'start.sigma' should be a number"),
        ("[priors]\nsd = [1]", "'priors.sd' should be a text, and is a list"),
        ("x = ", "is no TOML file"),
    ],
)
def test_wrong_keys_are_named(tmp_path, text, said):
    with pytest.raises(DataError, match=said):
        write(tmp_path, more=text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sigma = 25.6", r"'sigma' should be a text, \"25.6\" as it was printed"),
        ("sigma = true", "'sigma' should be a printed number in quotes, and is true or false"),
        ("sigma.x = '1'", "'sigma' should be a printed number in quotes, and is a table"),
        ("levels = '18'", "'levels' should be a table, and is a text"),
        ("sigmma = '25'", r"there is no section 'sigmma' .* did you mean 'sigma'\?"),
        ("sigma = 'a lot'", "'a lot' is no printed number"),
        ("sigma = '1'\n[[explained]]\nreason = 'x'", "every .*explained.* should have"),
        ("sigma = '1'\n[[explained]]\nreason = 'x'\nright.nobs = '1'", "'nobs', which is not under"),
    ],
)
def test_wrong_numbers_are_named(tmp_path, text, said):
    with pytest.raises(DataError, match=said):
        write(tmp_path, published=text)


@pytest.mark.parametrize(
    ("published", "said"),
    [
        ("levels.Sbject = '18'", r"levels has no 'Sbject' .* did you mean 'Subject'\?"),
        ("coefficients.Days.est = '1'", "coefficients.Days has no 'est'"),
        ("coefficients.Days = '1'", "coefficients.Days is a table: name one of estimate"),
        ("chisq = '1'", "a model has no 'chisq'"),
        ("R2 = '1'", "for a formula without bars"),
        ("random.Subject.Days.sd.x = '1'", "it is one number"),
    ],
)
def test_a_quantity_that_the_model_has_not_is_named(tmp_path, published, said):
    with pytest.raises(DataError, match=rf"study.toml: .*{said}"):
        reproduce(write(tmp_path, published=published))


def test_a_missing_file_and_a_missing_title(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_published(tmp_path / "none.toml")
    (tmp_path / "a.toml").write_text("formula = 'y ~ x'\n[data]\nname = 'sleepstudy'")
    with pytest.raises(DataError, match="the key 'title' is missing"):
        read_published(tmp_path / "a.toml")


# Data


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Time == 0", Filter("Time", "==", 0.0)),
        ("Time>=-1.5e1", Filter("Time", ">=", -15.0)),
        ("Sex != 'M'", Filter("Sex", "!=", "M")),
        ("`a b` < 3", Filter("a b", "<", 3.0)),
    ],
)
def test_a_filter_is_a_column_a_comparison_and_a_value(text, expected):
    assert read_filter(text) == expected


@pytest.mark.parametrize(
    "text", ["", "Time", "Time = 0", "Time == x", "f(Time) == 0", "Time == 0 and 1", 3, "a.b() == 1"]
)
def test_nothing_else_is_a_filter(text):
    with pytest.raises(DataError, match=r"the filter .* should be a column"):
        read_filter(text)


def chosen(columns=None, filters=(), name="immune"):
    return read_data(Data(name, None, columns or {}, tuple(map(read_filter, filters))))


def test_filters_keep_the_rows_that_meet_all_of_them():
    frame = chosen(filters=["Time <= 1", "Sex == 'F'"])
    assert set(frame["Time"]) == {0, 1}
    assert set(frame["Sex"]) == {"F"}


@pytest.mark.parametrize(
    ("columns", "filters", "said"),
    [
        ({}, ["Tme == 0"], r"no column 'Tme' .* did you mean 'Time'\?"),
        ({}, ["Sex > 'F'"], "only be compared with == and !="),
        ({}, ["Time == '0'"], "'Time' has numbers: compare it with a number"),
        ({}, ["FamID == 1"], "'FamID' has labels: compare it with a text in quotes"),
        ({}, ["Time > 99"], "no row is left"),
        ({"Famid": "number"}, [], r"did you mean 'FamID'\?"),
        ({"Sex": "number"}, [], "'Sex' cannot be read as numbers"),
    ],
)
def test_data_that_are_not_so(columns, filters, said):
    with pytest.raises(DataError, match=said):
        chosen(columns, filters)


def test_a_code_as_a_number_and_a_number_as_a_code():
    assert pd.api.types.is_numeric_dtype(chosen({"FamID": "number"})["FamID"])
    assert chosen({"Time": "factor"})["Time"].cat.categories.tolist() == list(range(18))  # by size: 2 before 10


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("nme = 'immune'", r"no key 'nme' in \[data\] .* did you mean 'name'\?"),
        ("name = 'immune'\nfile = 'x.csv'", "one of 'name'"),
        ("name = 'immune'\ncolumns = { Sex = 'text' }", "should be one of factor, number, not 'text'"),
        ("name = 'immune'\nfilter = 3", "'data.filter' should be a list"),
        ("name = 3", "'data.name' should be a text"),
    ],
)
def test_a_wrong_data_table_is_named(tmp_path, table, said):
    with pytest.raises(DataError, match=said):
        write(tmp_path, data=table)


# Labels


def test_quantities_have_the_names_of_the_parameters():
    assert label(("random", "Sex:IndID", "Intercept, Time", "corr")) == "corr_Sex:IndID[Intercept, Time]"
    assert parameter(("coefficients", "Days", "estimate")) == "beta[Days]"
    assert parameter(("random", "Subject", "Days", "sd")) == "sd_Subject[Days]"
    assert parameter(("sigma",)) == "sigma"
    assert parameter(("coefficients", "Days", "se")) is None
    assert parameter(("random", "Subject", "Days", "variance")) is None
