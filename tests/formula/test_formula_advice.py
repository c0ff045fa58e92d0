"""Errors of formulas that depend on what else there is: other formulas, structures, known covariances."""

import numpy as np
import pandas as pd
import pytest

from bayesmm.design.covariance.structures import parse_formula
from bayesmm.errors import FormulaError
from bayesmm.families.families import get_family
from bayesmm.formula.formula import parse


@pytest.mark.parametrize(
    ("formulas", "place"),
    [
        (["y ~ x", "sigma ~ y"], "  sigma ~ y\n          ^"),
        (["y ~ x", "sigma ~ x * log(z) + y:x"], None),
        (["y ~ x", "sigma ~ x + (y | g)"], "  sigma ~ x + (y | g)\n               ^"),
        (["log(y) ~ x", "sigma ~ log(y)"], "  sigma ~ log(y)\n          ^^^^^^"),
        ("o ~ x + cs(o)", "  o ~ x + cs(o)\n             ^"),
    ],
)
def test_a_response_does_not_predict_its_parameters(formulas, place):
    """It predicted its own sd; `y ~ y` was refused anyway."""
    with pytest.raises(FormulaError, match="also stands on the right side; take it out there") as caught:
        parse_formula(formulas)
    assert place is None or str(caught.value).endswith(place)


def test_a_response_of_several_columns_may_share_one_with_sigma():
    assert parse_formula(["I(post - pre) ~ pre", "sigma ~ pre"]).scales[0].name == "sigma"


def test_a_structure_outside_of_its_bracket():
    with pytest.raises(FormulaError, match=r"a group term stands in brackets; write cs\(0 \+ f \| g\)"):
        parse_formula("y ~ cs(0 + f) | g")


def test_a_name_between_bars_says_where_it_stands():
    with pytest.raises(FormulaError, match=r"\(x \| p \| g\), correlates the effects of several predictors: of form"):
        parse("y ~ x + (1 | p | g)")
    assert parse_formula("c ~ x + (1 | p | g)", family=get_family("categorical")).bars


def test_a_semicolon_at_the_end_ends_nothing_more():
    assert parse("y ~ x;") == parse("y ~ x") and parse("y ~ x; sigma ~ f; ") == parse(["y ~ x", "sigma ~ f"])
    with pytest.raises(FormulaError, match="no meaning in a formula"):
        parse("y ~ x; z")


def test_what_was_found_is_quoted_once():
    with pytest.raises(FormulaError, match="found 'cc' where one of"):
        parse("y ~ s(x, bs = 'cc')")


def test_an_effect_beside_one_with_a_known_covariance():
    import bayesmm as bmm

    data = pd.DataFrame({"y": np.arange(8.0) % 3, "id": list("aabbccdd")})
    said = r"copy the column, as id2, and write \(1 \| id2\)"
    with pytest.raises(FormulaError, match=said):
        bmm.Model("y ~ 1 + (1 | gr(id, cov = A)) + (1 | id)", data, matrices={"A": np.eye(4)})
