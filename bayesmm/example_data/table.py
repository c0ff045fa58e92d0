"""DATASETS: one row per data set. Plain data; PROVENANCE.md beside it tells each one's story."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Dataset:
    """What is known about a data set before it is read.

    Attributes
    ----------
    name : str
        The name `load_dataset` takes; a bundled one is the file ``<name>.csv`` in this folder.
    rows : int
        Number of rows.
    columns : tuple of str
        Its columns, in the file's order.
    factors : tuple of str
        The columns that are labels, whatever they look like; the others are numbers.
    description : str
        One line.
    source : str
        Where it comes from.
    licence : str
        Its terms, as far as they are known.
    address, sha256 : str
        Where to fetch it, and the checksum that the file must have; empty for a bundled one.
    """

    name: str
    rows: int
    columns: tuple[str, ...]
    factors: tuple[str, ...]
    description: str
    source: str
    licence: str
    address: str = ""
    sha256: str = ""


_ROWS = (
    Dataset(
        "sleepstudy",
        180,
        ("Reaction", "Days", "Subject"),
        ("Subject",),
        "Reaction time (ms) of 18 people on ten days of restricted sleep",
        "lme4::sleepstudy; Belenky et al. 2003, J Sleep Res 12:1-12",
        "GPL (>= 2), from lme4",
    ),
    Dataset(
        "pastes",
        60,
        ("strength", "batch", "cask", "sample"),
        ("batch", "cask", "sample"),
        "Strength of a paste: 10 batches, 3 casks in each, 2 assays of each cask",
        "lme4::Pastes; Davies & Goldsmith 1972",
        "GPL (>= 2), from lme4",
    ),
    Dataset(
        "esoph",
        88,
        ("agegp", "alcgp", "tobgp", "ncases", "ncontrols"),
        ("agegp", "alcgp", "tobgp"),
        "Oesophageal cancer by age, alcohol and tobacco (the table of R < 4.0.4: ncontrols is the group's total)",
        "R datasets::esoph before 4.0.4; Breslow & Day 1980",
        "GPL-2 | GPL-3, from R",
    ),
    Dataset(
        "thyroxine",
        18,
        ("Level", "Patient"),
        ("Patient",),
        "Thyroxine of 6 patients, 3 measurements each (rows 7-18 recovered from printed results)",
        "Teaching notes of N. Romano, Univ. Edinburgh",
        "none stated",
    ),
    Dataset(
        "thyroxine_genotype",
        36,
        ("Level", "Patient", "Genotype"),
        ("Patient", "Genotype"),
        "Thyroxine of 12 patients of two genotypes, 3 measurements each (patients 7-12 reconstructed)",
        "Teaching notes of N. Romano, Univ. Edinburgh",
        "none stated",
    ),
    Dataset(
        "crop_yield",
        30,
        ("Yield", "N", "P", "Block"),
        ("Block",),
        "Yield by nitrogen and phosphorus in 5 blocks (made to match printed results)",
        "Constructed for this package",
        "MIT",
    ),
    Dataset(
        "immune",
        4860,
        ("FamID", "IndID", "Time", "Sex", "IgG"),
        ("FamID", "IndID", "Sex"),
        "IgG of 270 people in 8 families over 18 months: a synthetic twin of immune_original",
        "Constructed for this package",
        "MIT",
    ),
    Dataset(
        "bcg",
        13,
        ("trial", "yi", "vi", "ablat", "year", "alloc"),
        ("trial", "alloc"),
        "BCG vaccine against tuberculosis: log risk ratios of 13 trials with their sampling variances",
        "metadat::dat.bcg (metafor's escalc); Colditz et al. 1994, JAMA 271:698-702",
        "GPL (>= 2), from metadat",
    ),
    Dataset(
        "orthodont",
        108,
        ("distance", "age", "Subject", "Sex"),
        ("Subject", "Sex"),
        "Distance (mm) in the jaws of 27 children at 8, 10, 12 and 14 years",
        "nlme::Orthodont; Potthoff & Roy 1964, Biometrika 51:313-326",
        "GPL (>= 2), from nlme",
    ),
    Dataset(
        "ovary",
        308,
        ("Mare", "Time", "follicles", "s1", "c1", "obs"),
        ("Mare",),
        "Follicles of 11 mares, day by day; s1 and c1 are sine and cosine of 2 pi Time",
        "nlme::Ovary; Pierson & Ginther 1987, Anim Reprod Sci 14:219-231",
        "GPL (>= 2), from nlme",
    ),
    Dataset(
        "mcycle",
        133,
        ("times", "accel"),
        (),
        "Acceleration (g) of a head after a simulated motorcycle's impact, by time (ms)",
        "MASS::mcycle; Silverman 1985, J R Stat Soc B 47:1-52",
        "GPL-2 | GPL-3, from MASS",
    ),
    Dataset(
        "gcse",
        768,
        ("school", "gender", "written", "course"),
        ("school", "gender"),
        "Written paper and coursework of pupils in 28 schools; one mark of some is missing",
        "mlmRev::Gcsemv; Goldstein 2003, Multilevel Statistical Models",
        "GPL (>= 2), from mlmRev",
    ),
    Dataset(
        "immune_original",
        4860,
        ("FamID", "IndID", "Time", "Sex", "IgG"),
        ("FamID", "IndID", "Sex"),
        "IgG of 270 people in 8 families over 18 months: fetched at first use, not part of the package",
        "R. Colautti's course data, https://colauttilab.github.io/Data/ImmuneData.csv",
        "none stated",
        "https://colauttilab.github.io/Data/ImmuneData.csv",
        "d65b0b35cf8a8dfa3fa6e8dfe2493e36abadded124032620e1701859c3699255",
    ),
)

DATASETS: Mapping[str, Dataset] = MappingProxyType({row.name: row for row in _ROWS})
