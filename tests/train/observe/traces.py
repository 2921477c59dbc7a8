"""Reads what the profiler has written."""

import jax


def traced_steps(folder):
    """The numbers of the steps in each trace below a folder, in the order of the traces."""
    paths = sorted(folder.glob("plugins/profile/*/*.xplane.pb"))
    profiles = map(jax.profiler.ProfileData.from_file, map(str, paths))
    return [
        [
            dict(event.stats)["step_num"]
            for plane in profile.planes
            for line in plane.lines
            for event in line.events
            if event.name == "train"
        ]
        for profile in profiles
    ]
