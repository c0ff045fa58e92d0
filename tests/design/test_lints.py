"""The data lints: each speaks on data that deserve it, in these words, and is silent on data that do not."""

import gc
import time

import numpy as np
import pandas as pd
import pytest
from references import frame, original_immune

import bayesmm as bmm
from bayesmm.design.blocks import make_blocks
from bayesmm.design.design import make_design
from bayesmm.design.lints import data_lints
from bayesmm.design.reading import read
from bayesmm.design.residual.structure import Residuals
from bayesmm.design.state import Scope
from bayesmm.design.transforms import evaluate
from bayesmm.design.words import named_as_code, words_of
from bayesmm.families.families import get_family
from bayesmm.formula.formula import parse
from bayesmm.formula.roles import variables_of


def messages(formula, data):
    return [(m.level, m.text) for m in make_design(parse(formula), data).messages]


def texts(formula, data):
    return [text for _, text in messages(formula, data)]


def grid(groups=6, rows=8, seed=0):
    """Return `groups` levels of `rows` rows, a number that varies within them, one that does not, and a response."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(groups), rows)
    n = len(g)
    return pd.DataFrame(
        {"g": [f"g{i}" for i in g], "x": rng.normal(size=n), "between": 1.5 * g + 0.25, "y": 40 + rng.normal(size=n)}
    )


@pytest.fixture(params=["the bundled twin", "the original"])
def immune(request):
    """Both sets with whole numbers as codes, as R and pandas read them."""
    if request.param == "the original":
        return original_immune()
    data = bmm.load_dataset("immune")
    return data.assign(FamID=data["FamID"].astype(int), IndID=data["IndID"].astype(int))


def test_two_names_of_the_same_groups_are_said():
    data = grid()
    data["again"] = data["g"].str.replace("g", "G")
    text = (
        "'g' and 'again' divide the rows into the same 6 groups, so the data give only the sum of their variances "
        "(Intercept); leave one out"
    )
    assert ("warning", text) in messages("y ~ x + (1 | g) + (1 | again)", data)
    assert not any("same 6 groups" in said for said in texts("y ~ x + (1 | g) + (0 + x | again)", data))
    data.loc[0, "again"] = "G5"
    assert not any("same 6 groups" in said for said in texts("y ~ x + (1 | g) + (1 | again)", data))


def test_a_count_has_no_residual_to_tell_an_effect_of_each_row_from():
    data = grid().assign(row=lambda d: np.arange(len(d)), k=lambda d: np.arange(len(d)) % 5)
    said = [m.text for m in bmm.Model("k ~ x + (1 | row)", data, family="poisson").design.messages]
    assert not any("residual" in text for text in said)
    assert any("overdispersion" in text for text in said)


# the documents' own examples ------------------------------------------------------------------------------------------


def test_a_family_code_as_a_number_is_said(immune):
    text = (
        "'FamID' has 8 whole numbers and enters as a number with one slope, though its name says that they are codes; "
        "as groups write factor(FamID) or (1 | FamID)"
    )
    first = immune[immune["Time"] == 0]
    assert messages("IgG ~ Sex + FamID", first) == [("warning", text)]
    assert messages("IgG ~ Sex + factor(FamID)", first) == []
    assert messages("IgG ~ Sex + (1 | FamID)", first) == []


def test_many_codes_are_a_grouping_factor(immune):
    said = texts("IgG ~ FamID * Time + IndID * Time", immune)
    assert len(said) == 2
    assert said[1].startswith("'IndID' has 135 whole numbers") and said[1].endswith("as groups write (1 | IndID)")


def test_one_id_for_two_persons_is_said(immune):
    text = (
        "'Sex' varies within 135 of the 135 levels of 'IndID', so that one id seems to stand for several subjects; if "
        "it does, write (1 | Sex:IndID)"
    )
    both = "IgG ~ Sex * Time + (1 + Time | FamID) + (1 + Time | {})"
    assert messages(both.format("IndID"), immune) == [("warning", text)]
    assert messages(both.format("Sex:IndID"), immune) == []
    assert messages("IgG ~ Sex + (1 | IndID)", immune[immune["Time"] == 0]) == [("warning", text)]


def test_ids_that_start_again_in_each_family_are_said():
    # the coding caution: 1, 2, 3 in the first family and 1, 2, 3, 4 in the second are seven individuals
    data = pd.DataFrame({"Family": [1, 1, 1, 2, 2, 2, 2], "Individual": [1, 2, 3, 1, 2, 3, 4]})
    data = data.loc[data.index.repeat(4)].reset_index(drop=True).assign(y=np.random.default_rng(1).normal(size=28))
    text = (
        "the 4 levels of 'Individual' start again in each of the 2 levels of 'Family' and are taken as the same 4 "
        "throughout (crossed); if they are 7 different ones, write (1 | Family/Individual)"
    )
    crossed = "y ~ 1 + (1 | Family) + (1 | Individual)"
    assert ("warning", text) in messages(crossed, data)
    assert not [said for said in texts("y ~ 1 + (1 | Family/Individual)", data) if "(crossed)" in said]
    unique = data.assign(Individual=data["Individual"] + 3 * (data["Family"] == 2))
    assert not [said for said in texts(crossed, unique) if "(crossed)" in said]


@pytest.mark.parametrize(
    ("name", "outer", "inner", "times", "different"),
    [("schoolclass", "School", "Class", (12, 4), 35), ("pastes", "batch", "cask", (10, 3), 30)],
)
def test_classes_and_casks_that_start_again_are_said(name, outer, inner, times, different):
    data, response = frame(name), {"schoolclass": "Grade", "pastes": "strength"}[name]
    found = [said for said in texts(f"{response} ~ 1 + (1 | {inner}) + (1 | {outer})", data) if "(crossed)" in said]
    some = f"the {times[1]} levels of '{inner}' start again in each of the {times[0]} levels of '{outer}' and are taken"
    every = f"every level of '{outer}' has all {times[1]} levels of '{inner}', which are taken"
    whole = different == times[0] * times[1]
    assert found == [
        f"{every if whole else some} as the same {times[1]} throughout (crossed); if they are {different} different "
        f"ones, write (1 | {outer}/{inner})"
    ]
    assert texts(f"{response} ~ 1 + (1 | {outer}/{inner})", data) == []


def test_a_genotype_does_not_vary_within_a_patient():
    text = (
        "'Genotype[T.B]' does not vary within any level of 'Patient', so the data cannot tell its random slope from "
        "the random intercept; write (1 | Patient)"
    )
    data = frame("thyroxine_genotype")
    assert messages("Level ~ Genotype + (Genotype | Patient)", data) == [("warning", text)]
    assert messages("Level ~ Genotype + (0 + Genotype | Patient)", data) == []
    assert messages("Level ~ Genotype + (1 | Patient)", data) == []


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("sleepstudy", "Reaction ~ Days + (Days | Subject)"),
        ("sleepstudy", "Reaction ~ Days + (Days || Subject)"),
        ("sleepstudy", "Reaction ~ Days + (0 + Days | Subject)"),
        ("thyroxine", "Level ~ 1 + (1 | Patient)"),
        ("glucose", "Glucose ~ Time + (Time - 1 | Patient)"),
        ("crop_yield", "Yield ~ N * P + (1 | Block)"),
        ("schoolclass", "Grade ~ Hours + (Hours | School) + (1 | School:Class)"),
        ("pastes", "strength ~ 1 + (1 | sample)"),
        ("pastes", "strength ~ 1 + (1 | batch) + (1 | sample)"),
    ],
)
def test_clean_data_are_passed_in_silence(name, formula):
    assert messages(formula, frame(name)) == []


# columns --------------------------------------------------------------------------------------------------------------


def test_a_grouping_factor_with_a_slope_of_its_own_is_said():
    data = grid().assign(w=np.tile(np.arange(8), 6))
    text = (
        "'w' has 8 whole numbers and enters as a number with one slope, though it is also a grouping factor; if its "
        "numbers are codes, leave it out of the other terms"
    )
    assert messages("y ~ x + w + (1 | w)", data) == [("warning", text)]


def test_numbers_that_are_no_codes_are_left_alone():
    n = 48
    data = grid().assign(
        day=np.arange(n) % 8, plot=np.arange(n), batch=np.arange(n) % 2, region_id=np.arange(n) % 5 + 0.5
    )
    for name in ("day", "plot", "batch", "region_id"):  # a time, no repeats, an indicator, no whole numbers
        assert messages(f"y ~ {name} + (1 | g)", data) == [], name
    assert texts("y ~ plot + (1 | g)", data.assign(plot=np.arange(n) % 8 + 0.0)) != []  # whole, as 3.0 is


def test_names_are_read_as_words():
    assert words_of("FamID") == ["fam", "id"]
    assert words_of("school_code 2") == ["school", "code"]
    coded = ("id", "FamID", "famid", "plot", "Plot", "SchoolCode", "patient_id", "subjectid")
    assert [name for name in coded if not named_as_code(name)] == []
    plain = ("Days", "acid", "humid", "grid", "family_size", "class_mean", "dose", "age", "year", "", "12")
    assert [name for name in plain if named_as_code(name)] == []


def test_levels_that_differ_by_blanks_or_capitals_are_said():  # D15
    data = grid()
    data.loc[[1, 9], "g"] = ["g0 ", "G1"]
    text = (
        "4 of the 8 levels of 'g' differ only by blanks or capitals ('G1' and 'g1', 'g0' and 'g0 '); if they are the "
        "same, use data['g'].str.strip().str.lower()"
    )
    assert [message for message in messages("y ~ x + (1 | g)", data) if "differ" in message[1]] == [("warning", text)]
    # two letters may be a genotype: there capitals count
    genotypes = grid(groups=8).assign(
        g=lambda d: d["g"].map(dict(zip([f"g{i}" for i in range(8)], "AA Aa aa AB aB Ab BB BB".split(), strict=True)))
    )
    assert not [text for text in texts("y ~ x + (1 | g)", genotypes) if "differ" in text]
    genotypes.loc[1, "g"] = "AA "
    text = (
        "2 of the 8 levels of 'g' differ only by blanks or capitals ('AA' and 'AA '); if they are the same, use "
        "data['g'].str.strip()"
    )
    assert [said for said in texts("y ~ x + (1 | g)", genotypes) if "differ" in said] == [text]
    fixed = grid().assign(f=np.tile(["low", "Low", "high", "high"], 12))
    assert "'Low' and 'low'" in texts("y ~ f + (1 | g)", fixed)[0]


# pairs of factors -----------------------------------------------------------------------------------------------------


def crossing(rows_each):
    cells = pd.MultiIndex.from_product([range(1, 13), range(1, 5), range(rows_each)], names=["subject", "item", "k"])
    data = cells.to_frame(index=False)
    return data.assign(y=np.random.default_rng(2).normal(size=len(data)))


def test_items_are_expected_to_recur_and_only_noted():
    data = crossing(1)
    (level, text), *_ = [m for m in messages("y ~ 1 + (1 | subject) + (1 | item)", data) if "(crossed)" in m[1]]
    assert level == "note" and text == (
        "every level of 'subject' has all 4 levels of 'item', which are taken as the same 4 throughout (crossed); if "
        "they are 48 different ones, write (1 | subject/item)"
    )
    data = data.rename(columns={"item": "pup"})  # D05
    (level, text), *_ = [m for m in messages("y ~ 1 + (1 | subject) + (1 | pup)", data) if "(crossed)" in m[1]]
    assert level == "warning" and text.endswith("write (1 | subject/pup)")


def test_ids_that_are_names_or_are_joined_already_are_left_alone():
    data = crossing(2)
    words = data.assign(item=data["item"].map({1: "apple", 2: "pear", 3: "plum", 4: "fig"}))
    assert not [m for m in texts("y ~ 1 + (1 | subject) + (1 | item)", words) if "(crossed)" in m]
    joined = "y ~ 1 + (1 | subject) + (1 | item) + (1 | subject:item)"
    assert not [m for m in texts(joined, data) if "(crossed)" in m]


def test_a_family_may_have_both_sexes():
    data = grid().assign(sex=np.tile(["F", "M"], 24), t=np.tile([0, 0, 1, 1, 2, 2, 3, 3], 6))
    assert "one id seems" in texts("y ~ sex + t + (1 | g)", data)[0]
    assert messages("y ~ sex + t + (1 | couple)", data.rename(columns={"g": "couple"})) == []
    assert messages("y ~ arm + t + (1 | g)", data.rename(columns={"sex": "arm"})) == []  # a treatment may vary
    more = pd.concat([data, data.assign(y=data["y"] + 1)], ignore_index=True)  # several rows for each sex and time
    assert messages("y ~ sex + t + (1 | g)", more) == []


# random effects -------------------------------------------------------------------------------------------------------


def test_a_slope_of_what_does_not_vary_is_said():  # D08
    text = (
        "'between' does not vary within any level of 'g', so the data cannot tell its random slope from the random "
        "intercept; "
    )
    assert messages("y ~ between + (between | g)", grid()) == [("warning", text + "write (1 | g)")]
    assert messages("y ~ between + x + (x + between | g)", grid()) == [("warning", text + "leave it out")]


def test_a_slope_of_what_varies_in_some_levels_is_noted():  # D09
    data = grid()
    data.loc[data["g"].isin(["g0", "g1", "g2"]), "x"] = 1.0
    text = "'x' varies within 3 of the 6 levels of 'g', and only these tell of its random slope"
    assert messages("y ~ x + (x | g)", data) == [("note", text)]
    data.loc[data["g"] == "g0", "x"] = np.arange(8)
    assert messages("y ~ x + (x | g)", data) == []


def test_levels_of_one_row_do_not_count_against_a_slope():
    lone = pd.DataFrame({"g": [f"h{i}" for i in range(6)], "x": 0.5, "between": 0.0, "y": [39.0, 40, 41, 40, 42, 38]})
    assert messages("y ~ x + (x | g)", pd.concat([grid(), lone], ignore_index=True)) == []


def test_a_slope_without_its_fixed_effect_is_noted():  # D13
    text = (
        "the mean of the random slope of x in (x | g) is held at 0, because the fixed part does not have it; usually "
        "it does: ~ x + (x | g)"
    )
    assert messages("y ~ 1 + (x | g)", grid()) == [("note", text)]
    assert messages("y ~ 1 + (0 + x | g)", grid()) == [("note", text.replace("(x | g)", "(0 + x | g)"))]
    assert messages("y ~ poly(x, 2) + (x | g)", grid()) == []
    split = grid().assign(f=np.tile(["u", "v"], 24))
    assert messages("y ~ 1 + (0 + f | g)", split) == []  # an intercept for each level of f, not a slope
    assert messages("y ~ f / x + (x | g)", split) == []  # a slope in each level of f, the model of f * x


def test_a_factor_in_both_places_is_said():  # D12
    text = (
        "'g' is both a fixed factor and a grouping factor, so that nothing is left for its random intercepts to "
        "explain; keep it in one of the two places"
    )
    assert messages("y ~ x + g + (1 | g)", grid()) == [("warning", text)]
    assert messages("y ~ x + g + (0 + x | g)", grid()) == []


def test_a_level_with_most_of_the_rows_is_noted():  # D19
    data = grid(groups=6, rows=4)
    data = pd.concat([data, data[data["g"] == "g2"].sample(40, replace=True, random_state=1)], ignore_index=True)
    text = (
        "level 'g2' of 'g' has 44 of the 64 rows, and the other 5 levels have 4 in the median; the fixed effects rest "
        "mostly on that level, the standard deviations on the others"
    )
    assert messages("y ~ x + (1 | g)", data) == [("note", text)]


# all together ---------------------------------------------------------------------------------------------------------


def test_a_model_shows_each_message_once():
    data = frame("thyroxine_genotype")
    shown = repr(bmm.Model("Level ~ Genotype + (Genotype | Patient)", data))
    assert " ".join(shown.split()).count("does not vary within any level of 'Patient'") == 1


@pytest.fixture
def without_collector():
    """Without Python's garbage collector, which takes a second where a process holds what many tests have left."""
    gc.disable()
    yield
    gc.enable()


