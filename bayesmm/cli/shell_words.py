"""What messages advise, in the words of the shell: options in place of arguments, files in place of frames."""

# (as Python says it, as the shell does); the longer ones first
WORDS = (
    ("open the file with read_parquet(..., can_have_nan = true)", "write the file anew without its statistics"),
    ("missing='drop'", "--missing drop"),
    ("; collect it first", "; leave out --engine to have them in memory"),
    ("collect the frame for others", "leave out --engine for others"),
    ("collect so small a table", "leave out --engine for so small a table"),
    ("or collect a sample", "or take a sample of the rows"),
    (
        "predict_to() writes predictions and residuals of all rows, and for all else make the model of a frame in "
        "memory, such as a sample of the rows",
        "leave out --engine, or take a sample of the rows",
    ),
    ("weights beside a lazy frame", "weights beside --engine"),
    ("the data are a lazy frame", "with --engine only sums are read"),
    ("of a lazy frame", "with --engine"),
    ("beside a lazy frame", "beside --engine"),
)


def in_shell(text: str) -> str:
    """Return a message with what it advises as options of the command."""
    for python, shell in WORDS:
        text = text.replace(python, shell)
    return text
