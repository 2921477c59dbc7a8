"""Reads event files as TensorBoard does."""

import struct

from tensorboardX.proto.event_pb2 import Event, SessionLog


def events_of(folder):
    """Returns all events. A record is the length, a checksum of the length, the event, and a checksum of the event."""
    found = []
    for path in sorted(folder.iterdir()):
        data, offset = path.read_bytes(), 0
        while offset + 12 <= len(data):
            (size,) = struct.unpack_from("<Q", data, offset)
            found.append(Event.FromString(data[offset + 12 : offset + 12 + size]))
            offset += size + 16
    return found


def scalars_of(folder):
    """Returns {tag: {step: value}}; a session that starts at a step discards that step and later ones."""
    scalars = {}
    for event in events_of(folder):
        if event.session_log.status == SessionLog.START:
            for series in scalars.values():
                for step in [step for step in series if step >= event.step]:
                    del series[step]
        for value in event.summary.value:
            scalars.setdefault(value.tag, {})[event.step] = value.simple_value
    return scalars