def test_a_million_rows_take_no_longer_than_the_design_itself(without_collector):
    rng = np.random.default_rng(0)
    n, data = 1_000_000, {}
    data["person"], data["item"] = rng.integers(0, 50_000, n), rng.integers(1, 30, n)
    data["sex"], data["batch"] = np.where(rng.random(n) < 0.5, "F", "M"), rng.integers(0, 12, n)
    data["x"], data["y"] = rng.normal(size=n), rng.normal(size=n)
    formula = parse("y ~ sex + batch + x + (x | person) + (1 | item)")
    table = pd.DataFrame(data).astype({"sex": "category"})
    began = time.process_time()
    found = read(formula, table, weights=None, trials=None, missing="drop")
    scope = Scope(found.variables, found.rows, {})
    values = {expr: evaluate(expr, scope) for expr in variables_of(formula)}
    blocks, *_ = make_blocks(formula, values, scope, get_family("gaussian"), Residuals(), {})
    designed = time.process_time()
    said = data_lints(formula, values, blocks, scope.variables)
    # a third of it was seen; what looks at rows one by one in Python takes ten times as long
    assert time.process_time() - designed < 2 * (designed - began)
    assert [message.text[:7] for message in said] == ["'batch'"]


# ----------------------------------------------------------------------------------------------------------------------
# origins of slopes that are uncorrelated, whole numbers beyond the doubles


