#!/bin/sh
# A first half hour in a shell, on the bundled sleepstudy: what the data are, REML, the posterior, a report, and the fit
# read again. Writes to a folder, by default examples-out/command_line. PYTHON names the interpreter.
set -eu
out=${1:-examples-out/command_line}
bayesmm() { "${PYTHON:-python}" -m bayesmm "$@"; }

mkdir -p "$out"
bayesmm datasets

echo "--- REML, as lme4"
bayesmm maximize sleepstudy 'Reaction ~ Days + (Days | Subject)' --out "$out/reml" --overwrite

echo "--- a column that is not there is said at once"
bayesmm fit sleepstudy 'Reaction ~ Dys + (Days | Subject)' && exit 1 || test $? -eq 2

echo "--- the posterior beside REML, with tables (CSV), figures (PNG), and one report (HTML)"
bayesmm fit sleepstudy 'Reaction ~ Days + (Days | Subject)' --seed 1 --prior 'sd=HalfNormal(sigma=50)' \
    --out "$out/posterior" --report "$out/report.html" --save "$out/fit.nc" --overwrite

echo "--- the saved fit again"
bayesmm show "$out/fit.nc"
