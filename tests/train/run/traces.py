"""Reads the profiler's traces."""

import warnings

import jax


def traced_steps(folder):
    """Returns the step numbers in each trace below a folder, ordered by trace."""
    paths = sorted(folder.glob("plugins/profile/*/*.xplane.pb"))
    with warnings.catch_warnings():
        # On Python 3.13, jaxlib 0.12's reader emits a DeprecationWarning and aborts if that is an error.
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
