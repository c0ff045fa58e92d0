"""Pedigrees, and models of many animals by the sparse inverse of their relationship matrix, against dense formulas."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.sparse.linalg import splu

import bayesmm as bmm
from bayesmm.design import relations
from bayesmm.design.matrices import read_matrices
from bayesmm.design.pedigrees import NOBODY, Pedigree
from bayesmm.design.related_levels import given_relatives
from bayesmm.errors import DataError
from bayesmm.likelihood.marginal import searched_likelihood
from bayesmm.likelihood.posterior import Parameters
from bayesmm.likelihood.problem import integrate
from bayesmm.posterior.residuals import residuals_of_new_groups
from bayesmm.priors import prior_design

FORMULAS = {
    "alone": ("y ~ x + (1 | gr(animal, cov = A))", {}),
    "weights": ("y ~ x + (1 | gr(animal, cov = A))", {"weights": "w"}),
    "beside another": ("y ~ x + (1 | gr(animal, cov = A)) + (x | h)", {}),
    "beside its own levels": ("y ~ x + (1 | gr(animal, cov = A)) + (1 | animal2)", {}),
    "slopes": ("y ~ x + (0 + x | gr(animal, cov = A)) + (1 | h)", {"weights": "w"}),
}


def pedigree(seed: int, m: int, span: int = 9) -> Pedigree:
    """Return a pedigree with founders, half-known parents, inbreeding and selfing: parents are among the last few."""
    rng, parents = np.random.default_rng(seed), np.full((m, 2), NOBODY)
    for i in range(2, m):
        parents[i] = rng.integers(max(-1, i - span), i, 2)
    return Pedigree(*np.where(parents < 0, NOBODY, parents).T)


def table(own: Pedigree) -> pd.DataFrame:
    names = np.array([*(f"a{i}" for i in range(own.m)), None], dtype=object)
    return pd.DataFrame({"id": names[:-1], "sire": names[own.sire], "dam": names[own.dam]})


def data(seed=1, m=30, n=45, span=9):
    """Return rows of two thirds of the animals, and the table of the pedigree, not in order."""
    own, rng = pedigree(seed, m, span), np.random.default_rng(seed)
    b = own.drawn(rng.normal(size=(m, 1)))[:, 0]
    seen = rng.permutation(m)[: 2 * m // 3]
    of_row = np.concatenate([seen, rng.choice(seen, n - len(seen))])
    frame = pd.DataFrame({"x": rng.normal(size=n), "w": rng.uniform(0.5, 2, n), "h": rng.integers(0, 4, n)})
    frame["y"] = frame["x"] + b[of_row] + rng.normal(size=n)
    frame["animal"] = [f"a{i}" for i in of_row]
    return frame.assign(animal2=frame["animal"]), table(own).sample(frac=1, random_state=seed)


def model_of(name, frame, A, **more):
    formula, options = FORMULAS[name]
    return bmm.Model(formula, frame, matrices={"A": A}, **options, **more)


@pytest.fixture
def sparse(monkeypatch):
    """Make every pedigree one of many animals, whose matrix is not to be made."""
    monkeypatch.setattr(relations, "MOST_DENSE", 0)


# ----------------------------------------------------------------------------------------------------------------------
# pedigrees


@given(seed=st.integers(0, 10_000), m=st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_the_sparse_inverse_diagonal_and_draws_are_those_of_the_tabular_method(seed, m):
    own = pedigree(seed, m)
    A = own.relationship()
    np.testing.assert_allclose(own.precision() @ A, np.eye(m), atol=1e-9)
    np.testing.assert_allclose(own.variances, np.diag(A), rtol=1e-13)
    root = own.drawn(np.eye(m))
    np.testing.assert_allclose(root @ root.T, A, rtol=1e-12, atol=1e-12)
    some = np.random.default_rng(seed).permutation(m)[: m // 2 + 1]
    closed = own.closed(some)
    np.testing.assert_allclose(own.taken(closed).relationship(), A[np.ix_(closed, closed)])
    assert set(some) <= set(closed)


def test_a_selfed_animal_and_one_with_half_known_parents():
    own = Pedigree(np.array([-1, 0, 1, -1]), np.array([-1, 0, -1, 2]))
    np.testing.assert_allclose(own.variances, [1, 1.5, 1, 1])
    np.testing.assert_allclose(own.own, [1, 0.5, 1 - 1.5 / 4, 0.75])


def test_effects_of_relatives_given_others_are_those_of_the_dense_matrix():
    frame, A = data(3)
    model = model_of("alone", frame, A)
    matrix, block = model.design.spec.matrices["A"], model.design.blocks[0]
    new = [label for label in matrix.labels if label not in block.levels]
    W, root = given_relatives(block.relation, matrix, block.levels, new)
    place = [matrix.labels.index(label) for label in (*block.levels, *new)]
    K, G = matrix.values[np.ix_(place, place)], len(block.levels)
    np.testing.assert_allclose(W, np.linalg.solve(K[:G, :G], K[:G, G:]).T, atol=1e-10)
    np.testing.assert_allclose(root @ root.T, K[G:, G:] - W @ K[:G, G:], atol=1e-10)


def test_animals_that_are_copies_of_each_other_are_named():
    own = Pedigree(*np.array([[NOBODY] * 2, *([i, i] for i in range(40))]).T)  # 40 generations of selfing
    frame = pd.DataFrame({"y": np.arange(6.0) % 4, "x": np.arange(6) % 3, "animal": ["a38", "a39", "a40"] * 2})
    with pytest.raises(DataError, match="the parents of 'a30' are inbred to 1, so that all their offspring"):
        model_of("alone", frame, table(own))


def test_a_new_animal_that_is_a_copy_of_its_parent_has_its_effect():
    own = Pedigree(*np.array([[NOBODY] * 2, *([i, i] for i in range(60))]).T)  # at the end d is 0 to rounding
    frame = pd.DataFrame({"y": np.arange(6.0) % 4, "x": np.arange(6) % 3, "animal": ["a18", "a19", "a20"] * 2})
    design = model_of("alone", frame, table(own)).design
    block, matrix = design.blocks[0], design.spec.matrices["A"]
    W, root = given_relatives(block.relation, matrix, block.levels, ["a60"])
    np.testing.assert_allclose(W, [[0, 0, 1]], atol=1e-4)  # a20 is the last; the covariances are 2^-20 from theirs
    assert np.abs(root).max() < 2e-3


def test_an_id_that_stands_twice_is_named():
    A = data()[1]
    with pytest.raises(DataError, match="has the id 'a3' twice"):
        read_matrices({"A": pd.concat([A, A[A["id"] == "a3"]])}, ["A"])


# ----------------------------------------------------------------------------------------------------------------------
# the likelihood


def dense(model, L, sigma):
    """Return log p(y | L, sigma), the coefficients integrated out, by SciPy; L is a factor for each block."""
    design, priors = model.design, model.priors
    own, places = prior_design(design, priors), ("Intercept_centred", "beta[x]")
    V = own.X @ np.diag([priors[place].parameters["sigma"] ** 2 for place in places]) @ own.X.T
    V += np.diag(sigma**2 / (np.ones(design.n) if design.weights is None else design.weights))
    for block, factor in zip(own.blocks, L, strict=True):
        K = np.eye(len(block.levels)) if block.relation is None else block.relation.K
        V += K[block.index][:, block.index] * (block.Z @ factor @ factor.T @ block.Z.T)
    return stats.multivariate_normal.logpdf(design.y, own.X @ [priors[p].parameters["mu"] for p in places], V)


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("size", [0.0, 0.1, 1.0, 20.0])
def test_value_and_gradient_are_those_of_the_normal_density(sparse, name, size):
    for seed in range(4):
        model = model_of(name, *data(seed, 6 + 4 * seed, 30))
        assert relations.is_sparse(model.design)
        rng, sigma = np.random.default_rng(seed), 0.4 + 0.6 * seed
        L = [size * np.tril(rng.uniform(0.2, 1, (q, q))) for q in (len(b.columns) for b in model.design.blocks)]
        likelihood = searched_likelihood(integrate(model.design, model.priors))

        def at(L, sigma=sigma, own=likelihood):
            return own(Parameters(np.concatenate([x.ravel() for x in L]), np.array([sigma]), np.zeros(0)))

        value, slopes = at(L)
        assert value == pytest.approx(dense(model, L, sigma), abs=1e-9 * max(1, abs(value)))
        flat, step = np.concatenate([own.ravel() for own in L]), 1e-4 * max(size, 1.0)
        free = np.flatnonzero(np.concatenate([np.tril(np.ones_like(own)).ravel() for own in L]))

        def unpacked(x, L=L):
            ends = np.cumsum([own.size for own in L])
            return [part.reshape(own.shape) for part, own in zip(np.split(x, ends[:-1]), L, strict=True)]

        for i in free:  # central differences, whose error is the square of the step
            e = step * (np.arange(len(flat)) == i)
            found = (dense(model, unpacked(flat + e), sigma) - dense(model, unpacked(flat - e), sigma)) / (2 * step)
            assert slopes.L[i] == pytest.approx(found, rel=2e-5, abs=2e-5)
        found = (dense(model, L, sigma + 1e-5) - dense(model, L, sigma - 1e-5)) / 2e-5
        assert slopes.positive[0] == pytest.approx(found, rel=1e-5, abs=1e-5)


# ----------------------------------------------------------------------------------------------------------------------
# what it serves


@pytest.mark.parametrize("method", ["REML", "ML", "MAP"])
@pytest.mark.parametrize("name", FORMULAS)
def test_fits_are_those_of_turned_levels(monkeypatch, name, method):
    model = model_of(name, *data(2))
    one = model.maximize(method)
    monkeypatch.setattr(relations, "MOST_TURNED", 0)
    two = model.maximize(method)
    assert two.converged and two.singular == one.singular
    assert two.criterion == pytest.approx(one.criterion, abs=1e-8)
    spread = one.sigma + sum(np.sqrt(S[0, 0]) for S in one.covariances)
    for a, b in zip(one.covariances, two.covariances, strict=True):  # flat near 0: as exact as the optimum is
        np.testing.assert_allclose(b, a, atol=1e-4 * spread**2)
    np.testing.assert_allclose(two.beta, one.beta, atol=1e-5)
    np.testing.assert_allclose(two.beta_cov, one.beta_cov, rtol=1e-3)
    np.testing.assert_allclose(two.ranef()["condval"], one.ranef()["condval"], atol=2e-3 * spread)
    np.testing.assert_allclose(two.ranef()["condsd"], one.ranef()["condsd"], atol=2e-3 * spread)
    np.testing.assert_allclose(two.predict(se=True)["se"], one.predict(se=True)["se"], rtol=2e-3)


def test_draws_of_effects_have_their_normal_distribution(sparse):
    frame, A = data(4)
    held = {"sd_animal": bmm.Prior("Fixed", value=0.9), "sigma": bmm.Prior("Fixed", value=1.1)}
    model = model_of("alone", frame, A, priors=held)
    fit = model.sample(1500, sampler="importance", chains=2, seed=1, progress=False)
    block, own = model.design.blocks[0], prior_design(model.design, model.priors)
    Z = np.eye(len(block.levels))[block.index]
    prior_sd = [model.priors[place].parameters["sigma"] for place in ("Intercept_centred", "beta[x]")]
    mean = [model.priors[place].parameters["mu"] for place in ("Intercept_centred", "beta[x]")]
    V = own.X @ np.diag(np.square(prior_sd)) @ own.X.T + 1.1**2 * np.eye(len(frame))
    K = 0.9**2 * block.relation.K
    gain = np.linalg.solve(V + Z @ K @ Z.T, Z @ K).T
    mean, cov = gain @ (frame["y"] - own.X @ mean), K - gain @ Z @ K
    draws = fit.tree["posterior"]["b_animal"].to_numpy().reshape(-1, len(block.levels))
    error = np.sqrt(np.diag(cov) / len(draws))
    assert (np.abs(draws.mean(axis=0) - mean) < 5 * error).all()  # independent draws: their ESS is their number
    errors = np.sqrt((np.outer(np.diag(cov), np.diag(cov)) + cov**2) / len(draws))
    assert (np.abs(np.cov(draws.T) - cov) < 5 * errors).all()


def test_a_fit_of_many_animals_does_what_others_do(sparse, tmp_path):
    frame, A = data(5, 40, 90)
    model = model_of("beside another", frame, A)
    fit = model.sample(300, 300, chains=2, seed=1, progress=False, cores=1)
    fit.save(tmp_path / "fit.nc")
    again = bmm.load(tmp_path / "fit.nc")
    assert isinstance(again.design.spec.matrices["A"].given, Pedigree)
    assert again.design.blocks[0].relation.is_that_of(model.design.blocks[0].relation)
    new = pd.DataFrame(
        {"x": [0.0, 1.0], "h": [0, 1], "animal": [next(a for a in A["id"] if a not in set(frame.animal))] * 2}
    )
    assert np.isfinite(again.predict(new, new_levels="sample", seed=1).draws).all()
    assert len(fit.compare().table)
    assert np.isfinite(fit.loo().elpd)
    assert np.isfinite(fit.evidence(seed=1).log_evidence)
    assert np.isfinite(residuals_of_new_groups(fit, seed=1)).all()
    assert np.isfinite(model.simulate(model.maximize(), draws=3, seed=1).to_numpy()).all()
    nested = bmm.lrt(model.maximize("ML"), bmm.Model("y ~ x + (x | h)", frame).maximize("ML"))
    assert nested.table["Chisq"].iloc[1] > 0


def test_what_needs_all_pairs_of_animals_says_so(sparse):
    model = model_of("alone", *data())
    with pytest.raises(DataError, match="needs the covariances of all pairs of 20 related levels"):
        model.sample(10, effects="explicit", progress=False)
    with pytest.raises(DataError, match="a PyMC graph has no sparse matrices"):
        model.sample(10, sampler="pymc", progress=False)


def test_thousands_of_animals_have_the_criterion_of_the_mixed_model_equations():
    """Henderson's equations by SuperLU at the estimates: log|V| = log|R| + log|G| + log|C|, y'Py by their solution."""
    frame, A = data(6, 4500, 5000, 400)
    model = model_of("alone", frame, A)
    assert relations.is_sparse(model.design)
    point = model.maximize()
    matrix, m = model.design.spec.matrices["A"], len(A)
    place = {label: i for i, label in enumerate(matrix.labels)}
    Z = np.array([place[label] for label in frame["animal"]])
    X, y = np.column_stack([np.ones(len(frame)), frame["x"]]), frame["y"].to_numpy()
    s2, sigma2 = point.covariances[0][0, 0], point.sigma**2
    from scipy.sparse import coo_array

    P = matrix.given.precision()
    of_Z = coo_array((np.ones(len(Z)), (np.arange(len(Z)), Z)), shape=(len(Z), m)).tocsc()
    lu = splu((of_Z.T @ of_Z / sigma2 + P / s2).tocsc())
    logdet = np.log(np.abs(lu.U.diagonal())).sum() + m * np.log(s2) + np.log(matrix.given.own).sum()
    logdet += len(y) * np.log(sigma2)

    def inverse(v):  # V^-1 v, by Woodbury
        return v / sigma2 - of_Z @ lu.solve(of_Z.T @ v / sigma2) / sigma2

    information = X.T @ inverse(X)
    beta = np.linalg.solve(information, X.T @ inverse(y))
    r = y - X @ beta
    criterion = logdet + np.linalg.slogdet(information)[1] + r @ inverse(r) + (len(y) - 2) * np.log(2 * np.pi)
    assert point.converged
    assert point.criterion == pytest.approx(criterion, rel=1e-10)
    np.testing.assert_allclose(point.beta, beta, rtol=1e-8)
    b = lu.solve(of_Z.T @ r / sigma2)
    shown = point.ranef().set_index("grp")["condval"]
    np.testing.assert_allclose(shown.loc[list(matrix.labels[i] for i in np.unique(Z))], b[np.unique(Z)], atol=1e-7)