def test_a_slope_that_is_uncorrelated_far_from_the_data_is_noted():
    import bayesmm as bmm

    data = bmm.load_dataset("sleepstudy")

    def notes(formula, shift):
        return [m.text for m in bmm.Model(formula, data.assign(x=data["Days"] + shift)).design.messages]

    (said,) = notes("Reaction ~ x + (x || Subject)", 2000)  # mean 2004.5, sd 2.87
    assert said.startswith("the random intercept and the slope of 'x' in 'Subject' are uncorrelated at x = 0, which is")
    assert "take one that means something, such as center(x), or let them correlate" in said
    assert notes("Reaction ~ x + (x || Subject)", 0) == []  # 4.5 is 1.6 sds from 0
    assert notes("Reaction ~ x + (x | Subject)", 2000) == []


def test_whole_numbers_beyond_the_doubles_are_refused_where_rounding_takes_their_differences():
    import numpy as np
    import pandas as pd
    import pytest

    import bayesmm as bmm

    rng = np.random.default_rng(0)
    data = pd.DataFrame({"y": rng.normal(size=40), "g": np.arange(40) % 8, "k": np.arange(40, dtype=np.int64)})
    with pytest.raises(bmm.DataError, match="as floating-point numbers are known to the nearest 1,024, too coarse"):
        bmm.Model("y ~ k + (1 | g)", data.assign(k=data["k"] + 2**62))
    coarse = bmm.Model("y ~ k + (1 | g)", data.assign(k=data["k"] * 2**40 + 2**62)).maximize()
    plain = bmm.Model("y ~ k + (1 | g)", data).maximize()
    assert coarse.fixef().t["k"] == pytest.approx(plain.fixef().t["k"], rel=1e-6)


