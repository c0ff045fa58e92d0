"""What ignoring groups costs: pooled and mixed regression compared, as a table and as demo/pooled_vs_mixed.png."""

from pathlib import Path

from bayesmm.display.figures import png
from bayesmm.simulation import compare_pooled, plot, simulate_groups, table

FIGURE = Path("demo") / "pooled_vs_mixed.png"


def main() -> None:
    results = compare_pooled(datasets=500, groups=10, rows=10, seed=1)
    print(table(results).round(3).to_string())
    FIGURE.parent.mkdir(exist_ok=True)
    FIGURE.write_bytes(png(plot(results, simulate_groups(10, 10, seed=1))))
    print(FIGURE)


if __name__ == "__main__":
    main()
