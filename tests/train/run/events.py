"""Reads TensorBoard's event files, as TensorBoard understands them."""

import struct

from tensorboardX.proto.event_pb2 import Event, SessionLog


def events_of(folder):
    """Every event, file by file. A record is its length, that length's checksum, the event, and its checksum."""
    found = []
    for path in sorted(folder.iterdir()):
        data, place = path.read_bytes(), 0
        while place + 12 <= len(data):
            (size,) = struct.unpack_from("<Q", data, place)
            found.append(Event.FromString(data[place + 12 : place + 12 + size]))
            place += size + 16
    return found


def scalars_of(folder):
    """{tag: {step: value}}: a session that starts at a step makes all from that step on forgotten."""
    scalars = {}
    for event in events_of(folder):
        if event.session_log.status == SessionLog.START:
            for series in scalars.values():
                for step in [step for step in series if step >= event.step]:
                    del series[step]
        for value in event.summary.value:
            scalars.setdefault(value.tag, {})[event.step] = value.simple_value
    return scalars
