"""Reads what the profiler has written."""

import warnings

import jax


def traced_steps(folder):
    """The numbers of the steps in each trace below a folder, in the order of the traces."""
    paths = sorted(folder.glob("plugins/profile/*/*.xplane.pb"))
    with warnings.catch_warnings():
        # On Python 3.13 jaxlib 0.12's reader warns of its own types, and aborts where that is an error.
        warnings.simplefilter("ignore", DeprecationWarning)
        return [_steps(jax.profiler.ProfileData.from_file(str(path))) for path in paths]


def _steps(profile):
    return [
        dict(event.stats)["step_num"]
        for plane in profile.planes
        for line in plane.lines
        for event in line.events
        if event.name == "train"
    ]