def test_a_few_whole_numbers_enter_as_a_line_with_a_note():
    cbpp = frame("cbpp").astype({"period": int})
    text = (
        "'period' has the whole numbers 1 to 4 and enters as a line, with one slope; for a mean of each write C(period)"
    )
    formula = "incidence | trials(size) ~ {} + (1 | herd)"
    for term, expected in (("period", 1), ("C(period)", 0), ("I(period > 1)", 0)):
        said = make_design(parse(formula.format(term)), cbpp, family=get_family("binomial")).messages
        assert [m.level for m in said if m.text == text] == ["note"] * expected
    data = grid(rows=10)
    for name, values in {
        "two": [0, 1],
        "Days": range(10),
        "gaps": [0, 2, 4],
        "visit": range(4),
        "from_two": [2, 3, 4],
    }.items():
        column = np.resize(list(values), len(data))
        assert not any(
            "enters as a line" in said for said in texts(f"y ~ {name} + (1 | g)", data.assign(**{name: column}))
        )


def test_a_level_of_one_row_is_named_where_the_others_have_several():
    data = grid(rows=12).assign(cond=["a", "b"] * 36)
    assert not any("one row" in said for said in texts("y ~ cond + (1 | g)", data))
    data.loc[7, "cond"] = "rare"
    text = "the level 'rare' of 'cond' has one row: its coefficient rests on that row and on the prior"
    assert ("note", text) in messages("y ~ cond + (1 | g)", data)
    data.loc[9, "cond"] = "odd"
    text = (
        "the levels 'odd', 'rare' of 'cond' have one row each: their coefficients rest on these rows and on the prior"
    )
    assert ("note", text) in messages("y ~ cond + (1 | g)", data)
