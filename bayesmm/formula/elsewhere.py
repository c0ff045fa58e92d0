"""What newcomers from other packages try in a formula, and what to write here. Standard library only."""

LEVEL_ADVICE = "another reference level is written C(f, Treatment('level'))"

ELSEWHERE = {
    **dict.fromkeys(("te", "ti"), "a smooth surface is t2(x, z)"),
    **dict.fromkeys(("cr", "cc"), "a smooth curve is s(x), with bs = 'cr' for cubic splines"),
    **dict.fromkeys(("p", "prop", "proportion"), "for y successes in n trials write cbind(y, n - y) ~ ..."),
    **dict.fromkeys(("pow", "power", "np.power", "np.square", "square"), "write a power as I(x^2)"),
    **dict.fromkeys(("relevel", "Treatment", "contr.treatment"), LEVEL_ADVICE),
    **dict.fromkeys(("Sum", "contr.sum"), "a coding is chosen by C(f, Sum)"),
    "Q": "write a column's name that is not a plain word in back-ticks, as in `my x`",
    **dict.fromkeys(
        ("Surv", "surv"), "a censored time is written time | cens(1 - status) ~ ..., status being 1 for an event"
    ),
    "interaction": "an interaction is written a:b",
    "ln": "the natural logarithm is log(x)",
    "zscore": "write scale(x)",
    "c": "c(...) only lists the numbers of an argument, as in bs(x, knots = c(1, 2))",
    "mm": "it stands after the bar of a group term, as in (1 | mm(s1, s2))",
    "gr": "it stands after the bar of a group term, as in (1 | gr(animal, cov = A))",
}
