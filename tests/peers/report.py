"""How the checks report: one line each, `ok NAME` or `FAILED NAME: why`."""

from contextlib import contextmanager


@contextmanager
def check(name):
    try:
        yield
    except Exception as error:  # whatever went wrong: the check has failed, the others go on
        print(f"FAILED {name}: {reason(error)}", flush=True)
    else:
        print(f"ok {name}", flush=True)


def reason(error):
    """The innermost errors, in a line: the SDK wraps them in groups of tasks."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}".replace("\n", " ")[:500]
