"""The command line; `reproduce` sets published results beside ours."""
